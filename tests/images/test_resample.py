"""Lanczos on rows: what MATLAB's definition gives, flat areas exactly, alpha without overshoot or fringes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pictures import ramp, random_pixels
from tessera.images.resample import Resampler, resample_array
from tessera.images.resize import resize

SIZES = [(57, 90), (11, 13), (40, 31), (1, 1), (200, 3), (39, 32)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(40, 31), (3, 2), (1, 1), (1, 70), (200, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_it_is_the_resampling_that_tensors_get(shape: tuple[int, int], size: tuple[int, int], dtype: Any) -> None:
    pixels = random_pixels(*shape, 3, dtype)
    full = np.iinfo(dtype).max
    tensor = torch.from_numpy(pixels / full).permute(2, 0, 1)[None]
    expected = resize(tensor, size=size, kernel="lanczos3")[0].permute(1, 2, 0).clamp(0, 1).numpy() * full
    got = resample_array(pixels, size)
    assert got.dtype == dtype
    assert np.abs(got - expected).max() <= 0.53  # half a level for rounding


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("outscale", [1.5, 2.5, 0.7, 0.09])
def test_a_flat_area_keeps_its_value_in_every_pixel(outscale: float, channels: int, dtype: Any) -> None:
    size = (int(23 * outscale), int(31 * outscale))
    full = int(np.iinfo(dtype).max)
    for value in (0, 1, 128, 254, 255, full // 2, full - 1, full):
        pixels = np.full((23, 31, channels), value, dtype)
        assert (resample_array(pixels, size) == value).all()
        pixels[..., -1] = full  # opaque, or in RGB a color that is not gray
        assert (resample_array(pixels, size) == pixels[0, 0]).all()


def test_16_bits_become_8_in_one_rounding() -> None:
    pixels = np.full((9, 9, 3), 128, np.uint16)  # 0.498 of 255
    assert (resample_array(pixels, (20, 20), np.dtype(np.uint8)) == 0).all()
    assert (resample_array(pixels + 1, (20, 20), np.dtype(np.uint8)) == 1).all()
    smooth = ramp(40, 31, 3, np.uint16)
    once = resample_array(smooth, (57, 45), np.dtype(np.uint8))
    assert np.abs(once - resample_array(smooth, (57, 45)) / 257).max() <= 0.503


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 40),
    target=st.tuples(st.integers(1, 90), st.integers(1, 60)),
    channels=st.integers(1, 4),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_rows_in_any_portions_give_the_same_picture(
    height: int, width: int, target: tuple[int, int], channels: int, cuts: list[int]
) -> None:
    pixels = random_pixels(height, width, channels, np.uint16)
    whole = resample_array(pixels, target)
    assert whole.shape == (*target, channels)
    taken = Resampler(size=(height, width), target=target, channels=channels, dtype=pixels.dtype)
    parts = [taken.take(part) for part in np.split(pixels, sorted(cut for cut in cuts if cut < height))]
    # Matrix products of one row are added up in another order than those of many: the last of 65,535 levels may differ.
    assert np.abs(np.concatenate(parts).astype(int) - whole).max() <= 1


def test_rows_come_out_as_soon_as_they_can() -> None:
    """Memory does not grow with the height: what is finished is given, and only a few rows are held."""
    pixels = random_pixels(2000, 8, 3, np.uint8)
    taken = Resampler(size=(2000, 8), target=(5000, 20), channels=3, dtype=pixels.dtype)
    given = 0
    for first in range(0, 2000, 10):
        given += len(taken.take(pixels[first : first + 10]))
        assert given >= (first + 10 - 4) * 2.5 - 2 - 16  # they come in small bands
    assert given == 5000


@pytest.mark.parametrize("size", [(57, 90), (20, 17)])
def test_alpha_stays_wholly_opaque_or_transparent_away_from_edges(size: tuple[int, int]) -> None:
    pixels = ramp(40, 60, 4)
    pixels[:, :30, 3] = 0
    pixels[:, 30:, 3] = 255
    again = resample_array(pixels, size)
    edge = size[1] / 2
    near = 4 * max(1, size[1] / 60)
    assert (again[:, : int(edge - near), 3] == 0).all()
    assert (again[:, int(edge + near) + 1 :, 3] == 255).all()


@pytest.mark.parametrize("hidden", [0, 255])
@pytest.mark.parametrize("size", [(96, 96), (75, 51), (31, 29)])
def test_no_color_appears_at_an_edge_of_alpha_that_was_not_there(hidden: int, size: tuple[int, int]) -> None:
    """Two discs on a hidden color: dividing what Lanczos' lobes leave near alpha 0 would give any color."""
    y, x = np.mgrid[0:48, 0:48]
    pixels = np.full((48, 48, 4), hidden, np.uint8)
    pixels[..., 3] = 0
    for center, color in ((15, (200, 40, 0)), (33, (20, 90, 0))):
        pixels[(x - center) ** 2 + (y - 24) ** 2 < 90] = (*color, 255)
    again = resample_array(pixels, size)
    seen = again[..., 3] > 0
    assert again[seen][:, 2].max() == 0  # nothing visible was blue
    faint = again[seen & (again[..., 3] < 100)].astype(int)
    assert len(faint)
    # up to a fifth is a lobe's overshoot; divided by a faint alpha, red and green would reach 255
    assert faint[:, 0].max() <= 200 * 1.2
    assert faint[:, 1].max() <= 90 * 1.2


def test_the_color_of_a_soft_matte_is_kept() -> None:
    pixels = np.full((30, 30, 4), 0, np.uint8)
    pixels[...] = (180, 90, 30, 0)
    pixels[..., 3] = np.clip(np.linspace(-80, 335, 30), 0, 255)[None, :]
    for size in ((75, 75), (21, 21)):
        again = resample_array(pixels, size)
        seen = again[..., 3] > 0
        assert np.abs(again[seen][:, :3].astype(int) - (180, 90, 30)).max() <= 1


def test_the_detail_under_a_flat_glass_is_as_sharp_as_without_it() -> None:
    pixels = random_pixels(24, 24, 4, np.uint8)
    pixels[..., 3] = 128
    again = resample_array(pixels, (60, 60))
    assert (again[..., 3] == 128).all()
    assert np.abs(again[..., :3].astype(int) - resample_array(pixels[..., :3], (60, 60))).max() <= 1


def test_what_is_wholly_transparent_keeps_its_hidden_colors_smoothly() -> None:
    pixels = ramp(24, 24, 4)
    pixels[..., 3] = 0
    again = resample_array(pixels, (48, 48))
    assert (again[..., 3] == 0).all()
    assert np.abs(again[::2, ::2, :3].astype(int) - pixels[..., :3]).max() < 12
