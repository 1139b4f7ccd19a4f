"""Memory follows the rows that are handled, not the size of the picture: counted with tracemalloc, not timed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tessera.errors import LimitError
from tessera.images.frames import FrameResizer, PictureShape
from tessera.images.picture_format import Limits
from tessera.images.pixels import Pixels
from tessera.images.png_stream import PngStream
from tessera.images.reader import PictureReader
from tessera.images.resample import resample_array
from tessera.images.writer import write_picture
from tessera.tiling.settings import OutScale, Settings
from tessera.upscaling.filejob import FileJob
from tessera.upscaling.source import Source

MIB = 2**20


def peak_bytes(run: Callable[[], None]) -> int:
    """The most bytes that Python and NumPy held at once during a call, beyond what they held before."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_rows_that_become_thousands_are_never_held_at_once(channels: int) -> None:
    """100 MB of output from 32 rows, as with a factor of 256 on one band of tiles."""
    side = 10_240 // channels
    shape = PictureShape(
        height=32, width=32, channels=channels, dtype=np.dtype(np.uint8), file_height=10_240, file_width=side
    )
    rows = np.random.default_rng(0).integers(0, 256, (32, 32, channels), np.uint8)
    written = 0

    def run() -> None:
        nonlocal written
        for part in FrameResizer(shape).convert(rows):
            assert part.shape[1:] == (side, channels)
            written += len(part)

    assert peak_bytes(run) < 75 * MIB
    assert written == 10_240


def test_the_pieces_of_a_stream_add_up_to_the_whole() -> None:
    """The result does not depend on how many rows arrive, or leave, at a time."""
    pixels = np.random.default_rng(0).integers(0, 256, (13, 9, 4), np.uint8)
    whole = resample_array(pixels, (1301, 77))
    shape = PictureShape(height=13, width=9, channels=4, dtype=pixels.dtype, file_height=1301, file_width=77)
    resizer = FrameResizer(shape)
    parts = [part for row in pixels for part in resizer.convert(row[None])]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_row_of_many_megabytes_is_encoded_in_pieces(dtype: type[np.unsignedinteger]) -> None:
    rows = np.zeros((2, 6_000_000, 3), dtype)
    stream = PngStream(height=2, width=6_000_000, channels=3, dtype=np.dtype(dtype))
    total = 0

    def run() -> None:
        nonlocal total
        for piece in stream.encode(rows):
            assert len(piece) < 2 * MIB
            total += len(piece)

    assert peak_bytes(run) < 16 * MIB
    assert total + len(stream.finish()) >= rows.nbytes


def test_a_wide_row_arrives_in_the_file_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 65_536, (2, 400_001, 3)).astype(np.uint16)
    write_picture(pixels, tmp_path / "a.png")
    with PictureReader(tmp_path / "a.png") as reader:
        assert np.array_equal(np.concatenate(list(reader.read_all())), pixels)


def test_a_wide_picture_is_read_by_bytes_not_by_rows(tmp_path: Path) -> None:
    pixels = np.zeros((64, 1_000_000), np.uint8)
    write_picture(pixels, tmp_path / "a.png")
    largest = 0
    with PictureReader(tmp_path / "a.png") as reader:
        for rows in reader.read_all():
            largest = max(largest, rows.nbytes)
    assert largest <= 8 * MIB


def test_a_picture_that_is_refused_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(np.zeros((30, 40, 4), np.uint8), tmp_path / "a.png")

    def read_rows(self: PictureReader, first: int, count: int) -> Pixels:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(PictureReader, "read_rows", read_rows)
    settings = Settings(outscale=OutScale.parse("x3000"), limits=Limits(max_output_pixels=1_000_000))
    with Source(tmp_path / "a.png", settings) as source, pytest.raises(LimitError, match="the limit is"):
        FileJob(source, tmp_path / "b.png", settings, 4).check()
