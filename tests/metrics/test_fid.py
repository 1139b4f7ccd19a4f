import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from tessera.errors import NonFiniteError, UsageError
from tessera.images.resize import resize
from tessera.metrics.fid import FID_RESIZES, FrechetStatistics, frechet_distance, inception_features
from tessera.trunks import NO_NORMALIZATION, Normalization, Trunk, inception


def gaussian(count: int, size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (count, size)) @ rng.normal(0, 1, (size, size)) + rng.normal(0, 2, size)


def statistics(features: np.ndarray) -> FrechetStatistics:
    found = FrechetStatistics(features.shape[1])
    found.take(features)
    return found


def by_the_product(one: np.ndarray, other: np.ndarray) -> float:
    """The formula as pytorch-fid has it, with the root of the product."""
    cov1, cov2 = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (one, other))
    apart = one.mean(axis=0) - other.mean(axis=0)
    return float(apart @ apart + np.trace(cov1) + np.trace(cov2) - 2 * np.trace(sqrtm(cov1 @ cov2)).real)


@pytest.mark.parametrize(("count", "size"), [(50, 1), (200, 7), (500, 40)])
def test_it_agrees_with_the_root_of_the_product_by_scipy(count, size):
    one, other = gaussian(count, size, 1), gaussian(count + 30, size, 2)
    assert statistics(one).distance(statistics(other)) == pytest.approx(by_the_product(one, other), rel=1e-9)


@pytest.mark.parametrize("count", [2, 20, 300])
def test_equal_statistics_are_0_apart_also_with_fewer_pictures_than_features(count):
    one = statistics(gaussian(count, 64, 3))
    assert one.distance(one) < 1e-9 * np.trace(one.covariance)


def test_diagonal_covariances_have_a_closed_form():
    rng = np.random.default_rng(0)
    mean1, mean2, variance1, variance2 = (rng.uniform(0.1, 5, 30) for _ in range(4))
    variance1[:5] = 0
    variance2[3:9] = 0
    expected = ((mean1 - mean2) ** 2 + (np.sqrt(variance1) - np.sqrt(variance2)) ** 2).sum()
    found = frechet_distance(mean1, np.diag(variance1), mean2, np.diag(variance2))
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_turn_of_both_changes_nothing():
    rng = np.random.default_rng(1)
    turn, _ = np.linalg.qr(rng.normal(0, 1, (12, 12)))
    one, other = gaussian(8, 12, 4), gaussian(9, 12, 5)
    turned = statistics(one @ turn).distance(statistics(other @ turn))
    assert turned == pytest.approx(statistics(one).distance(statistics(other)), rel=1e-9)
    assert turned == pytest.approx(statistics(other).distance(statistics(one)), rel=1e-9)


def test_singular_covariances_agree_with_what_small_noise_tends_to():
    one, other = statistics(gaussian(6, 20, 6)), statistics(gaussian(9, 20, 7))
    found = one.distance(other)
    noise = 1e-10 * np.eye(20)
    roots = np.real(np.asarray(sqrtm((one.covariance + noise) @ (other.covariance + noise))))
    apart = one.mean - other.mean
    near = apart @ apart + np.trace(one.covariance) + np.trace(other.covariance) - 2 * np.trace(roots)
    assert found == pytest.approx(near, rel=1e-4)


def test_a_shift_alone_is_its_square():
    one = gaussian(100, 5, 8)
    shift = np.array([3.0, 0, 4, 0, 0])
    assert statistics(one).distance(statistics(one + shift)) == pytest.approx(25, rel=1e-9)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 39), max_size=8), st.integers(0, 40))
def test_any_portions_and_any_merging_give_what_the_whole_gives(cuts, split):
    features = gaussian(40, 6, 9) + 1000
    parts = [FrechetStatistics(6), FrechetStatistics(6)]
    bounds = sorted({0, split, 40, *cuts})
    for first, last in itertools.pairwise(bounds):
        parts[first >= split].take(torch.from_numpy(features[first:last]))
    parts[0].merge(parts[1])
    assert parts[0].count == 40
    np.testing.assert_allclose(parts[0].mean, features.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(parts[0].covariance, np.cov(features, rowvar=False), rtol=1e-10, atol=1e-10)


def test_merging_leaves_the_other_as_it_is():
    one, other = statistics(gaussian(5, 3, 1)), statistics(gaussian(6, 3, 2))
    before = other.covariance
    one.merge(other)
    one.take(gaussian(4, 3, 3))
    empty = FrechetStatistics(3)
    empty.merge(other)
    empty.take(gaussian(4, 3, 4))
    assert other.count == 6
    assert np.array_equal(other.covariance, before)


def test_what_cannot_be_measured_is_refused():
    few = FrechetStatistics(3)
    for taken in (0, 1):
        with pytest.raises(UsageError, match=f"at least 2 pictures, found {taken}"):
            _ = few.covariance
        with pytest.raises(UsageError, match="2 pictures"):
            _ = few.mean
        few.take(np.ones((1, 3)))
    few.take(np.zeros((0, 3)))
    assert few.count == 2
    with pytest.raises(UsageError, match=r"expected \(N, 3\), found \(2, 4\)"):
        few.take(np.zeros((2, 4)))
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        few.take(np.array([[1.0, math.nan, 0.0]]))
    with pytest.raises(UsageError, match="3 and of 4 features"):
        few.merge(FrechetStatistics(4))
    with pytest.raises(UsageError, match=r"\(2,\), \(2, 2\), \(3,\), \(3, 3\)"):
        frechet_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3))
    with pytest.raises(NonFiniteError):
        frechet_distance(np.zeros(2), np.eye(2), np.array([0, math.inf]), np.eye(2))


class Seen(torch.nn.Module):
    """Gives what it is given, as one row of numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def looking_glass() -> Trunk:
    return Trunk([("pool3", Seen())], Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))


def test_features_see_299_pixels_in_minus_one_to_one():
    batch = torch.rand(2, 3, 40, 70, generator=torch.Generator().manual_seed(0))
    batch[0, 0, 0, 0], batch[0, 1, 0, 0] = 0, 1
    seen = inception_features(looking_glass(), batch).reshape(2, 3, 299, 299)
    assert float(seen[0, 0, 0, 0]) == -1
    assert float(seen[0, 1, 0, 0]) == 1
    # half-pixel centers: output 150 lies at (150.5 * 40 / 299) - 0.5 = 19.63 of the rows, and so on
    row, column = 150.5 * 40 / 299 - 0.5, 99.5 * 70 / 299 - 0.5
    top, left = int(row), int(column)
    y, x = row - top, column - left
    corner = batch[1, 2, top : top + 2, left : left + 2]
    expected = (corner * torch.tensor([[(1 - y) * (1 - x), (1 - y) * x], [y * (1 - x), y * x]])).sum() * 2 - 1
    assert float(seen[1, 2, 150, 99]) == pytest.approx(float(expected), abs=1e-5)


def test_the_usual_resizing_aliases_and_the_clean_one_does_not():
    assert set(FID_RESIZES) == {"bilinear", "clean"}
    stripes = torch.zeros(1, 3, 598, 1196)
    stripes[..., 1::4] = stripes[..., 2::4] = 1  # each output pixel of the usual one sees the middle of four
    usual, clean = (inception_features(looking_glass(), stripes, resizing=name) for name in ("bilinear", "clean"))
    assert usual.min() > 0.9
    assert clean.abs().max() < 0.2
    edge = torch.zeros(1, 3, 100, 100)
    edge[..., 50:] = 1
    sharpened = resize(edge, size=(299, 299))
    assert sharpened.max() > 1
    seen = inception_features(looking_glass(), edge, resizing="clean").reshape(1, 3, 299, 299)
    torch.testing.assert_close(seen, sharpened.clamp(0, 1) * 2 - 1)


def test_what_is_no_batch_of_color_or_no_resizing_is_refused():
    with pytest.raises(UsageError, match="expected bilinear or clean, found 'nearest'"):
        inception_features(looking_glass(), torch.zeros(1, 3, 8, 8), resizing="nearest")
    with pytest.raises(UsageError, match=r"found \(1, 1, 8, 8\)"):
        inception_features(looking_glass(), torch.zeros(1, 1, 8, 8))


def test_features_of_inception_with_random_weights_tell_noise_from_smoothness():
    torch.manual_seed(0)
    trunk = inception().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(2, 3, 32, 32, generator=generator)
    smooth = torch.nn.functional.interpolate(noise[..., :4, :4], size=(32, 32), mode="bilinear")
    one, other = (FrechetStatistics() for _ in range(2))
    for statistics, batch in ((one, noise), (other, smooth)):
        features = inception_features(trunk, batch)
        assert features.shape == (2, 2048)
        statistics.take(features)
    assert (one.mean != other.mean).any()


def test_as_it_is_changes_nothing():
    batch = torch.rand(1, 3, 4, 4)
    assert torch.equal(NO_NORMALIZATION.apply(batch), batch)
