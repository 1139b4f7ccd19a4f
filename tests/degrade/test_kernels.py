"""The kernels are those of the formulas, and J1 is J1."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, special

from tessera.degrade.bessel import bessel_j1
from tessera.degrade.blur import GAUSSIAN_KINDS, PULSE, Blur, KernelDraw, KernelShares, compute_kernel, draw_kernel
from tessera.degrade.filtering import (
    compute_transfer,
    convolve,
    filter_each,
    filter_lines,
    filter_one,
    filter_spectrum,
    find_fast_length,
    pad_mirrored,
    trim_kernel,
)


def test_j1_is_that_of_scipy():
    x = np.concatenate((np.linspace(-50, 50, 2001), np.geomspace(1e-9, 1e3, 200)))
    np.testing.assert_allclose(bessel_j1(x), special.j1(x), rtol=0, atol=4e-15)


def by_hand(draw: KernelDraw) -> np.ndarray:
    """Pixel by pixel, through the covariance matrix and its inverse."""
    half = draw.size // 2
    turn = np.array([[math.cos(draw.theta), -math.sin(draw.theta)], [math.sin(draw.theta), math.cos(draw.theta)]])
    covariance = turn @ np.diag([draw.sigma_x**2, draw.sigma_y**2]) @ turn.T
    inverse = np.eye(2) if draw.kind == "sinc" else np.linalg.inv(covariance)
    weights = np.empty((draw.size, draw.size))
    for row in range(draw.size):
        for column in range(draw.size):
            v = np.array([column - half, row - half], float)
            r = math.hypot(*v)
            if draw.kind == "sinc":
                w = draw.cutoff
                weights[row, column] = w * special.j1(w * r) / (2 * math.pi * r) if r else w * w / (4 * math.pi)
                continue
            q = v @ inverse @ v
            if draw.kind.startswith("generalized"):
                weights[row, column] = math.exp(-(q**draw.beta) / 2)
            elif draw.kind.startswith("plateau"):
                weights[row, column] = 1 / (q**draw.beta + 1)
            else:
                weights[row, column] = math.exp(-q / 2)
    return weights / weights.sum()


@pytest.mark.parametrize("kind", [*GAUSSIAN_KINDS, "sinc"])
def test_every_kind_of_kernel_has_the_weights_of_its_formula(kind):
    rng = np.random.default_rng(5)
    config = Blur(
        sinc_probability=float(kind == "sinc"),
        shares=KernelShares(
            **{each: float(each == kind or (kind == "sinc" and each == "iso")) for each in GAUSSIAN_KINDS}
        ),
    )
    for _ in range(10):
        draw = draw_kernel(config, rng)
        assert draw.kind == kind
        weights = compute_kernel(draw)
        assert weights.shape == (draw.size, draw.size)
        np.testing.assert_allclose(weights, by_hand(draw), rtol=1e-9, atol=1e-12)
        assert weights.sum() == pytest.approx(1, abs=1e-12)


def test_a_turned_kernel_leans_as_its_angle_says():
    weights = compute_kernel(KernelDraw(kind="aniso", size=21, sigma_x=3.0, sigma_y=0.8, theta=math.pi / 4))
    assert weights[14, 14] > 10 * weights[14, 6]  # down and to the right, with rows counted from the top


def test_sinc_lets_slow_waves_pass_and_stops_fast_ones():
    weights = compute_kernel(KernelDraw(kind="sinc", size=21, cutoff=math.pi / 2))
    wave = np.arange(21) - 10
    assert (weights * np.cos(0.25 * math.pi * wave)[None]).sum() == pytest.approx(1, abs=0.1)
    assert (weights * np.cos(0.8 * math.pi * wave)[None]).sum() == pytest.approx(0, abs=0.1)


def test_each_picture_is_correlated_with_its_own_kernel():
    rng = np.random.default_rng(1)
    pictures = torch.from_numpy(rng.random((4, 3, 45, 38), np.float32))
    kernels = [rng.random((size, size)) - 0.2 for size in (3, 9, 21)] + [compute_kernel(PULSE)]
    kernels = [kernel / kernel.sum() for kernel in kernels]
    out = filter_each(pictures, kernels)
    for number, kernel in enumerate(kernels):
        for channel in range(3):
            expected = ndimage.correlate(pictures[number, channel].double().numpy(), kernel, mode="mirror")
            np.testing.assert_allclose(out[number, channel].numpy(), expected, atol=3e-6)


@pytest.mark.parametrize("side", [1, 2, 4, 7, 11])
def test_pictures_smaller_than_the_kernel_are_mirrored_again_and_again(side):
    picture = torch.arange(side * (side + 1), dtype=torch.float32).view(1, side, side + 1)
    expected = np.pad(picture.numpy(), ((0, 0), (10, 10), (10, 10)), mode="reflect")
    np.testing.assert_array_equal(pad_mirrored(picture, 10).numpy(), expected)


def test_trimming_takes_away_only_what_cannot_be_seen():
    narrow = compute_kernel(KernelDraw(kind="iso", size=21, sigma_x=0.5, sigma_y=0.5))
    assert trim_kernel(narrow).shape[0] < 9
    assert 1 - trim_kernel(narrow).sum() < 1e-8
    ringing = compute_kernel(KernelDraw(kind="sinc", size=21, cutoff=2.0))
    assert trim_kernel(ringing).shape == (21, 21)


def test_lines_down_and_across_are_their_outer_product():
    rng = np.random.default_rng(2)
    line = rng.random(51)
    line /= line.sum()
    picture = torch.from_numpy(rng.random((3, 150, 99), np.float32))
    out = filter_lines(picture, tuple(line.tolist()))
    expected = ndimage.correlate1d(
        ndimage.correlate1d(picture.double().numpy(), line, 1, mode="mirror"), line, 2, mode="mirror"
    )
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("size", [3, 5, 9, 11, 15])
@pytest.mark.parametrize(("height", "width"), [(120, 133), (40, 9), (5, 64)])
def test_both_ways_of_filtering_are_correlation(size, height, width):
    """A convolution of the picture cut upright, and the Fourier transform."""
    rng = np.random.default_rng(size)
    picture = torch.from_numpy(rng.random((3, height, width), np.float32))
    kernel = rng.random((size, size)) - 0.3
    kernel /= np.abs(kernel).sum()
    expected = np.stack([ndimage.correlate(plane, kernel, mode="mirror") for plane in picture.double().numpy()])
    sides = [find_fast_length(side + size - 1) for side in (height, width)]
    np.testing.assert_allclose(convolve(picture, kernel).numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(
        filter_spectrum(picture, compute_transfer(kernel, *sides), size // 2).numpy(), expected, atol=1e-6
    )
    np.testing.assert_allclose(filter_one(picture, kernel).numpy(), expected, atol=1e-6)
