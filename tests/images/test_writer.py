"""Rows -> a file that appears whole or not at all, and reads back as what was written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pictures import display_p3, jpeg_sampling, ramp, random_pixels, save, vips_image, webp_chunks
from tessera.errors import LimitError, PictureError, UsageError
from tessera.images import writer
from tessera.images.codecs import netpbm
from tessera.images.formats import find_format, list_writable_formats
from tessera.images.frames import PictureShape
from tessera.images.libvips import vips
from tessera.images.metadata import Metadata, MetadataField
from tessera.images.picture import Picture, read_picture
from tessera.images.pixels import flatten_on_white
from tessera.images.reader import PictureReader
from tessera.images.writer import PictureWriter, must_convert_to_srgb, write_picture
from tessera.storage.atomic import PART_MARK, identify_machine, parse_owner

SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".avif", ".gif", ".ppm")
SMALL = ramp(40, 30)


def shape_of(pixels: np.ndarray, **options: Any) -> PictureShape:
    height, width, channels = pixels.shape
    return PictureShape(height=height, width=width, channels=channels, dtype=pixels.dtype, **options)


def one_sentence(error: BaseException, path: Path) -> str:
    text = str(error)
    assert text.startswith(f"{path}: ")
    assert text.endswith(".")
    assert "\n" not in text
    return text


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = _own_threads()
    yield
    deadline = time.monotonic() + 5
    while _own_threads() - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _own_threads() <= before


def _own_threads() -> set[threading.Thread]:
    """Python's threads, less those of libvips' pool (which it keeps and uses again)."""
    return {each for each in threading.enumerate() if not each.name.startswith("Dummy-")}


# --- what is written reads back ------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from((".png", ".tif", ".ppm", ".pam", ".pnm")),
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    channels=st.integers(1, 4),
    dtype=st.sampled_from((np.uint8, np.uint16)),
    seed=st.integers(0, 2**16),
)
def test_lossless_formats_give_back_every_bit(
    tmp_path: Path, suffix: str, height: int, width: int, channels: int, dtype: Any, seed: int
) -> None:
    pixels = random_pixels(height, width, channels, dtype, seed)
    path = tmp_path / f"a{suffix}"
    write_picture(Picture(pixels), path)
    again = read_picture(path)
    assert again.pixels.dtype == dtype
    assert np.array_equal(again.pixels.reshape(height, width, -1), pixels)
    assert again.info is not None
    assert again.info.notes == ()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (257, 3)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_takes_odd_sizes(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    path = tmp_path / f"a{suffix}"
    pixels = ramp(*size)
    write_picture(Picture(pixels), path)
    again = read_picture(path).pixels[..., :3]
    assert again.shape == pixels.shape
    # lossy WebP halves color, which shows where three columns are a whole picture
    assert np.abs(again.astype(int) - pixels).mean() < (12 if suffix == ".webp" else 6)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_black_gray_and_white_come_back_as_they_were(tmp_path: Path, suffix: str, value: int) -> None:
    pixels = np.full((40, 40, 3), value, np.uint8)
    write_picture(Picture(pixels), tmp_path / f"a{suffix}")
    again = read_picture(tmp_path / f"a{suffix}").pixels[..., :3]
    assert np.abs(again.astype(int) - value).max() <= 1


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_may_come_in_any_portions(tmp_path: Path, suffix: str) -> None:
    write_picture(Picture(SMALL), tmp_path / f"whole{suffix}")
    with PictureWriter(tmp_path / f"parts{suffix}", shape_of(SMALL)) as out:
        first = 0
        for count in (1, 2, 0, 17, 3, 16, 1):
            out.write_rows(SMALL[first : first + count])
            first += count
        out.finish()
    assert (tmp_path / f"parts{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


def test_rows_that_are_views_with_steps_are_written_as_they_look(tmp_path: Path) -> None:
    source = random_pixels(30, 40, 4, np.uint16)[::-1, ::2, 2::-1]
    write_picture(Picture(source), tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, source)


def test_a_jpeg_is_4_4_4_and_of_quality_95(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, ::2] = (255, 0, 0)
    pixels[:, 1::2] = (0, 0, 255)
    write_picture(Picture(pixels), tmp_path / "a.jpg")
    assert set(jpeg_sampling((tmp_path / "a.jpg").read_bytes())) == {(1, 1)}
    assert np.abs(read_picture(tmp_path / "a.jpg").pixels.astype(int) - pixels).mean() < 4
    noise = random_pixels(64, 64, 3, np.uint8)
    write_picture(Picture(noise), tmp_path / "b.jpg")
    write_picture(Picture(noise), tmp_path / "c.jpg", quality=95)
    write_picture(Picture(noise), tmp_path / "d.jpg", quality=50)
    assert (tmp_path / "b.jpg").read_bytes() == (tmp_path / "c.jpg").read_bytes()
    assert (tmp_path / "d.jpg").stat().st_size < (tmp_path / "b.jpg").stat().st_size / 2


def test_alpha_survives_exactly_in_lossless_formats_and_nearly_in_lossy_ones(tmp_path: Path) -> None:
    pixels = ramp(40, 30, 4)
    pixels[10:20, 10:20, 3] = 0
    for suffix in (".png", ".tif", ".pam"):
        write_picture(Picture(pixels), tmp_path / f"a{suffix}")
        assert np.array_equal(read_picture(tmp_path / f"a{suffix}").pixels, pixels)
    write_picture(Picture(pixels), tmp_path / "a.webp")
    assert np.array_equal(read_picture(tmp_path / "a.webp").pixels[..., 3], pixels[..., 3])
    hidden = ramp(64, 64, 4)
    hidden[..., 3] = 0
    write_picture(Picture(hidden), tmp_path / "hidden.webp")
    assert np.abs(read_picture(tmp_path / "hidden.webp").pixels.astype(int) - hidden).mean() < 3
    assert b"ALPH" in webp_chunks((tmp_path / "a.webp").read_bytes())
    write_picture(Picture(pixels), tmp_path / "a.avif")
    assert np.abs(read_picture(tmp_path / "a.avif").pixels[..., 3].astype(int) - pixels[..., 3]).mean() < 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_laid_on_white_for_jpeg(tmp_path: Path, dtype: Any) -> None:
    full = int(np.iinfo(dtype).max)
    pixels: Any = np.zeros((1, 3, 4), dtype)
    pixels[0, :, 3] = (0, full // 2 + 1, full)
    laid = flatten_on_white(pixels)
    assert laid[0, 0].tolist() == [full] * 3
    assert abs(int(laid[0, 1, 0]) - full // 2) <= 1
    assert laid[0, 2].tolist() == [0] * 3
    write_picture(Picture(np.repeat(np.repeat(pixels, 16, 0), 16, 1)), tmp_path / "a.jpg")
    again = read_picture(tmp_path / "a.jpg").pixels
    assert again[8, [4, 24, 44], 0].tolist() == pytest.approx([255, 127, 0], abs=2)
    assert flatten_on_white(ramp(4, 4, 2)).shape == (4, 4, 1)


def test_16_bits_are_rounded_and_not_cut_for_8_bit_formats(tmp_path: Path) -> None:
    pixels = np.array([[0, 128, 129, 257, 385, 386, 65_406, 65_407, 65_535]], np.uint16)
    expected = [[0, 0, 1, 1, 1, 2, 254, 255, 255]]
    assert np.rint(pixels / 257).astype(int).tolist() == expected
    write_picture(Picture(np.repeat(pixels[..., None], 3, 2)), tmp_path / "a.png")
    shape = PictureShape(height=1, width=9, channels=1, dtype=np.dtype(np.uint16), file_depth=8)
    for suffix in (".png", ".pgm", ".tif"):
        with PictureWriter(tmp_path / f"b{suffix}", shape) as out:
            out.write_rows(pixels[..., None])
            out.finish()
        again = read_picture(tmp_path / f"b{suffix}").pixels
        assert again.dtype == np.uint8
        assert again.tolist() == expected


@pytest.mark.parametrize("suffix", [".png", ".ppm", ".tif", ".jpg"])
@pytest.mark.parametrize("target", [(20, 15), (57, 33), (40, 90), (1, 1), (39, 30)])
def test_a_resized_picture_has_the_asked_size_and_its_colors(
    tmp_path: Path, suffix: str, target: tuple[int, int]
) -> None:
    pixels = ramp(40, 30, 3, np.uint16)
    shape = shape_of(pixels, file_height=target[0], file_width=target[1], file_depth=8)
    with PictureWriter(tmp_path / f"a{suffix}", shape) as out:
        out.write_rows(pixels)
        out.finish()
    again = read_picture(tmp_path / f"a{suffix}").pixels
    assert again.shape == (*target, 3)
    assert again.dtype == np.uint8
    assert np.abs(again.mean((0, 1)) - pixels.mean((0, 1)) / 257).max() < 6


@pytest.mark.parametrize("value", [0, 300, 65_535])
def test_resizing_keeps_flat_colors_exactly(tmp_path: Path, value: int) -> None:
    pixels = np.full((40, 30, 3), value, np.uint16)
    with PictureWriter(tmp_path / "a.png", shape_of(pixels, file_height=61, file_width=47)) as out:
        out.write_rows(pixels)
        out.finish()
    again = read_picture(tmp_path / "a.png").pixels
    assert again.dtype == np.uint16
    assert (again == value).all()


@pytest.mark.parametrize("hidden", [0, 65_535])
def test_resizing_draws_no_fringe_of_the_color_under_transparent_pixels(tmp_path: Path, hidden: int) -> None:
    pixels = np.full((32, 32, 4), hidden, np.uint16)
    pixels[:, :16, 3] = 0
    pixels[:, 16:] = (30_000, 30_000, 30_000, 65_535)
    with PictureWriter(tmp_path / "a.png", shape_of(pixels, file_height=48, file_width=48)) as out:
        out.write_rows(pixels)
        out.finish()
    again = read_picture(tmp_path / "a.png").pixels
    seen = again[..., 3] > 2000
    assert seen.sum() > 48 * 20
    assert np.abs(again[seen][:, :3].astype(int) - 30_000).max() < 300


FRAME_COLORS = ((250, 10, 10), (10, 200, 10), (10, 10, 240))


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("outscale", [2.5, 0.5])
def test_frames_of_an_animation_are_resampled_each_for_itself(tmp_path: Path, suffix: str, outscale: float) -> None:
    rows = np.concatenate([np.full((12, 20, 3), color, np.uint16) for color in FRAME_COLORS]) * 257
    gvalue = vips().GValue
    animation = (
        MetadataField("delay", gvalue.array_int_type, [100, 250, 40]),
        MetadataField("loop", gvalue.gint_type, 3),
    )
    height, width = int(12 * outscale), int(20 * outscale)
    shape = shape_of(rows, frames=3, file_height=height, file_width=width, file_depth=8)
    path = tmp_path / f"a{suffix}"
    with PictureWriter(path, shape, metadata=Metadata(animation=animation), quality=100) as out:
        for first in range(0, 36, 5):  # portions that straddle the frames
            out.write_rows(rows[first : first + 5])
        out.finish()
    again = vips().Image.new_from_file(str(path), n=-1)
    assert (again.get("n-pages"), again.get("page-height"), again.width) == (3, height, width)
    assert again.get("delay") == [100, 250, 40]
    assert again.get("loop") == 3
    frames = again.numpy().reshape(3, height, width, -1)[..., :3].astype(int)
    for frame, color in zip(frames, FRAME_COLORS, strict=True):
        assert np.abs(frame - color).max() <= 4  # the palette's or the codec's own error; a mixture would be 100 off


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("outscale", [1.5, 2.5, 0.7])
@pytest.mark.parametrize("value", [0, 1, 128, 254, 255])
def test_a_flat_area_has_its_value_in_every_pixel_of_a_resized_file(
    tmp_path: Path, value: int, outscale: float, channels: int, dtype: Any
) -> None:
    pixels = np.full((13, 17, channels), value, np.uint16) * 257
    height, width = int(13 * outscale), int(17 * outscale)
    depth = np.dtype(dtype).itemsize * 8
    path = tmp_path / "a.png"
    _write(path, shape_of(pixels, file_height=height, file_width=width, file_depth=depth), pixels)
    again = read_picture(path).pixels
    assert again.dtype == dtype
    assert again.shape[:2] == (height, width)
    assert (again == (value if depth == 8 else value * 257)).all()


def _write(path: Path, shape: PictureShape, pixels: np.ndarray, **options: Any) -> None:
    with PictureWriter(path, shape, **options) as out:
        out.write_rows(pixels)
        out.finish()


def test_a_profile_survives_resizing(tmp_path: Path) -> None:
    source = read_picture(save(tmp_path / "in.png", SMALL, blobs={"icc-profile-data": display_p3()}))
    _write(tmp_path / "a.png", shape_of(SMALL, file_height=80, file_width=60), SMALL, metadata=source.metadata)
    again = read_picture(tmp_path / "a.png")
    assert again.metadata.icc_profile == display_p3()
    assert np.abs(again.pixels.mean((0, 1)) - SMALL.mean((0, 1))).max() < 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_picture_is_the_same_file_every_time(tmp_path: Path, suffix: str) -> None:
    """So that an interrupted and resumed batch can be compared with an uninterrupted one."""
    made = set()
    for index in range(3):
        write_picture(Picture(SMALL), tmp_path / f"{index}{suffix}")
        made.add((tmp_path / f"{index}{suffix}").read_bytes())
    assert len(made) == 1


# --- arrays --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
def test_an_array_is_a_picture(tmp_path: Path, channels: int, dtype: Any) -> None:
    pixels = random_pixels(7, 9, channels or 1, dtype)
    given = pixels if channels else pixels[..., 0]
    for each in (given, given.astype(given.dtype.newbyteorder(">"))):
        write_picture(each, tmp_path / "a.png")
        again = read_picture(tmp_path / "a.png").pixels
        assert again.dtype == dtype
        assert np.array_equal(again.reshape(pixels.shape), pixels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_rounded_to_16_bits_where_the_format_holds_them_and_else_to_8(tmp_path: Path, dtype: Any) -> None:
    values = np.linspace(0, 1, 200).astype(dtype).reshape(10, 20)
    write_picture(values, tmp_path / "a.tif")
    again = read_picture(tmp_path / "a.tif").pixels
    assert again.dtype == np.uint16
    assert np.array_equal(again, np.rint(values.astype(np.float64) * 65_535))
    write_picture(values, tmp_path / "a.gif")
    again = read_picture(tmp_path / "a.gif").pixels
    assert again.dtype == np.uint8
    assert np.abs(again[..., 0].astype(int) - np.rint(values.astype(np.float64) * 255)).max() <= 2
    write_picture(np.ones((16, 16, 4), dtype) * np.array([0, 0, 0, 0.5], dtype), tmp_path / "a.jpg")
    assert np.abs(read_picture(tmp_path / "a.jpg").pixels.astype(int) - 128).max() <= 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((4, 4), np.int32), r"Expected uint8, uint16 or float in \[0, 1\], found an array of int32"),
        (np.zeros((4, 4), np.uint32), "uint32"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4), complex), "complex128"),
        (np.zeros((4, 4), object), "object"),
        (np.zeros(4, np.uint8), r"Expected an array of shape \(H, W\) .* found \(4,\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"found \(1, 4, 4, 3\)"),
        (np.zeros((4, 4, 5), np.uint8), r"found \(4, 4, 5\)"),
        (np.zeros((4, 0, 3), np.uint8), r"found \(4, 0, 3\)"),
        (np.full((4, 4), np.nan), "holds NaN or infinity"),
        (np.array([[0.0, np.inf]]), "holds NaN or infinity"),
        (np.array([[0.0, 255.0]]), "Expected float values from 0 to 1, found 0 to 255"),
        (np.array([[-0.1, 0.5]]), "found -0.1 to 0.5"),
        ([[1, 2]], "found list"),
        (Picture(np.zeros((4, 4), np.int16)), "an array of int16"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_picture_is_refused_with_what_it_is(tmp_path: Path, given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        write_picture(given, tmp_path / "a.png")
    assert str(caught.value).endswith(".")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_a_quality_outside_its_range_is_refused(tmp_path: Path, quality: int) -> None:
    with pytest.raises(UsageError, match=f"quality: expected 1 to 100, found {quality}"):
        write_picture(SMALL, tmp_path / "a.jpg", quality=quality)


# --- whole or not at all -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rows", [0, 1, 39, 40])
def test_a_dropped_picture_leaves_nothing(tmp_path: Path, suffix: str, rows: int) -> None:
    out = PictureWriter(tmp_path / f"a{suffix}", shape_of(SMALL))
    assert len(list(tmp_path.iterdir())) == 1
    out.write_rows(SMALL[:rows])
    out.discard()
    out.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_in_the_middle_leaves_nothing_new_and_what_was_there(
    tmp_path: Path, suffix: str, kind: type[BaseException]
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"earlier")
    with pytest.raises(kind), PictureWriter(path, shape_of(SMALL)) as out:  # noqa: PT012
        out.write_rows(SMALL[:10])
        raise kind
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"earlier"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_finished_picture_replaces_what_was_there_and_leaves_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"earlier")
    write_picture(Picture(SMALL), path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert read_picture(path).pixels.shape[:2] == (40, 30)


def test_the_file_is_under_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    with PictureWriter(tmp_path / "a.png", shape_of(SMALL)) as out:
        out.write_rows(SMALL)
        (part,) = tmp_path.iterdir()
        assert PART_MARK in part.name
        assert parse_owner(part.name) == (os.getpid(), identify_machine())
        out.finish()
        assert [each.name for each in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").exists()


def test_two_writers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    """Two threads may be told to write the same file: the last to finish wins, whole."""
    other = ramp(40, 30, seed=9)[::-1]
    first = PictureWriter(tmp_path / "a.png", shape_of(SMALL))
    second = PictureWriter(tmp_path / "a.png", shape_of(SMALL))
    assert len(list(tmp_path.iterdir())) == 2
    first.write_rows(SMALL)
    second.write_rows(other)
    first.finish()
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, SMALL)
    second.finish()
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, other)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_temporary_name_that_is_taken_is_never_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "choose_temporary_name", lambda path: path.with_name(f".taken{path.suffix}"))
    for suffix in (".png", ".ppm"):
        taken = tmp_path / f".taken{suffix}"
        taken.write_bytes(b"another's")
        with pytest.raises(PictureError, match="File exists"):
            PictureWriter(tmp_path / f"a{suffix}", shape_of(SMALL))
        assert taken.read_bytes() == b"another's"


def test_too_few_or_wrong_rows_are_a_programming_error(tmp_path: Path) -> None:
    with PictureWriter(tmp_path / "a.png", shape_of(SMALL)) as out:
        out.write_rows(SMALL[:10])
        with pytest.raises(ValueError, match="10 rows were written of 40"):
            out.finish()
        with pytest.raises(ValueError, match="expected"):
            out.write_rows(SMALL[:, :10])
        with pytest.raises(ValueError, match="expected"):
            out.write_rows(SMALL.astype(np.uint16))
        with pytest.raises(ValueError, match="too many"):
            out.write_rows(np.concatenate([SMALL, SMALL]))
    assert list(tmp_path.iterdir()) == []


# --- when writing fails --------------------------------------------------------------------------------------------


def test_a_folder_that_is_missing_or_no_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "a.png").mkdir()
    for path in (tmp_path / "missing" / "a.png", tmp_path / "file" / "a.png", tmp_path / "a.png"):
        for suffix in (".png", ".ppm"):
            target = path.with_suffix(suffix) if path != tmp_path / "a.png" else path
            with pytest.raises(PictureError) as caught:
                write_picture(Picture(SMALL), target)
            assert "cannot be written" in one_sentence(caught.value, target)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.png", "file"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("suffix", [".png", ".ppm"])
def test_a_folder_that_refuses_files_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, suffix: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(PictureError) as caught:
        write_picture(Picture(SMALL), tmp_path / f"a{suffix}")
    assert os.strerror(code) in one_sentence(caught.value, tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".ppm", ".jpg"])
def test_a_rename_that_fails_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(writer, "put_in_place", refuse)
    with pytest.raises(PictureError) as caught:
        write_picture(Picture(SMALL), tmp_path / f"a{suffix}")
    one_sentence(caught.value, tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tiny_disk: Path, suffix: str) -> None:
    noise = random_pixels(360, 360, 3, np.uint8)
    path = tiny_disk / f"a{suffix}"
    with pytest.raises(PictureError) as caught:
        write_picture(Picture(noise), path, quality=100)
    assert "disk is full" in one_sentence(caught.value, path) or "No space left" in str(caught.value)
    assert list(tiny_disk.iterdir()) == []
    write_picture(Picture(SMALL), path)
    assert read_picture(path).pixels.shape[:2] == (40, 30)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".gif"])
@pytest.mark.parametrize("portions", [1, 200])
def test_an_encoder_that_dies_early_never_hangs_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, portions: int
) -> None:
    def die(*_: object) -> None:
        raise vips().Error("unable to save\n  encoder: wbuffer_write: write failed\n")

    monkeypatch.setattr(PictureWriter, "_save", die)
    pixels = random_pixels(4000, 1000, 3, np.uint8)
    path = tmp_path / f"a{suffix}"
    with pytest.raises(PictureError) as caught:
        _write_in_portions(path, pixels, portions)
    assert "cannot be written" in one_sentence(caught.value, path)
    assert list(tmp_path.iterdir()) == []


def _write_in_portions(path: Path, pixels: np.ndarray, portions: int) -> None:
    with PictureWriter(path, shape_of(pixels)) as out:
        for part in np.array_split(pixels, portions):
            out.write_rows(part)
        out.finish()


def test_a_bug_in_the_encoder_is_carried_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(PictureWriter, "_save", stumble)
    with pytest.raises(ZeroDivisionError):
        write_picture(Picture(SMALL), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_no_known_format_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for name in ("a", "a.bmp", "a.heic", "a.png.", ".png"):
        with pytest.raises(PictureError, match="expected one of jpg, png"):
            write_picture(Picture(SMALL), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [("a.jpg", 65_501, 1), ("a.jpg", 1, 65_501), ("a.webp", 16_384, 1), ("a.avif", 1, 16_385), ("a.gif", 70_000, 2)],
)
def test_a_size_that_the_format_cannot_hold_is_refused_with_a_way_out(
    tmp_path: Path, name: str, height: int, width: int
) -> None:
    with pytest.raises(LimitError, match="write PNG or TIFF instead"):
        PictureWriter(tmp_path / name, PictureShape(height=height, width=width, channels=3, dtype=np.dtype(np.uint8)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", list_writable_formats(), ids=lambda form: form.name)
def test_the_longest_side_of_each_format_is_true(tmp_path: Path, form: Any) -> None:
    """What the table allows is written in fact."""
    longest = min(form.longest_side, 70_000)
    pixels = np.zeros((longest, 2, 1 if form.name == "PPM" else 3), np.uint8)
    path = tmp_path / f"a{form.extensions[0]}"
    form.check_size(path, *shape_of(pixels).size_in_file)
    _write(path, shape_of(pixels), pixels)
    assert read_picture(path).pixels.shape[:2] == (longest, 2)


def test_the_frames_of_a_webp_count_each_for_itself(tmp_path: Path) -> None:
    """The canvas of an animation is one frame; only the frame's own height is limited by the format."""
    form = find_format(Path("a.webp"))
    assert form is not None
    shape = PictureShape(height=20_000, width=10, channels=3, dtype=np.dtype(np.uint8), frames=200)
    form.check_size(tmp_path / "a.webp", *shape.size_in_file)
    _write(tmp_path / "a.webp", shape, random_pixels(20_000, 10, 3, np.uint8))
    with PictureReader(tmp_path / "a.webp", frames=True) as reader:
        assert (reader.info.height, reader.info.frames, reader.height) == (100, 200, 20_000)


def test_a_profile_that_png_refuses_is_applied_instead_of_failing_the_picture(tmp_path: Path) -> None:
    """libpng takes no profile of version 4 whose length is no multiple of 4."""
    odd = bytearray(display_p3() + b"\x00\x00")
    odd[:4], odd[8] = len(odd).to_bytes(4, "big"), 4
    metadata = Metadata(icc_profile=bytes(odd))
    assert must_convert_to_srgb(find_format(Path("a.png")), metadata, 3)  # type: ignore[arg-type]
    write_picture(Picture(SMALL, metadata), tmp_path / "a.png")
    again = read_picture(tmp_path / "a.png")
    assert again.metadata.icc_profile is None
    assert np.abs(again.pixels.astype(int) - SMALL).max() > 10
    write_picture(Picture(SMALL, metadata), tmp_path / "a.tif")
    assert read_picture(tmp_path / "a.tif").metadata.icc_profile == odd


@pytest.mark.parametrize("suffix", [".gif", ".ppm"])
def test_a_broken_profile_that_would_have_to_be_applied_is_one_sentence_with_a_way_out(
    tmp_path: Path, suffix: str
) -> None:
    broken = display_p3()[:-60] + b"\xff" * 60
    metadata = Metadata(icc_profile=broken)
    path = tmp_path / f"a{suffix}"
    with pytest.raises(PictureError, match=r"its ICC profile is damaged .* write PNG or TIFF") as caught:
        write_picture(Picture(SMALL, metadata), path)
    one_sentence(caught.value, path)
    assert list(tmp_path.iterdir()) == []


def test_leaving_the_profile_is_decided_by_the_format(tmp_path: Path) -> None:
    with_profile = read_picture(save(tmp_path / "a.png", SMALL, blobs={"icc-profile-data": display_p3()})).metadata
    decided = {
        (form.name, channels)
        for form in list_writable_formats()
        for channels in (1, 3)
        if must_convert_to_srgb(form, with_profile, channels)
    }
    assert decided == {("PPM", 1), ("PPM", 3), ("GIF", 1), ("GIF", 3), ("WebP", 1), ("AVIF", 1)}
    assert not any(must_convert_to_srgb(form, Metadata(), 3) for form in list_writable_formats())


@pytest.mark.timeout(60)
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks /proc for threads and files")
def test_many_pictures_leave_neither_threads_nor_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def counts() -> tuple[int, int]:
        return len(list(Path("/proc/self/task").iterdir())), len(list(Path("/proc/self/fd").iterdir()))

    def go(times: int) -> None:
        for index in range(times):
            path = tmp_path / f"a{SUFFIXES[index % len(SUFFIXES)]}"
            write_picture(Picture(SMALL), path)
            read_picture(path)
            with PictureWriter(path, shape_of(SMALL)) as out:
                out.write_rows(SMALL[:5])
            bad = tmp_path / "bad.png"
            bad.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00" * 99)
            with pytest.raises(PictureError):
                read_picture(bad)

    go(14)
    threads, files = counts()
    go(42)
    assert counts()[0] <= threads + 6
    assert counts()[1] <= files + 1


def test_a_killed_writer_leaves_no_file_under_the_name(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib, numpy as np\n"
        "from tessera.images.frames import PictureShape\n"
        "from tessera.images.writer import PictureWriter\n"
        "shape = PictureShape(height=900, width=900, channels=3, dtype=np.dtype(np.uint8))\n"
        "out = PictureWriter(pathlib.Path(sys.argv[1]), shape)\n"
        "out.write_rows(np.zeros((890, 900, 3), np.uint8))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=False)
    assert result.returncode == -9
    assert not (tmp_path / "a.png").exists()
    assert all(PART_MARK in each.name for each in tmp_path.iterdir())


def test_an_interpreter_that_ends_with_an_open_writer_does_not_hang(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, numpy as np\n"
        "from tessera.images.frames import PictureShape\n"
        "from tessera.images.writer import PictureWriter\n"
        "shape = PictureShape(height=900, width=900, channels=3, dtype=np.dtype(np.uint8))\n"
        "out = PictureWriter(pathlib.Path(sys.argv[1]), shape)\n"
        "out.write_rows(np.zeros((8, 900, 3), np.uint8))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=False, timeout=30)


def test_a_pam_with_alpha_says_what_it_is(tmp_path: Path) -> None:
    write_picture(Picture(ramp(3, 4, 4)), tmp_path / "a.pam")
    assert b"TUPLTYPE RGB_ALPHA" in (tmp_path / "a.pam").read_bytes()
    assert netpbm.read_header(tmp_path / "a.pam").channels == 4


def test_gray_goes_through_an_rgb_working_profile_only_where_it_must(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    vips_image(ramp(8, 8, 1)).pngsave(str(path))
    picture = read_picture(path)
    for suffix in (".gif", ".ppm"):
        write_picture(picture, tmp_path / f"a{suffix}")
        again = read_picture(tmp_path / f"a{suffix}").pixels
        assert np.abs(again.reshape(8, 8, -1)[..., 0].astype(int) - picture.pixels).max() <= 2
