"""A picture file -> upright gray or RGB rows in 8 or 16 bits; whatever else a file may be -> one sentence."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pictures import (
    chunk,
    display_p3,
    exif_block,
    exif_tiff,
    gray_profile,
    jpeg_with_segments,
    png_chunks,
    png_of,
    png_with_chunks,
    ramp,
    random_pixels,
    save,
    vips_image,
    with_exif,
)
from tessera.errors import LimitError, PictureError
from tessera.images.codecs import netpbm
from tessera.images.icc import read_profile_name
from tessera.images.libvips import vips
from tessera.images.picture import Picture, read_picture
from tessera.images.picture_format import Limits
from tessera.images.reader import PictureReader
from tessera.images.writer import write_picture

SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".avif", ".gif", ".ppm")


def failure(path: Path, **options: object) -> str:
    """The one sentence with which reading all of a file ends."""
    with pytest.raises(PictureError) as caught, PictureReader(path, **options) as reader:  # type: ignore[arg-type]
        reader.measure_ranges()
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    assert len(sentence) < len(str(path)) + 250
    return sentence.removeprefix(f"{path}: ")


def notes_of(path: Path) -> tuple[str, ...]:
    info = read_picture(path).info
    assert info is not None
    return info.notes


# --- what pixels are -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("brightest", [1, 255, 256, 65_535])
def test_a_16_bit_picture_is_known_by_its_type_however_dark_it_is(
    tmp_path: Path, suffix: str, channels: int, brightest: int
) -> None:
    pixels = (random_pixels(9, 14, channels, np.uint16).astype(int) % (brightest + 1)).astype(np.uint16)
    picture = read_picture(save(tmp_path / f"a{suffix}", pixels))
    assert picture.pixels.dtype == np.uint16
    assert np.array_equal(picture.pixels.reshape(9, 14, channels), pixels)
    write_picture(picture, tmp_path / f"b{suffix}")
    assert read_picture(tmp_path / f"b{suffix}").pixels.dtype == np.uint16


@pytest.mark.parametrize("bits", [10, 12])
def test_white_of_a_deep_avif_is_white_and_black_black(tmp_path: Path, bits: int) -> None:
    pixels = np.zeros((32, 64, 3), np.uint16)
    pixels[:, 32:] = 65_535
    picture = read_picture(save(tmp_path / "a.avif", pixels, bitdepth=bits, Q=100))
    assert picture.pixels.dtype == np.uint16
    assert (picture.pixels[:, :28] == 0).all()
    assert (picture.pixels[:, 36:] == 65_535).all()
    for suffix in (".png", ".tif", ".avif"):
        write_picture(picture, tmp_path / f"b{suffix}")
        again = read_picture(tmp_path / f"b{suffix}").pixels
        off = 64 if suffix == ".avif" else 0  # lossy: a quarter of a level of 255
        assert (again[:, 36:] >= 65_535 - off).all()
        assert (again[:, :28] <= off).all()


def test_a_deep_avif_keeps_12_bits_of_a_gradient(tmp_path: Path) -> None:
    gray = np.linspace(0, 65_535, 256).astype(np.uint16)
    pixels = np.broadcast_to(gray[None, :, None], (16, 256, 3)).copy()
    write_picture(Picture(pixels), tmp_path / "a.avif", quality=100)
    again = read_picture(tmp_path / "a.avif").pixels.astype(int)
    assert np.abs(again - pixels).mean() < 40
    assert abs((again - pixels).mean()) < 3  # rounded, where cutting to 12 bits would darken by 8


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bit_gray_is_expanded_to_the_whole_range_with_a_note(tmp_path: Path, depth: int) -> None:
    values = np.arange(2**depth, dtype=np.uint8)
    row = np.packbits(((values[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).ravel())
    path = tmp_path / "a.png"
    path.write_bytes(png_of(len(values), 1, zlib.compress(b"\x00" + row.tobytes()), color_type=0, depth=depth))
    picture = read_picture(path)
    assert picture.pixels.tolist() == [[value * 255 // (2**depth - 1) for value in values.tolist()]]
    assert notes_of(path) == (f"Its {depth}-bit pixels were expanded to 8 bits.",)


def test_a_1_bit_tiff_is_expanded_with_a_note(tmp_path: Path) -> None:
    pixels = (random_pixels(7, 21, 1, np.uint8) // 128 * 255).astype(np.uint8)
    path = save(tmp_path / "a.tif", pixels, bitdepth=1)
    assert np.array_equal(read_picture(path).pixels, pixels[..., 0])
    assert notes_of(path) == ("Its 1-bit pixels were expanded to 8 bits.",)


def test_a_palette_is_expanded_with_a_note(tmp_path: Path) -> None:
    pixels = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)], np.uint8)[np.arange(60).reshape(6, 10) % 4]
    path = save(tmp_path / "a.png", pixels, palette=True)
    assert np.array_equal(read_picture(path).pixels, pixels)
    assert notes_of(path) == ("Its palette was expanded to RGB.",)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".ppm"])
def test_a_gray_picture_stays_one_channel_where_the_format_has_one(tmp_path: Path, suffix: str) -> None:
    pixels = ramp(20, 33, 1)[..., 0]
    write_picture(Picture(pixels), tmp_path / f"a{suffix}")
    again = read_picture(tmp_path / f"a{suffix}").pixels
    assert again.shape[:2] == (20, 33)
    if suffix in (".webp", ".avif"):  # VP8 has three channels, and libvips reads an AVIF with three
        assert np.abs(again.astype(int) - again[..., :1]).max() <= 1
    else:
        assert again.ndim == 2


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("profile", [True, False])
@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_goes_through_its_profile_to_srgb_and_says_so(
    tmp_path: Path, suffix: str, profile: bool, depth: int
) -> None:
    if suffix == ".jpg" and depth == 16:
        depth = 8
    muted = (60 + ramp(24, 32).astype(int) * 120 // 255).astype(np.uint8)
    cmyk = vips_image(muted).icc_transform("cmyk", input_profile="srgb", intent="relative", depth=depth)
    if not profile:
        cmyk = cmyk.copy()
        cmyk.remove("icc-profile-data")
    path = tmp_path / f"a{suffix}"
    cmyk.write_to_file(str(path), **({"Q": 98, "subsample_mode": "off"} if suffix == ".jpg" else {}))
    assert vips().Image.new_from_file(str(path)).interpretation == "cmyk"
    picture = read_picture(path)
    assert picture.pixels.shape == (24, 32, 3)
    full = 255 if depth == 8 else 65_535
    assert picture.pixels.dtype == (np.uint8 if depth == 8 else np.uint16)
    assert np.abs(picture.pixels / full * 255 - muted).mean() < 3
    (note,) = notes_of(path)
    assert note.startswith("CMYK was converted through ")
    assert note.endswith(" to sRGB.")
    assert ("a generic CMYK profile" in note) is not profile
    assert picture.metadata.icc_profile is not None
    assert "RGB" in read_profile_name(picture.metadata.icc_profile)
    write_picture(picture, tmp_path / "b.png")
    again = read_picture(tmp_path / "b.png")
    assert again.metadata.icc_profile == picture.metadata.icc_profile
    assert again.info is not None
    assert again.info.color_space.startswith("sRGB")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("channels", [2, 4])
def test_colors_under_transparent_pixels_are_kept_bit_for_bit(tmp_path: Path, suffix: str, channels: int) -> None:
    pixels = random_pixels(17, 23, channels, np.uint8)
    pixels[3:9, 4:15, -1] = 0
    options: dict[str, Any] = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    again = read_picture(save(tmp_path / f"a{suffix}", pixels, **options)).pixels
    assert np.array_equal(again[..., -1], pixels[..., -1])
    assert np.array_equal(again[..., 0], pixels[..., 0])


def test_a_wide_gamut_picture_is_named_with_its_profile(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", ramp(5, 5), blobs={"icc-profile-data": display_p3()})
    info = read_picture(path).info
    assert info is not None
    assert info.color_space == "Display P3 Test (kept)"


def test_a_misnamed_picture_is_read_with_a_note(tmp_path: Path) -> None:
    pixels = ramp(6, 8)
    save(tmp_path / "a.png", pixels)
    path = (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(read_picture(path).pixels, pixels)
    assert notes_of(path) == ("Its name says JPEG but it is a PNG file.",)


def test_further_pages_of_a_tiff_are_left_with_a_note(tmp_path: Path) -> None:
    pages = np.concatenate([np.full((5, 6, 3), value, np.uint8) for value in (10, 90)])
    path = save(tmp_path / "a.tif", pages, page_height=5)
    assert read_picture(path).pixels.shape == (5, 6, 3)
    assert notes_of(path) == ("Only the first of its 2 pages was used.",)


# --- profiles that do not work -------------------------------------------------------------------------------------

TORN = display_p3()[:-60] + b"\xff" * 60  # whole by its header, but its curves are gone


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "profile",
    [b"x" * 300, display_p3()[:400], display_p3()[:140], TORN, b"", None],
    ids=["junk", "cut", "cut short", "torn", "empty", "of another kind"],
)
def test_a_profile_that_does_not_work_is_left_out_with_a_note(
    tmp_path: Path, profile: bytes | None, channels: int
) -> None:
    if profile is None:
        profile = gray_profile() if channels == 3 else display_p3()
    path = save(tmp_path / "a.jpg", ramp(16, 16, channels), keep="none")
    before = read_picture(path).pixels
    path.write_bytes(jpeg_with_segments(path.read_bytes(), (0xE2, b"ICC_PROFILE\x00\x01\x01" + profile)))
    picture = read_picture(path)
    assert picture.metadata.icc_profile is None
    assert np.array_equal(picture.pixels, before)
    if profile:
        what = "RGB" if channels == 3 else "gray"
        (note,) = notes_of(path)
        assert note == f"Its ICC profile is damaged or not for {what} and was ignored: its values are taken as sRGB."
    for suffix in SUFFIXES:
        write_picture(picture, tmp_path / f"b{suffix}")
        assert read_picture(tmp_path / f"b{suffix}").pixels.shape[:2] == (16, 16)


def test_a_profile_with_something_behind_its_end_is_kept_without_that(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", ramp(16, 16), keep="none")
    segment = (0xE2, b"ICC_PROFILE\x00\x01\x01" + display_p3() + b"\x00" * 7)
    path.write_bytes(jpeg_with_segments(path.read_bytes(), segment))
    picture = read_picture(path)
    assert picture.metadata.icc_profile == display_p3()
    assert notes_of(path) == ()
    write_picture(picture, tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").metadata.icc_profile == display_p3()


def test_cmyk_with_a_broken_profile_goes_through_a_general_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    vips_image(ramp(16, 16)).icc_transform("cmyk", input_profile="srgb").jpegsave(str(path), keep="none")
    path.write_bytes(jpeg_with_segments(path.read_bytes(), (0xE2, b"ICC_PROFILE\x00\x01\x01" + TORN)))
    assert read_picture(path).pixels.shape == (16, 16, 3)
    assert notes_of(path) == (
        "Its ICC profile is damaged or not for CMYK and was ignored.",
        "CMYK was converted through a generic CMYK profile, as it has none to sRGB.",
    )


# --- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (131, 7)])
def test_rows_in_any_portions_are_the_whole_picture(tmp_path: Path, suffix: str, shape: tuple[int, int]) -> None:
    path = tmp_path / f"a{suffix}"
    write_picture(Picture(ramp(*shape)), path)
    whole = read_picture(path).pixels.reshape(*shape, -1)
    with PictureReader(path) as reader:
        assert (reader.height, reader.width) == shape
        for _ in range(2):
            portions: list[np.ndarray] = []
            first = 0
            while first < shape[0]:
                count = min(1 + first % 13, shape[0] - first)
                portions.append(reader.read_rows(first, count))
                first += count
            assert np.array_equal(np.concatenate(portions), whole)
            reader.rewind()
    with PictureReader(path, random=True) as reader:
        backwards = [reader.read_rows(row, 1) for row in reversed(range(shape[0]))]
        assert np.array_equal(np.concatenate(backwards[::-1]), whole)
        ranges = reader.measure_ranges()
        assert np.array_equal(ranges.least, whole.reshape(-1, whole.shape[2]).min(axis=0))
        assert np.array_equal(ranges.greatest, whole.reshape(-1, whole.shape[2]).max(axis=0))


# --- names ---------------------------------------------------------------------------------------------------------

NAMES = [
    "with space.png",
    "photo[1].png",
    "100%.png",
    "a%20b.png",
    "ümläut 写真 🎨.png",
    "-dash.png",
    "--help.png",
    "comma,n=-1.png",
    "quote'\".png",
    "newline\nin name.png",
    "[page=2].png",
    os.fsdecode(b"caf\xe9.png"),
    "n" * 246 + ".png",
    "ü" * 123 + ".png",
    "写" * 83 + ".png",
    "🎨" * 62 + ".png",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_picture_of_any_name_is_written_and_read(tmp_path: Path, name: str) -> None:
    pixels = ramp(5, 8)
    write_picture(Picture(pixels), tmp_path / name)
    assert np.array_equal(read_picture(tmp_path / name).pixels, pixels)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    tiff = tmp_path / f"{name[:55]}.tif"
    write_picture(Picture(pixels), tiff)
    assert np.array_equal(read_picture(tiff).pixels, pixels)


def test_a_name_without_a_folder_is_taken_from_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_picture(Picture(ramp(5, 8)), "-a.png")
    assert read_picture("-a.png").pixels.shape == (5, 8, 3)


# --- what is no picture --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "is empty (0 bytes)"),
        (b"hello, this is text\n" * 9, "not a picture in a supported format; supported: JPEG, PNG, WebP"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page or SVG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'></svg>", "web page or SVG"),
        (b"PK\x03\x04" + b"\x00" * 60, "zip archive"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + b"1 0 obj\n" * 9, "PDF"),
        (b"BM" + b"\x00" * 80, "BMP"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x00" * 60, "HEIC"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + b"\x00" * 60, "JPEG XL"),
        (b"\xff\x0a" + b"\x00" * 60, "JPEG XL"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n\x00\x00\x00\x00", "not a picture"),
        (b"\x00" * 100, "not a picture"),
        (b"\x89PNG\r\n\x1a\n", ""),
        (b"\xff\xd8\xff", ""),
        (b"II*\x00", ""),
        (b"GIF89a", ""),
        (b"RIFF\x00\x00\x00\x00WEBP", ""),
        (b"P6", ""),
        (b"P6\n", ""),
        (b"P7\n", ""),
    ],
    ids=lambda value: repr(value[:14]) if isinstance(value, bytes) else "",
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_what_is_no_picture_is_refused_in_one_sentence(tmp_path: Path, content: bytes, word: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    assert word in failure(path)


@pytest.mark.timeout(20)
def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    assert failure(tmp_path / "folder.png") == "is a folder, not a picture."
    os.mkfifo(tmp_path / "pipe.png")
    assert "is a pipe" in failure(tmp_path / "pipe.png")
    assert "not a regular file" in failure(Path("/dev/zero"))
    assert "no such file" in failure(tmp_path / "missing.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "missing.png")
    assert "a link to a missing file" in failure(tmp_path / "dangling.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert "cannot be opened" in failure(tmp_path / "loop.png")
    assert "cannot be opened" in failure(tmp_path / ("n" * 300 + ".png"))
    assert "cannot be opened" in failure(tmp_path / "nul\x00.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.png"))
        assert "not a regular file" in failure(tmp_path / "s.png")
    save(tmp_path / "a.png", ramp(3, 3))
    assert failure(tmp_path / "a.png" / "b.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    assert read_picture(tmp_path / "link.png").pixels.shape == (3, 3, 3)


def test_an_unreadable_file_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", ramp(3, 3))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        assert failure(path) == "no permission to read it."
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert failure(path) == "no permission to read it."


def test_a_file_that_vanishes_between_two_looks_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suffix in (".png", ".ppm"):
        path = tmp_path / f"a{suffix}"
        write_picture(Picture(ramp(300, 3)), path)
        with PictureReader(path) as reader:
            reader.read_rows(0, 10)
            path.unlink()
            with pytest.raises(PictureError):
                _first_rows_again(reader)


def _first_rows_again(reader: PictureReader) -> None:
    reader.rewind()
    reader.read_rows(0, 10)


# --- sizes ---------------------------------------------------------------------------------------------------------


def _claims(width: int, height: int) -> Iterator[tuple[str, bytes]]:
    """Small files of every format whose header claims this size."""
    yield "a.png", png_of(width, height, zlib.compress(b"\x00" * 3000))
    frame = struct.pack(">BHHB", 8, min(height, 65_535), min(width, 65_535), 3) + bytes((1, 17, 0, 2, 17, 0, 3, 17, 0))
    head = b"\xff\xd8\xff\xdb\x00\x43\x00" + b"\x01" * 64 + b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame
    yield "a.jpg", head + b"\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00" + b"\x00" * 999 + b"\xff\xd9"
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 200), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, 2**31)]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    yield "a.tif", struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + table + b"\x00" * 300
    yield (
        "a.gif",
        b"GIF89a"
        + struct.pack("<HHBBB", min(width, 65_535), min(height, 65_535), 0x80, 0, 0)
        + bytes((0, 0, 0, 255, 255, 255))
        + b","
        + struct.pack("<HHHHB", 0, 0, min(width, 65_535), min(height, 65_535), 0)
        + b"\x02\x02\x4c\x01\x00;",
    )
    canvas = (16_383).to_bytes(3, "little") + (65_535).to_bytes(3, "little")
    yield (
        "a.webp",
        b"RIFF\x2a\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00"
        + canvas
        + b"VP8L\x0c\x00\x00\x00"
        + b"\x2f" * 12,
    )
    yield "a.ppm", b"P6\n%d %d\n255\n" % (width, height) + b"\x00" * 999
    yield "a.pgm", b"P2\n%d %d\n255\n" % (width, height) + b"0 " * 999
    yield "a.pam", b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH 3\nMAXVAL 255\nENDHDR\n" % (width, height)


@pytest.mark.parametrize(("name", "content"), list(_claims(100_000, 100_000)), ids=lambda value: str(value)[:6])
def test_a_header_that_claims_a_gigantic_picture_is_refused_at_once(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    began = time.process_time()
    failure(path)
    failure(path, random=True)
    failure(path, frames=True)
    assert time.process_time() - began < 2


def test_a_picture_above_the_limit_names_the_flag_that_lifts_it(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix}"
        write_picture(Picture(ramp(30, 40)), path)
        with pytest.raises(LimitError, match=r"40x30 has .* set `max_pixels` to 1200 to allow it\."):
            read_picture(path, limits=Limits(max_pixels=1199))
        assert read_picture(path, limits=Limits(max_pixels=1200)).pixels.shape[:2] == (30, 40)
        assert read_picture(path, limits=Limits(max_pixels=None)).pixels.shape[:2] == (30, 40)


def test_few_pixels_are_said_in_full_and_many_in_megapixels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", ramp(30, 40))
    with pytest.raises(LimitError, match="has 1,200 pixels, more than the limit of 100 pixels; set `max_pixels` to"):
        read_picture(path, limits=Limits(max_pixels=100))
    path.write_bytes(png_of(20_000, 20_000, b""))
    with pytest.raises(LimitError, match="has 400 megapixels, more than the limit of 268 megapixels"):
        read_picture(path)
    path.write_bytes(png_of(2**14 + 1, 2**14, b""))
    with pytest.raises(LimitError, match="has 268,451,840 pixels, more than the limit of 268,435,456 pixels"):
        read_picture(path)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0), (2**31, 5), (2**32 - 1, 1)])
def test_a_png_that_claims_an_impossible_size_is_a_sentence(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_of(*size, zlib.compress(b"\x00" * 3000)))
    assert failure(path) == f"is damaged: its header claims {size[0]}x{size[1]} pixels, which no PNG can have."


@pytest.mark.parametrize("size", [(2**31 - 1, 5), (5, 2**31 - 1), (200_000_000, 1)])
def test_a_png_that_claims_more_than_libvips_takes_is_a_sentence(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_of(*size, zlib.compress(b"\x00" * 3000)))
    words = (
        f"its header claims {size[0]}x{size[1]} pixels; PNG files of at most 100,000,000 pixels per side can be read."
    )
    assert failure(path) == words


def test_all_frames_of_an_animation_count_toward_the_limit(tmp_path: Path) -> None:
    path = _animation(tmp_path, 30)
    with PictureReader(path, limits=Limits(max_pixels=200)) as reader:
        assert reader.info.frames_in_file == 30
    with pytest.raises(LimitError):
        PictureReader(path, frames=True, limits=Limits(max_pixels=200))


def _animation(folder: Path, frames: int) -> Path:
    image = vips_image(random_pixels(10 * frames, 10, 3, np.uint8))
    image.set_type(vips().GValue.gint_type, "page-height", 10)
    image.gifsave(str(folder / "a.gif"))
    return folder / "a.gif"


@pytest.mark.timeout(60)
def test_an_animation_of_a_hundred_thousand_frames_ends_soon(tmp_path: Path) -> None:
    frame = b"!\xf9\x04\x00\x01\x00\x00\x00," + struct.pack("<HHHHB", 0, 0, 400, 400, 0) + b"\x02\x02\x4c\x01\x00"
    path = tmp_path / "a.gif"
    head = b"GIF89a" + struct.pack("<HHBBB", 400, 400, 0x80, 0, 0) + bytes((0, 0, 0, 255, 255, 255))
    path.write_bytes(head + frame * 100_000 + b";")
    began = time.process_time()
    with PictureReader(path) as reader:
        assert reader.info.frames_in_file == 100_000
    assert "megapixels" in failure(path, frames=True)
    assert time.process_time() - began < 30


def test_pictures_that_are_neither_gray_nor_rgb_integers_are_refused_with_what_they_are(tmp_path: Path) -> None:
    made = random_pixels(6, 7, 3, np.uint8)
    path = tmp_path / "a.tif"
    for pixels, words in (
        (made.astype(np.float32), "float"),
        (made.astype(np.float64), "decoded"),
        (made.astype(np.uint32), "uint"),
        (made.astype(np.int16), "short"),
        (random_pixels(6, 7, 5, np.uint8), "5 channels"),
    ):
        vips().Image.new_from_array(pixels).copy(interpretation="multiband").tiffsave(str(path))
        assert words in failure(path)
    vips_image(ramp(6, 7)).colourspace("lab").bandjoin([1.0, 2.0]).tiffsave(str(path))
    assert "5 channels of type float" in failure(path)
    vips().Image.new_from_array(made.astype(np.complex64)).copy(interpretation="multiband").tiffsave(str(path))
    assert failure(path)


def test_lab_is_converted_to_srgb_with_a_note(tmp_path: Path) -> None:
    pixels = ramp(16, 20)
    path = tmp_path / "a.tif"
    vips_image(pixels).colourspace("lab").tiffsave(str(path))
    picture = read_picture(path)
    assert picture.pixels.shape == (16, 20, 3)
    full = np.iinfo(picture.pixels.dtype).max
    assert np.abs(picture.pixels / full * 255 - pixels).mean() < 1
    assert any("converted" in note for note in notes_of(path))


# --- damage --------------------------------------------------------------------------------------------------------


def small_files(folder: Path) -> dict[str, bytes]:
    """A small valid file of every kind, with metadata in it."""
    pixels = ramp(23, 31)
    blobs = {"icc-profile-data": display_p3(), "xmp-data": b"<x:xmpmeta tiff:Orientation='1'/>"}
    block = exif_block(orientation=6, thumbnail=b"\xff\xd8\xff\xd9")
    made: dict[str, bytes] = {}

    def keep(name: str, path: Path) -> None:
        made[name] = path.read_bytes()

    keep("jpg", save(folder / "a.jpg", pixels, blobs=blobs))
    keep("progressive.jpg", save(folder / "b.jpg", pixels, interlace=True))
    keep("turned.jpg", with_exif(folder / "c.jpg", pixels, block))
    keep("gray.jpg", save(folder / "d.jpg", pixels[..., :1]))
    vips_image(pixels).icc_transform("cmyk", input_profile="srgb").jpegsave(str(folder / "e.jpg"), keep="none")
    keep("cmyk.jpg", folder / "e.jpg")
    keep("png", save(folder / "a.png", pixels, blobs=blobs))
    keep("alpha16.png", save(folder / "b.png", ramp(23, 31, 4, np.uint16)))
    keep("palette.png", save(folder / "c.png", pixels, palette=True))
    keep("interlaced.png", save(folder / "d.png", pixels, interlace=True))
    keep("lossy.webp", save(folder / "a.webp", pixels, blobs=blobs))
    keep("lossless.webp", save(folder / "b.webp", ramp(23, 31, 4), lossless=True))
    keep("turned.webp", with_exif(folder / "c.webp", pixels, block))
    keep("tif", save(folder / "a.tif", pixels, blobs=blobs))
    keep(
        "deflate.tif", save(folder / "b.tif", ramp(23, 31, 3, np.uint16), compression="deflate", predictor="horizontal")
    )
    keep("lzw.tif", save(folder / "c.tif", pixels, compression="lzw"))
    keep("jpeg.tif", save(folder / "d.tif", pixels, compression="jpeg"))
    keep("tiled.tif", save(folder / "e.tif", pixels, tile=True, tile_width=16, tile_height=16, bigtiff=True))
    keep("fax.tif", save(folder / "f.tif", pixels[..., :1] // 128 * 255, bitdepth=1, compression="ccittfax4"))
    made["exif.tif"] = exif_tiff(pixels, exif_block(), orientation=6)
    keep("avif", save(folder / "a.avif", pixels, blobs=blobs, Q=60))
    keep("deep.avif", save(folder / "b.avif", ramp(23, 31, 4, np.uint16), bitdepth=10))
    keep("gif", save(folder / "a.gif", pixels))
    keep("animated.gif", _animation(folder, 3))
    for name, header in (
        ("ppm", b"P6\n# made\n31 23\n255\n"),
        ("deep.ppm", b"P6 31 23 65535\n"),
        ("pgm", b"P5\n31 23\n200\n"),
        ("pbm", b"P4\n31 23\n"),
    ):
        made[name] = header + pixels.tobytes() * 2
    made["plain.ppm"] = b"P3\n31 23\n255\n" + " ".join(map(str, pixels.ravel())).encode()
    made["plain.pbm"] = b"P1\n31 23\n" + b"0 1" * 800
    made["pam"] = netpbm.encode_header(23, 31, 4, np.dtype(np.uint8)) + ramp(23, 31, 4).tobytes()
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return small_files(tmp_path_factory.mktemp("small"))


KINDS = [
    *("jpg", "progressive.jpg", "turned.jpg", "gray.jpg", "cmyk.jpg"),
    *("png", "alpha16.png", "palette.png", "interlaced.png"),
    *("lossy.webp", "lossless.webp", "turned.webp"),
    *("tif", "deflate.tif", "lzw.tif", "jpeg.tif", "tiled.tif", "fax.tif", "exif.tif"),
    *("avif", "deep.avif", "gif", "animated.gif"),
    *("ppm", "deep.ppm", "pgm", "pbm", "plain.ppm", "plain.pbm", "pam"),
]
FUZZ_LIMITS = Limits(max_pixels=2**21)
SECONDS_A_CASE = 10  # of processor time: a bound on the work, whatever else the machine does


def outcome(path: Path) -> tuple[str, str]:
    """Read a file whole, and by rows in every mode -> ("picture" or "error", the sentence); all else propagates."""
    began = time.process_time()
    result = ("picture", "")
    try:
        picture = read_picture(path, limits=FUZZ_LIMITS)
        assert picture.pixels.size
    except PictureError as error:
        result = ("error", str(error))
    if result[0] == "error":
        assert "\n" not in result[1]
        assert result[1].startswith(f"{path}: ")
        assert result[1].endswith(".")
    for options in ({"frames": True}, {"random": True}):
        try:
            with PictureReader(path, limits=FUZZ_LIMITS, **options) as reader:
                reader.measure_ranges()
                reader.read_rows(0, 1)
        except PictureError:
            pass
    assert time.process_time() - began < SECONDS_A_CASE
    return result


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Change, cut, insert or repeat a few bytes, more often near the start where the structure is."""
    made = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(0, len(made)) if rng.random() < 0.5 else rng.integers(0, min(len(made), 200)))
        match rng.integers(0, 7):
            case 0:
                made[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                made[at] = int(rng.choice([0, 1, 127, 128, 255]))
            case 2:
                made[at : at + 4] = struct.pack(">I", int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 65_536])))
            case 3:
                del made[at : at + int(rng.integers(1, 30))]
            case 4:
                made[at:at] = rng.bytes(int(rng.integers(1, 20)))
            case 5:
                made[at:at] = made[at : at + int(rng.integers(1, 60))]
            case _:
                made[at : at + 8] = rng.bytes(8)
        if len(made) < 4:
            break
    return bytes(made)


def fuzz(folder: Path, name: str, data: bytes, seeds: range) -> int:
    """Mutate a file once for each seed, read each -> how many ended in a sentence."""
    path = folder / f"fuzzed.{name.rsplit('.', 1)[-1]}"
    refused = 0
    for seed in seeds:
        path.write_bytes(mutated(data, np.random.default_rng([seed, zlib.crc32(name.encode())])))
        refused += outcome(path)[0] == "error"
    return refused


def test_the_files_to_be_damaged_are_whole(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert list(files) == KINDS
    for name, data in files.items():
        path = tmp_path / f"a.{name}"
        path.write_bytes(data)
        assert outcome(path)[0] == "picture", name


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_ends_in_a_picture_or_in_a_sentence(tmp_path: Path, files: dict[str, bytes], kind: str) -> None:
    fuzz(tmp_path, kind, files[kind], range(20))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
def test_hundreds_of_mutated_files_of_each_kind_end_in_a_picture_or_in_a_sentence(
    tmp_path: Path, files: dict[str, bytes], kind: str
) -> None:
    assert fuzz(tmp_path, kind, files[kind], range(1000, 1150)) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_ends_in_a_sentence(tmp_path: Path, files: dict[str, bytes], kind: str) -> None:
    data = files[kind]
    path = tmp_path / f"cut.{kind}"
    lengths = sorted({*np.linspace(1, len(data) - 1, 25).astype(int).tolist(), *range(1, min(24, len(data)))})
    if kind in ("pgm", "pbm", "plain.pbm", "plain.ppm", "ppm"):  # these hold more than they need
        lengths = [length for length in lengths if length < 80]
    if kind == "animated.gif":  # whose first frame is whole before the file is
        lengths = [length for length in lengths if length < len(data) // 3]
    refused = 0
    for length in lengths:
        path.write_bytes(data[:length])
        result, _ = outcome(path)
        refused += result == "error"
    assert refused > len(lengths) * 0.8
    path.write_bytes(data[: lengths[-1] * 3 // 4])
    assert outcome(path)[0] == "error"


def test_a_picture_cut_in_its_pixels_is_said_to_be_cut_short(tmp_path: Path, files: dict[str, bytes]) -> None:
    for kind in ("jpg", "png", "alpha16.png", "pam", "lossless.webp", "gif"):
        path = tmp_path / f"cut.{kind}"
        path.write_bytes(files[kind][: -len(files[kind]) // 4])
        assert "cut short" in failure(path), kind


STARTS = (b"", b"P6 ", b"P5\n", b"P7\n", b"P1 ", b"P3\n", b"II*\x00", b"GIF89a")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(min_size=1, max_size=200),
    start=st.sampled_from((b"", b"P6 ", b"P5\n", b"P7\n", b"P1 ", b"P3\n", b"II*\x00", b"GIF89a")),
)
def test_arbitrary_bytes_end_in_a_picture_or_in_a_sentence(tmp_path: Path, content: bytes, start: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(start + content)
    outcome(path)


@pytest.mark.timeout(60)
def test_pngs_that_inflate_to_gigabytes_are_refused_or_read_without_the_memory(tmp_path: Path) -> None:
    deflate = zlib.compressobj(9)
    zeros = b"\x00" * 2**20
    bomb = b"".join(deflate.compress(zeros) for _ in range(512)) + deflate.flush()
    good = save(tmp_path / "good.png", ramp(8, 8)).read_bytes()
    bombs = {
        "iccp.png": png_with_chunks(good, chunk(b"iCCP", b"name\x00\x00" + bomb)),
        "ztxt.png": png_with_chunks(good, chunk(b"zTXt", b"name\x00\x00" + bomb)),
        "itxt.png": png_with_chunks(good, chunk(b"iTXt", b"name\x00\x01\x00\x00\x00" + bomb)),
        "idat.png": png_of(8, 8, bomb),
        "wide.png": png_of(2**30, 1, bomb),
        "many.png": png_with_chunks(good, *[chunk(b"tEXt", b"k%d\x00v" % index) for index in range(20_000)]),
    }
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
    code = (
        "import resource, sys, pathlib\n"
        "from tessera.images.picture import read_picture\n"
        "from tessera.errors import PictureError\n"
        "read_picture(sys.argv[1] + '/good.png')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for name in sys.argv[2:]:\n"
        "    try:\n"
        "        read_picture(sys.argv[1] + '/' + name)\n"
        "    except PictureError as error:\n"
        "        pass\n"
        "    now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    print(name, (now - before) // 1024)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *bombs], capture_output=True, text=True, timeout=50
    )
    assert result.returncode == 0, result.stderr
    grown = {line.split()[0]: int(line.split()[1]) for line in result.stdout.splitlines()}
    assert len(grown) == len(bombs)
    assert max(grown.values()) < 120, grown


def test_a_tiff_with_absurd_tags_ends_in_a_sentence(tmp_path: Path) -> None:
    whole = exif_tiff(ramp(9, 9), exif_block())
    (at,) = struct.unpack_from("<I", whole, 4)
    (count,) = struct.unpack_from("<H", whole, at)
    path = tmp_path / "a.tif"
    for index in range(count):
        for kind, items, value in (
            (4, 2**32 - 1, 8),
            (5, 1, 2**32 - 1),
            (3, 1, 0),
            (3, 1, 65_535),
            (99, 1, 1),
            (12, 2**29, 0),
        ):
            broken = bytearray(whole)
            struct.pack_into("<HII", broken, at + 4 + 12 * index, kind, items, value)
            path.write_bytes(broken)
            outcome(path)
    looped = bytearray(whole)
    struct.pack_into("<I", looped, at + 2 + 12 * count, at)  # the next directory is this one
    path.write_bytes(looped)
    outcome(path)


def test_a_jpeg_with_many_and_huge_segments_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", ramp(16, 16))
    path.write_bytes(jpeg_with_segments(path.read_bytes(), *[(0xE4, b"x" * 65_000)] * 40, (0xFE, b"comment")))
    assert read_picture(path).pixels.shape == (16, 16, 3)


def test_a_damaged_png_checksum_is_a_sentence(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", ramp(40, 40))
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 60] ^= 0xFF
    path.write_bytes(data)
    assert [kind for kind, _ in png_chunks(bytes(data))][-1] == b"IEND"
    assert failure(path)


# --- memory --------------------------------------------------------------------------------------------------------

HEIGHT, WIDTH = 40, 60


def decoder_bytes(path: Path, **options: Any) -> int:
    with PictureReader(path, **options) as reader:
        return reader.info.decoder_bytes


def test_what_comes_row_by_row_is_held_by_no_decoder(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png", ".tif"):
        assert decoder_bytes(save(tmp_path / f"a{suffix}", ramp(HEIGHT, WIDTH))) == 0
    write_picture(ramp(HEIGHT, WIDTH), tmp_path / "a.ppm")
    assert decoder_bytes(tmp_path / "a.ppm") == 0


@pytest.mark.parametrize(
    ("name", "options", "channels", "deep", "bytes_per_pixel"),
    [
        ("a.jpg", {"interlace": True}, 3, False, 6),  # the coefficients of all scans
        ("a.jpg", {"interlace": True}, 1, False, 2),
        ("a.png", {"interlace": True}, 3, False, 3),
        ("a.png", {"interlace": True}, 4, True, 8),
        ("a.webp", {}, 3, False, 9),
        ("a.webp", {}, 4, False, 12),
        ("a.gif", {}, 3, False, 8),
        ("a.avif", {}, 3, False, 12),
        ("a.avif", {"bitdepth": 12}, 3, True, 24),
    ],
)
def test_what_a_decoder_holds_is_told(
    tmp_path: Path, name: str, options: dict[str, Any], channels: int, deep: bool, bytes_per_pixel: int
) -> None:
    pixels = ramp(HEIGHT, WIDTH, channels, np.uint16 if deep else np.uint8)
    pixels[:9, :9, -1] = 0  # alpha that is opaque everywhere would not be kept
    assert decoder_bytes(save(tmp_path / name, pixels, **options)) == HEIGHT * WIDTH * bytes_per_pixel


def test_a_turned_picture_and_one_read_in_any_order_are_held_whole(tmp_path: Path) -> None:
    turned = with_exif(tmp_path / "a.jpg", ramp(HEIGHT, WIDTH), exif_block(orientation=6))
    assert decoder_bytes(turned) == HEIGHT * WIDTH * 3
    upright = save(tmp_path / "b.png", ramp(HEIGHT, WIDTH), interlace=True)
    assert decoder_bytes(upright, random=True) == HEIGHT * WIDTH * 3 * 2
    claims = tmp_path / "c.png"  # above 100 MiB libvips' copy is on the disk
    claims.write_bytes(png_of(10_000, 10_000, b""))
    with PictureReader(claims) as reader:
        assert reader.info.decoder_bytes == 0


def test_plain_text_pixels_and_frames_of_a_webp_are_held(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P3\n2 2\n255\n" + b"1 " * 12)
    assert decoder_bytes(tmp_path / "a.ppm") == 2 * 2 * 3 * 6
    frames = vips_image(random_pixels(60, 10, 3, np.uint8))
    frames.set_type(vips().GValue.gint_type, "page-height", 10)
    frames.webpsave(str(tmp_path / "a.webp"))
    one, all_of_them = decoder_bytes(tmp_path / "a.webp"), decoder_bytes(tmp_path / "a.webp", frames=True)
    assert one == 10 * 10 * 3 * 3
    assert all_of_them == one + 60 * 10 * 3


COPY_BY_ROWS = """
import sys
from pathlib import Path
from tessera.images.reader import PictureReader
from tessera.images.frames import PictureShape
from tessera.images.writer import PictureWriter

def memory(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name + ":"))

source, output = map(Path, sys.argv[1:])
own = 0
with PictureReader(source) as reader:
    info = reader.info
    shape = PictureShape(height=reader.height, width=reader.width, channels=info.channels, dtype=info.dtype)
    with PictureWriter(output, shape, metadata=reader.metadata) as writer:
        for first in range(0, reader.height, 128):
            writer.write_rows(reader.read_rows(first, min(128, reader.height - first)))
            own = max(own, memory("RssAnon") + memory("RssShmem"))
        writer.finish()
print(memory("VmHWM"), own)
"""


def smooth_picture(path: Path, megapixels: int, orientation: int = 1) -> Path:
    """A picture of smooth colors made by libvips' own generators, row by row."""
    side = int((megapixels * 1e6) ** 0.5)
    x = vips().Image.xyz(side, side)
    image = (x[0] / side * 200).bandjoin([x[1] / side * 220, (x[0] + x[1]) / side * 100]).cast("uchar")
    image = image.copy(interpretation="srgb")
    if orientation != 1:
        image.set_type(vips().GValue.gint_type, "orientation", orientation)
    image.write_to_file(str(path))
    return path


def peak_mb(source: Path, output: Path) -> tuple[float, float]:
    """The greatest resident memory of a process that copies a picture by rows, and how much of it is no file's."""
    result = subprocess.run(
        [sys.executable, "-c", COPY_BY_ROWS, str(source), str(output)],
        capture_output=True,
        text=True,
        env={**os.environ, "VIPS_CONCURRENCY": "1"},
    )
    assert result.returncode == 0, result.stderr
    resident, own = result.stdout.split()
    return int(resident) / 1024, int(own) / 1024


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc for memory")


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_64_megapixels_take_little_more_memory_than_4(tmp_path: Path, suffix: str) -> None:
    small, _ = peak_mb(smooth_picture(tmp_path / f"small{suffix}", 4), tmp_path / f"out4{suffix}")
    large, _ = peak_mb(smooth_picture(tmp_path / f"large{suffix}", 64), tmp_path / f"out64{suffix}")
    print(f"{suffix}: {small:.0f} MB for 4 MP, {large:.0f} MB for 64 MP")
    assert large - small < 100


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_picture_of_64_megapixels_lies_on_the_disk_and_not_in_memory(tmp_path: Path, orientation: int) -> None:
    """libvips maps the decoded copy from a file: its pages count as resident, and the system may drop them."""
    small, small_own = peak_mb(smooth_picture(tmp_path / "small.jpg", 4, orientation), tmp_path / "out4.jpg")
    large, large_own = peak_mb(smooth_picture(tmp_path / "large.jpg", 64, orientation), tmp_path / "out64.jpg")
    print(f"orientation {orientation}: {small:.0f} MB ({small_own:.0f} own), {large:.0f} MB ({large_own:.0f} own)")
    assert large_own - small_own < 100
    assert large - small < 300
