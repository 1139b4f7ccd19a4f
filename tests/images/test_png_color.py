"""What a PNG says about its colors in chunks that are not followed is said in one sentence."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from pictures import chunk, display_p3, png_with_chunks, ramp, save
from tessera.images.codecs.png_chunks import describe_color_chunks, read_png_size
from tessera.images.picture import read_picture

SRGB = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
ADOBE = (31_270, 32_900, 64_000, 33_000, 21_000, 71_000, 15_000, 6_000)


def gama(value: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", value))


def chrm(values: tuple[int, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *values))


def cicp(*values: int) -> bytes:
    return chunk(b"cICP", bytes(values))


SAID_SRGB = chunk(b"sRGB", b"\x00")


def notes(folder: Path, *chunks: bytes, channels: int = 3, profile: bytes | None = None) -> tuple[str, ...]:
    path = save(
        folder / "a.png",
        ramp(8, 8, channels),
        blobs={} if profile is None else {"icc-profile-data": profile},
        keep="icc",
    )
    path.write_bytes(png_with_chunks(path.read_bytes(), *chunks))
    picture = read_picture(path)
    assert np.array_equal(picture.pixels.reshape(8, 8, -1), ramp(8, 8, channels))
    assert picture.info is not None
    return picture.info.notes


@pytest.mark.parametrize(
    ("chunks", "note"),
    [
        ((gama(100_000),), "Its gamma of 1 (PNG gAMA) is not applied: the values are taken as sRGB."),
        ((gama(55_556),), "Its gamma of 0.5556 (PNG gAMA) is not applied: the values are taken as sRGB."),
        ((gama(45_455), chrm(ADOBE)), "Its primaries (PNG cHRM) are not applied: the values are taken as sRGB."),
        (
            (gama(100_000), chrm(ADOBE)),
            "Its gamma of 1 (PNG gAMA) and primaries (PNG cHRM) are not applied: the values are taken as sRGB.",
        ),
        (
            (cicp(9, 16, 0, 1), gama(100_000)),
            "Its color coding (CICP) is primaries 9 (BT.2020), transfer 16 (PQ); not sRGB.",
        ),
        (
            (cicp(12, 13, 0, 1), SAID_SRGB),
            "Its color coding (CICP) is primaries 12 (Display P3), transfer 13 (sRGB); not sRGB.",
        ),
        (  # of narrow range, which no other format could hold
            (cicp(9, 16, 0, 0),),
            "Its color coding (PNG cICP: primaries 9, transfer 16) is not applied: the values are taken as sRGB.",
        ),
    ],
)
def test_colors_that_are_not_followed_are_said(tmp_path: Path, chunks: tuple[bytes, ...], note: str) -> None:
    assert notes(tmp_path, *chunks) == (note,)


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (gama(45_455),),
        (gama(45_000), chrm(SRGB)),
        (gama(45_900), chrm(tuple(value + 9 for value in SRGB))),
        (SAID_SRGB, gama(100_000), chrm(ADOBE)),
        (cicp(1, 13, 0, 1), gama(100_000)),
        (gama(0),),
        (chunk(b"tEXt", b"gAMA\x00gAMA"),),
    ],
)
def test_a_png_in_srgb_has_no_note(tmp_path: Path, chunks: tuple[bytes, ...]) -> None:
    assert notes(tmp_path, *chunks) == ()


def test_a_profile_goes_before_gamma_and_primaries_but_not_before_a_color_coding(tmp_path: Path) -> None:
    assert notes(tmp_path, gama(100_000), chrm(ADOBE), profile=display_p3()) == ()
    (note,) = notes(tmp_path, cicp(9, 16, 0, 1), profile=display_p3())
    assert note == "Its color coding (CICP) is primaries 9 (BT.2020), transfer 16 (PQ); its ICC profile is kept too."


@pytest.mark.parametrize("channels", [1, 2])
def test_primaries_say_nothing_about_gray_and_gamma_does(tmp_path: Path, channels: int) -> None:
    assert notes(tmp_path, chrm(ADOBE), channels=channels) == ()
    (note,) = notes(tmp_path, gama(100_000), chrm(ADOBE), channels=channels)
    assert note == "Its gamma of 1 (PNG gAMA) is not applied: the values are taken as sRGB."


def test_what_comes_after_the_pixels_is_not_looked_at(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", ramp(8, 8), keep="none")
    whole = path.read_bytes()
    path.write_bytes(whole[:-12] + gama(100_000) + whole[-12:])
    assert list(describe_color_chunks(path)) == []


def test_any_bytes_end_in_notes_or_none(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", ramp(8, 8), keep="none")
    whole = png_with_chunks(path.read_bytes(), gama(100_000), chrm(ADOBE), cicp(9, 16, 0, 1))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert len(list(describe_color_chunks(path))) <= 1
    path.write_bytes(png_with_chunks(whole, chunk(b"gAMA", b""), chunk(b"cHRM", b"\x00"), chunk(b"cICP", b"\x09")))
    assert len(list(describe_color_chunks(path))) <= 1


def test_the_size_that_a_png_claims_is_read_from_its_start() -> None:
    assert read_png_size(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + struct.pack(">II", 7, 5)) == (5, 7)
    assert read_png_size(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00") is None
    assert read_png_size(b"GIF89a" + b"\x00" * 40) is None
