import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from tessera.metrics.psnr import SquaredError, mse, psnr, rmse, to_decibels


def pair(seed: int = 0, size: tuple[int, int] = (20, 31), channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gt = rng.integers(0, 256, (2, channels, *size)).astype(np.float64)
    return (gt + rng.normal(0, 9, gt.shape)).clip(0, 255), gt


def test_psnr_agrees_with_scikit_image():
    sr, gt = pair()
    expected = [peak_signal_noise_ratio(t, s, data_range=255) for s, t in zip(sr, gt, strict=True)]
    np.testing.assert_allclose(psnr(sr, gt, data_range=255), expected, rtol=1e-12)


def test_one_level_off_everywhere_is_48_decibels():
    gt = np.full((1, 1, 4, 4), 100.0)
    assert float(psnr(gt + 1, gt, data_range=255)[0]) == pytest.approx(48.1308, abs=1e-4)
    assert float(rmse(gt + 3, gt)[0]) == 3


def test_equal_pictures_are_infinitely_good_unless_eps_says_how_good():
    gt = np.random.default_rng(0).random((1, 3, 8, 8))
    assert float(psnr(gt, gt, data_range=1)[0]) == math.inf
    assert float(psnr(gt, gt, data_range=1, eps=1e-8)[0]) == pytest.approx(80)


@given(st.integers(1, 19), st.integers(0, 100))
def test_rows_give_what_the_whole_gives(step, seed):
    sr, gt = pair(seed)
    rows = SquaredError()
    for first in range(0, gt.shape[2], step):
        rows.take(sr[0, :, first : first + step], gt[0, :, first : first + step])
    assert rows.mean == pytest.approx(float(mse(sr, gt)[0]), rel=1e-12)
    assert rows.psnr(data_range=255) == pytest.approx(float(psnr(sr, gt, data_range=255)[0]), rel=1e-12)


def test_decibels_of_a_mean_error_are_not_the_mean_of_decibels():
    errors = np.array([1.0, 100.0])
    assert float(to_decibels(errors, data_range=255).mean()) > float(to_decibels(errors.mean(), data_range=255)) + 5
