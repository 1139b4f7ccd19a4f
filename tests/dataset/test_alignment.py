import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tessera.dataset.alignment import find_shift


def textures(seed: int = 0, side: int = 280) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(0, 1, (side, side)), 2) * 200 + 120


@pytest.mark.parametrize("shift", [(1, 0), (0, -1), (2, 3), (-8, 5)])
def test_a_shift_is_found_through_blur_and_noise(shift):
    gt = textures()
    moved = np.roll(gaussian_filter(gt, 1.2), shift, (0, 1)) + np.random.default_rng(1).normal(0, 3, gt.shape)
    assert find_shift(moved[12:-12, 12:-12], gt[12:-12, 12:-12]) == shift


@pytest.mark.parametrize("sigma", [0.0, 1.0, 3.0])
def test_blur_noise_and_contrast_are_no_shift(sigma):
    gt = textures()
    result = gaussian_filter(gt, sigma) * 0.8 + 20 + np.random.default_rng(1).normal(0, 4, gt.shape)
    assert find_shift(result, gt) is None


def test_what_has_nothing_in_common_or_nothing_at_all_is_not_called_shifted():
    flat = np.full((100, 100), 7.0)
    assert find_shift(flat, flat) is None
    assert find_shift(np.zeros((20, 20)), np.zeros((20, 20))) is None


def test_edges_that_agree_better_a_pixel_away_do_not_outweigh_the_pixels():
    gt = textures()
    inverted = 255 - np.roll(gt, (-1, 0), (0, 1))
    assert find_shift(inverted, gt) is None
