import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve1d, gaussian_filter
from skimage.metrics import structural_similarity

from tessera.metrics.ssim import SCALE_WEIGHTS, MsSsimRows, SsimRows, ms_ssim, ssim


def pair(size: tuple[int, int], channels: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture with texture, and the same blurred and noisy; (C, H, W) in levels of 255."""
    rng = np.random.default_rng(seed)
    gt = (
        gaussian_filter(rng.normal(0, 1, (channels, *size)), (0, 3, 3)) * 400
        + 127
        + rng.normal(0, 8, (channels, *size))
    )
    gt = gt.clip(0, 255).round()
    sr = (gaussian_filter(gt, (0, 1, 1)) + rng.normal(0, 4, gt.shape)).clip(0, 255).round()
    return sr, gt


def batch(picture: np.ndarray) -> np.ndarray:
    return picture[None]


@pytest.mark.parametrize("size", [(11, 11), (12, 80), (64, 65), (173, 130)])
@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_agrees_with_scikit_image(size, channels):
    sr, gt = pair(size, channels)
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = np.mean([structural_similarity(s, t, **options) for s, t in zip(sr, gt, strict=True)])
    assert abs(float(ssim(batch(sr), batch(gt), data_range=255)[0]) - expected) < 1e-10


def plain_ms_ssim(sr: np.ndarray, gt: np.ndarray) -> float:
    """Wang's definition in the plainest form: whole maps, scipy's convolutions."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / 4.5)
    window /= window.sum()

    def local(values: np.ndarray) -> np.ndarray:
        return convolve1d(convolve1d(values, window, axis=0), window, axis=1)[5:-5, 5:-5]

    c1, c2 = 2.55**2, 7.65**2
    score = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        mean_x, mean_y = local(sr), local(gt)
        var_x, var_y = local(sr * sr) - mean_x**2, local(gt * gt) - mean_y**2
        contrast = (2 * (local(sr * gt) - mean_x * mean_y) + c2) / (var_x + var_y + c2)
        light = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        last = scale == len(SCALE_WEIGHTS) - 1
        score *= max(float((contrast * light if last else contrast).mean()), 0) ** weight
        # MATLAB's window of two begins at the pixel; "symmetric" repeats the last one
        sr, gt = (np.pad(p, (0, 1), mode="symmetric") for p in (sr, gt))
        sr, gt = ((p[:-1, :-1] + p[1:, :-1] + p[:-1, 1:] + p[1:, 1:])[::2, ::2] / 4 for p in (sr, gt))
    return score


@pytest.mark.parametrize("size", [(176, 176), (161, 203), (250, 333)])
def test_ms_ssim_agrees_with_an_independent_implementation(size):
    sr, gt = pair(size)
    assert abs(float(ms_ssim(batch(sr), batch(gt), data_range=255)[0]) - plain_ms_ssim(sr[0], gt[0])) < 1e-10


@settings(max_examples=8)
@given(st.integers(1, 120), st.integers(161, 200))
def test_rows_give_what_the_whole_gives(step, height):
    sr, gt = pair((height, 170), 2)
    for whole, rows in ((ssim, SsimRows(data_range=255)), (ms_ssim, MsSsimRows(data_range=255))):
        for first in range(0, height, step):
            rows.take(sr[:, first : first + step], gt[:, first : first + step])
        assert rows.score == pytest.approx(float(whole(sr[None], gt[None], data_range=255)[0]), abs=1e-12)


def test_equal_pictures_score_one_and_inverted_ones_next_to_nothing():
    _, gt = pair((200, 200))
    assert float(ssim(batch(gt), batch(gt), data_range=255)[0]) == pytest.approx(1, abs=1e-12)
    assert float(ms_ssim(batch(gt), batch(gt), data_range=255)[0]) == pytest.approx(1, abs=1e-12)
    assert float(ssim(batch(255 - gt), batch(gt), data_range=255)[0]) < 0.2


def test_more_blur_scores_lower():
    _, gt = pair((200, 200))
    blurred = [batch(gaussian_filter(gt, (0, sigma, sigma))) for sigma in (0.5, 1, 2, 4)]
    for metric in (ssim, ms_ssim):
        scores = [float(metric(each, batch(gt), data_range=255)[0]) for each in blurred]
        assert scores == sorted(scores, reverse=True)


def test_pictures_that_are_too_small_are_refused():
    small = np.zeros((1, 1, 10, 50))
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(small, small, data_range=255)
    small = np.zeros((1, 1, 160, 300))
    with pytest.raises(ValueError, match="161 pixels"):
        ms_ssim(small, small, data_range=255)
