"""The choices a user can make: read, checked, told apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tessera.errors import LimitError, UsageError
from tessera.images.picture_format import Limits
from tessera.tiling.settings import OutScale, Settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4", (400, 800)),
        ("1", (100, 200)),
        ("0.5", (50, 100)),
        (3.5, (350, 700)),
        (2, (200, 400)),
        ("300x", (150, 300)),
        ("x300", (300, 600)),
        (" X300 ", (300, 600)),
        ("9x", (5, 9)),  # 4.5 rounded up
    ],
)
def test_an_outscale_is_a_factor_a_width_or_a_height(text: str | float, expected: tuple[int, int]) -> None:
    assert OutScale.parse(text).size(height=100, width=200) == expected


def test_no_side_of_an_output_becomes_zero() -> None:
    assert OutScale.parse("0.01").size(height=10, width=10) == (1, 1)
    assert OutScale.parse("100x").size(height=1, width=5000) == (1, 100)


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [
        *(("1.15", 100, 115), ("2.3", 100, 230), ("4.35", 100, 435), ("0.29", 100, 29), ("1.1", 100, 110)),
        *((1.15, 100, 115), ("1.005", 1000, 1005), ("8.2", 95, 779), ("0.07", 100, 7)),
        *((1.5, 101, 152), ("1.5", 33, 50), ("0.5", 5, 3), ("2.4", 11, 26), ("2.6", 11, 29)),  # halves go up
    ],
)
def test_a_factor_is_the_decimal_that_was_written(text: str | float, length: int, expected: int) -> None:
    """Expected values by hand: the product of the decimals, rounded half up."""
    assert OutScale.parse(text).size(height=length, width=2 * length)[0] == expected
    assert OutScale.parse(text).size(height=2 * length, width=length)[1] == expected


@pytest.mark.parametrize(
    "text", ["", "big", "-1", "0", "nan", "inf", "1e400", "1920x1080", "x", "0x", "x0", "1.5x", "12345678x", "4 4"]
)
def test_an_outscale_that_makes_no_sense_is_refused_with_what_was_found(text: str) -> None:
    with pytest.raises(UsageError, match="outscale"):
        OutScale.parse(text)


def test_a_factor_may_be_as_large_as_its_user_wants() -> None:
    assert OutScale.parse("100").size(height=7, width=5) == (700, 500)


@pytest.mark.parametrize(
    ("text", "height", "width"),
    [
        *((text, 12, 16) for text in ("1e9", "1e300", "1.7e308")),
        *((text, 2**28, 1) for text in ("1e300", "1.7e308", "9999999x")),
        ("x9999999", 1, 2**28),
    ],
)
def test_a_side_that_no_format_can_hold_is_a_sentence_and_no_overflow(text: str, height: int, width: int) -> None:
    with pytest.raises(LimitError, match=rf"^A picture of {width}x{height} would have a side of .* 2,147,483,647"):
        OutScale.parse(text).size(height=height, width=width)


@pytest.mark.parametrize("text", ["2.5", "1920x", "x1080"])
def test_an_outscale_is_shown_as_it_is_written(text: str) -> None:
    assert str(OutScale.parse(text)) == text


@pytest.mark.parametrize(("text", "factor"), [("4x", 4), ("x2", 2), ("8x", 8)])
def test_four_times_written_as_4x_is_not_taken_for_a_width_of_four_pixels(text: str, factor: int) -> None:
    with pytest.raises(UsageError, match=rf"for {factor} times as large write {factor}\."):
        OutScale.parse(text)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tile": 31}, "tile: expected at least 32 input pixels, or 0 .disables tiling., found 31"),
        ({"tile": -1}, "tile: .* found -1"),
        ({"overlap": -1}, "overlap: expected 0 to 1024 input pixels, found -1"),
        ({"overlap": 1025}, "overlap: .* found 1025"),
        ({"tile": 64, "overlap": 32}, "overlap: expected less than 32, half of `tile` 64, found 32"),
        ({"quality": 0}, "quality: expected 1 to 100, found 0"),
        ({"quality": 101}, "quality: .* found 101"),
        ({"alpha": "none"}, "alpha: expected auto, model or lanczos, found 'none'"),
        ({"tile": "256"}, "tile: expected int or None, found '256'"),
        ({"quality": 9.5}, "quality: expected int or None, found 9.5"),
        ({"outscale": 2}, "outscale: expected OutScale or None, found 2"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Settings(**wrong)


def test_no_tiles_and_a_wide_overlap_do_not_contradict_each_other() -> None:
    assert Settings(tile=0, overlap=400).overlap == 400


def test_an_animation_may_have_another_size_than_the_networks_own() -> None:
    assert Settings(frames=True, outscale=OutScale.parse(2.5)).outscale == OutScale(factor=2.5)


OTHER: dict[str, Any] = {
    "outscale": OutScale.parse(2),
    "precision": "exact",
    "engine": "pytorch",
    "tile": 0,
    "overlap": 8,
    "alpha": "lanczos",
    "flat_lock": False,
    "color_lock": True,
    "keep_color_noise": True,
    "seamless": True,
    "tta": True,
    "frames": True,
    "quality": 80,
}


def test_every_setting_that_can_change_pixels_changes_the_fingerprint() -> None:
    names = {field.name for field in dataclasses.fields(Settings)} - {"limits", "threads", "device", "keep_times"}
    assert set(OTHER) == names
    prints = {Settings(**{name: value}).fingerprint for name, value in OTHER.items()}
    assert len(prints | {Settings().fingerprint}) == len(names) + 1


def test_limits_and_devices_do_not_change_the_fingerprint() -> None:
    assert Settings(device="vulkan:1").fingerprint == Settings().fingerprint
    assert Settings(limits=Limits(max_pixels=None)).fingerprint == Settings().fingerprint


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    assert Settings().fingerprint == Settings().fingerprint
    assert Settings(outscale=OutScale.parse(2)).fingerprint == Settings(outscale=OutScale.parse(2.0)).fingerprint
