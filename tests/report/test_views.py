"""Pictures as they are shown: whole, in part, at the size of the largest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pictures import display_p3, ramp, random_pixels, save
from tessera.images.picture_format import Limits
from tessera.report.views import Region, find_difference, fit, read_region, read_whole, shrink_size

LIMITS = Limits()
FULL = (120, 200)


@pytest.mark.parametrize(
    ("size", "factor"),
    [
        ((120, 200), 1),
        ((117, 200), 1),
        ((116, 196), 1),
        ((60, 100), 2),
        ((30, 50), 4),
        ((40, 66), 3),
        ((100, 200), None),
        ((30, 100), None),
        ((90, 150), None),
    ],
)
def test_whole_factors_and_small_cuts_are_recognized(size: tuple[int, int], factor: int | None) -> None:
    assert fit(size, FULL).factor == factor


@pytest.mark.parametrize("size", [(120, 200), (117, 196), (60, 100), (30, 50), (29, 49), (100, 170)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_region_is_that_part_of_the_whole(tmp_path: Path, size: tuple[int, int], dtype: type) -> None:
    path = save(tmp_path / "a.png", random_pixels(*size, 3, dtype))
    placed = fit(size, FULL)
    whole = read_whole(path, placed, FULL, LIMITS)
    assert whole.shape == (*FULL, 3)
    assert whole.dtype == np.uint8
    for region in (Region(x=0, y=0, width=7, height=5), Region(x=150, y=91, width=50, height=29)):
        part = read_region(path, placed, region, LIMITS)
        there = whole[region.y : region.y + region.height, region.x : region.x + region.width]
        assert (part == there).all()


def test_a_smaller_picture_is_enlarged_by_repeating_its_pixels(tmp_path: Path) -> None:
    pixels = random_pixels(30, 50, 3, np.uint8)
    whole = read_whole(save(tmp_path / "a.png", pixels), fit((30, 50), FULL), FULL, LIMITS)
    assert (whole == pixels.repeat(4, axis=0).repeat(4, axis=1)).all()


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_gray_and_alpha_become_rgb_on_white(tmp_path: Path, channels: int) -> None:
    pixels = ramp(*FULL, channels)
    if channels in (2, 4):
        pixels[..., -1] = 0
    whole = read_whole(save(tmp_path / "a.png", pixels), fit(FULL, FULL), FULL, LIMITS)
    expected = pixels if channels == 1 else np.full_like(whole, 255)
    assert (whole == expected).all()


def test_colors_go_through_the_profile(tmp_path: Path) -> None:
    pixels = np.full((*FULL, 3), (200, 100, 50), np.uint8)
    path = save(tmp_path / "a.png", pixels, blobs={"icc-profile-data": display_p3()})
    whole = read_whole(path, fit(FULL, FULL), FULL, LIMITS)
    assert whole[0, 0, 0] > 205  # the red of Display P3 is stronger than that of sRGB


def test_a_large_picture_is_shrunk_while_it_is_read(tmp_path: Path) -> None:
    pixels = ramp(1500, 1000)
    whole = read_whole(save(tmp_path / "a.png", pixels), fit((1500, 1000), (1500, 1000)), (150, 100), LIMITS)
    assert np.abs(whole.astype(int) - pixels[5::10, 5::10]).max() <= 3


def test_the_place_is_where_they_differ_most_on_the_grid() -> None:
    first = ramp(160, 240)
    second = first.copy()
    second[70:90, 150:170] ^= 64
    region = find_difference([first, second], (160, 240), side=48, unit=12)
    assert region.x % 12 == region.y % 12 == 0
    assert (region.width, region.height) == (48, 48)
    assert region.x <= 150
    assert region.x + 48 >= 170
    assert region.y <= 70
    assert region.y + 48 >= 90
    assert region == find_difference([first, second], (160, 240), side=48, unit=12)


def test_the_place_is_found_on_shrunk_pictures_too() -> None:
    first = ramp(80, 120)
    second = first.copy()
    second[40:50, 80:90] ^= 64
    region = find_difference([first, second], (160, 240), side=48)
    assert region.x <= 160 <= region.x + 28
    assert region.y <= 80 <= region.y + 28


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (50, 7), (8, 8)])
def test_equal_and_tiny_pictures_have_a_place_inside(size: tuple[int, int]) -> None:
    picture = ramp(*size)
    region = find_difference([picture, picture], size, side=96)
    assert region == region.inside(size)
    assert min(region.width, region.height) >= 1


def test_no_side_is_ever_shrunk_to_nothing() -> None:
    assert shrink_size((1, 100_000), 100) == (1, 100)
