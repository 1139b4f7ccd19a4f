import torch

from tessera.images.color import delta_e, luma_jpeg, luma_matlab, rgb_to_lab


def pixel(*rgb: float) -> torch.Tensor:
    return torch.tensor(rgb, dtype=torch.float64).reshape(3, 1, 1)


def test_matlab_luma_runs_from_16_to_235():
    torch.testing.assert_close(luma_matlab(pixel(0, 0, 0)).item(), 16.0)
    torch.testing.assert_close(luma_matlab(pixel(1, 1, 1)).item(), 235.0)


def test_jpeg_luma_of_gray_is_that_gray():
    torch.testing.assert_close(luma_jpeg(pixel(0.3, 0.3, 0.3)).item(), 0.3)


def test_lab_of_the_primaries_agrees_with_published_values():
    # Lindbloom's calculator, sRGB to Lab under D65.
    for rgb, lab in (((1, 0, 0), (53.2408, 80.0925, 67.2032)), ((0, 0, 1), (32.2970, 79.1875, -107.8602))):
        expected = torch.tensor(lab, dtype=torch.float64).reshape(3, 1, 1)
        torch.testing.assert_close(rgb_to_lab(pixel(*rgb)), expected, atol=0.02, rtol=0)


def test_color_difference_is_zero_for_equals_and_a_lightness_step_for_grays():
    gray = pixel(0.5, 0.5, 0.5)
    assert delta_e(gray, gray).item() == 0
    step = (rgb_to_lab(pixel(0.6, 0.6, 0.6)) - rgb_to_lab(gray))[0].item()
    torch.testing.assert_close(delta_e(gray, pixel(0.6, 0.6, 0.6)).item(), step, atol=1e-3, rtol=0)
