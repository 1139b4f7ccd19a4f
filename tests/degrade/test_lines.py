"""Filtering and resizing in one step is the one after the other."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from tessera.degrade.blur import KernelDraw, compute_kernel
from tessera.degrade.filtering import filter_each
from tessera.degrade.lines import NO_FILTER, Resize, ResizeMode, filter_and_resize, filter_then_resize, separate_kernel

MODES: list[ResizeMode] = ["area", "bilinear", "bicubic"]
FACTORS = [0.05, 0.15, 0.37, 0.5, 0.93, 1.0, 1.23, 1.5, 3.7]


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def to_factor(picture: torch.Tensor, factor: float, mode: ResizeMode) -> Resize:
    height, width = (int(side * factor) for side in picture.shape[-2:])
    return Resize(height=height, width=width, factor=factor, mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("shape", [(3, 50, 63), (1, 131, 200), (3, 20, 41)])
def test_without_a_filter_it_is_interpolate_by_a_factor(shape, factor, mode):
    picture = noise(*shape)
    expected = F.interpolate(picture[None], scale_factor=factor, mode=mode)[0]
    made = filter_and_resize(picture, NO_FILTER, to_factor(picture, factor, mode))
    torch.testing.assert_close(made, expected, atol=3e-6, rtol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (17, 9), (60, 80), (61, 79), (200, 33), (3, 400)])
def test_without_a_filter_it_is_interpolate_to_a_size(size, mode):
    picture = noise(3, 60, 80)
    expected = F.interpolate(picture[None], size=size, mode=mode)[0]
    made = filter_and_resize(picture, NO_FILTER, Resize(height=size[0], width=size[1], factor=None, mode=mode))
    torch.testing.assert_close(made, expected, atol=3e-6, rtol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factor", [0.15, 0.6, 1.0, 1.4])
@pytest.mark.parametrize("size", [3, 21])
def test_lines_are_correlation_and_then_a_resize(factor, mode, size):
    picture = noise(3, 70, 55)
    rng = np.random.default_rng(1)
    kernel = np.outer(rng.random(size), rng.random(size) - 0.2)
    kernel /= np.abs(kernel).sum()
    lines = separate_kernel(kernel)
    assert lines is not None
    filtered = [ndimage.correlate(plane, kernel, mode="mirror") for plane in picture.double().numpy()]
    expected = F.interpolate(torch.from_numpy(np.stack(filtered))[None].float(), scale_factor=factor, mode=mode)[0]
    torch.testing.assert_close(
        filter_and_resize(picture, lines, to_factor(picture, factor, mode)), expected, atol=3e-6, rtol=0
    )


def test_round_gaussians_are_two_lines_and_others_are_not():
    assert separate_kernel(compute_kernel(KernelDraw(kind="iso", size=21, sigma_x=2.5, sigma_y=2.5))) is not None
    assert (
        separate_kernel(compute_kernel(KernelDraw(kind="aniso", size=21, sigma_x=2.5, sigma_y=1.0, theta=0.5))) is None
    )
    assert (
        separate_kernel(compute_kernel(KernelDraw(kind="plateau_iso", size=9, sigma_x=1.0, sigma_y=1.0, beta=1.5)))
        is None
    )
    assert separate_kernel(compute_kernel(KernelDraw(kind="sinc", size=7, cutoff=2.0))) is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factor", [0.2, 0.7, 1.0, 1.3])
def test_whichever_way_is_cheapest_the_result_is_that_of_two_steps(factor, mode):
    pictures = noise(5, 3, 150, 165)
    kernels = [
        compute_kernel(draw)
        for draw in (
            KernelDraw(kind="iso", size=15, sigma_x=2.5, sigma_y=2.5),
            KernelDraw(kind="aniso", size=7, sigma_x=2.0, sigma_y=0.6, theta=0.5),
            KernelDraw(kind="sinc", size=21, cutoff=1.2),
            KernelDraw(kind="iso", size=21, sigma_x=0.1, sigma_y=0.1),
            KernelDraw(kind="pulse", size=1),
        )
    ]
    resize = to_factor(pictures, factor, mode)
    expected = F.interpolate(filter_each(pictures, kernels), scale_factor=factor, mode=mode)
    torch.testing.assert_close(filter_then_resize(pictures, kernels, resize), expected, atol=5e-6, rtol=0)
    expected = F.interpolate(pictures, scale_factor=factor, mode=mode)
    torch.testing.assert_close(filter_then_resize(pictures, None, resize), expected, atol=5e-6, rtol=0)
