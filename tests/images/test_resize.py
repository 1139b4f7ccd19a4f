import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.images.filters import compute_bands
from tessera.images.resize import resize


def squares() -> torch.Tensor:
    return (torch.arange(64, dtype=torch.float64).reshape(1, 1, 8, 8) ** 2) / 4096


def test_bicubic_equals_matlabs_imresize_at_a_quarter():
    expected = torch.tensor([[0.04916072, 0.07925343], [0.53662371, 0.63720823]], dtype=torch.float64)
    torch.testing.assert_close(resize(squares(), scale=0.25)[0, 0], expected, atol=1e-8, rtol=0)


def test_bicubic_equals_matlabs_imresize_at_a_half():
    expected = torch.tensor([0.00556141, 0.01059479, 0.01760346, 0.02669567], dtype=torch.float64)
    torch.testing.assert_close(resize(squares(), scale=0.5)[0, 0, 0], expected, atol=1e-8, rtol=0)


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.floats(0.1, 5),
    st.sampled_from(["bicubic", "lanczos3", "area"]),
)
def test_a_flat_picture_stays_flat_at_any_size(height, width, scale, kernel):
    flat = torch.full((1, 2, height, width), 0.37, dtype=torch.float64)
    result = resize(flat, scale=scale, kernel=kernel)
    torch.testing.assert_close(result, torch.full_like(result, 0.37))


def test_area_is_the_mean_of_what_each_pixel_covers():
    image = torch.rand(2, 3, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(resize(image, scale=0.25, kernel="area"), torch.nn.functional.avg_pool2d(image, 4))


def test_lanczos_keeps_a_smooth_wave_where_area_steps():
    wave = torch.sin(torch.arange(64, dtype=torch.float64) / 5).reshape(1, 1, 1, 64).expand(1, 1, 64, 64)
    fine = torch.sin((torch.arange(256, dtype=torch.float64) - 1.5) / 4 / 5)
    inside = slice(32, -32)
    error = (resize(wave, scale=4, kernel="lanczos3")[0, 0, 128] - fine)[inside].abs().max()
    assert error < 0.01
    assert (resize(wave, scale=4, kernel="area")[0, 0, 128] - fine)[inside].abs().max() > 0.05


def test_a_given_size_is_kept_exactly():
    assert resize(torch.rand(1, 3, 10, 7), size=(33, 5)).shape == (1, 3, 33, 5)


def test_scale_and_size_together_are_refused():
    with pytest.raises(ValueError, match="either"):
        resize(torch.rand(1, 1, 4, 4), scale=2, size=(8, 8))


def test_enlarging_then_shrinking_by_area_returns_the_picture_nearly():
    image = torch.from_numpy(np.random.default_rng(3).random((1, 1, 16, 16)))
    back = resize(resize(image, scale=4, kernel="lanczos3"), scale=0.25, kernel="area")
    assert (back - image).abs().mean() < 0.1


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos3", "area", "bilinear"])
@pytest.mark.parametrize("size", [(40, 700), (333, 61), (1200, 1)])
def test_bands_give_what_one_matrix_gives(kernel, size, monkeypatch):
    image = torch.rand(2, 3, 300, 257, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    banded = resize(image, size=size, kernel=kernel)
    compute_bands.cache_clear()
    monkeypatch.setattr("tessera.images.filters._LARGEST_WHOLE", 10**9)
    whole = resize(image, size=size, kernel=kernel)
    compute_bands.cache_clear()
    torch.testing.assert_close(banded, whole, atol=1e-12, rtol=0)


def test_area_counts_pixels_by_how_much_of_them_is_covered():
    image = torch.arange(5.0, dtype=torch.float64).reshape(1, 1, 1, 5)
    covered = resize(image, size=(1, 2), kernel="area")[0, 0, 0]
    expected = torch.tensor([(0 + 1 + 2 * 0.5) / 2.5, (2 * 0.5 + 3 + 4) / 2.5], dtype=torch.float64)
    torch.testing.assert_close(covered, expected)


def test_gradients_pass_in_both_directions():
    image = torch.rand(1, 1, 9, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resize(x, scale=0.5), image)
    assert torch.autograd.gradcheck(lambda x: resize(x, scale=1.7, kernel="lanczos3"), image)
