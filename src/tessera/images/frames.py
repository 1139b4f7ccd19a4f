"""Rows as a writer receives them and as its file stores them: frames, size, depth, resampling in between.

Shapes: h rows at a time, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tessera.images.pixels import Pixels, convert_depth
from tessera.images.resample import Resampler


@dataclass(frozen=True, kw_only=True)
class PictureShape:
    """The rows that a writer receives, and the size that its file gets."""

    height: int
    width: int
    channels: int
    dtype: np.dtype[np.unsignedinteger]
    frames: int = 1
    """`height` counts the rows of all frames."""
    file_height: int | None = None
    file_width: int | None = None
    """Size of one frame in the file if it differs from that of the rows (Lanczos in between, frame by frame)."""
    file_depth: int | None = None
    wrapped_rows: int = 0
    """For a texture that repeats: rows of the opposite end before and after those of each frame, for resampling."""

    @property
    def frame_height(self) -> int:
        """Rows of one frame, without wrapped ones."""
        return self.height // self.frames

    @property
    def total_rows(self) -> int:
        """Rows that the writer receives, with wrapped ones."""
        return self.height + 2 * self.wrapped_rows * self.frames

    @property
    def size_in_file(self) -> tuple[int, int]:
        """(H, W) of one frame in the file."""
        return self.file_height or self.frame_height, self.file_width or self.width

    @property
    def dtype_in_file(self) -> np.dtype[np.unsignedinteger]:
        """Type of the pixels in the file."""
        return np.dtype(np.uint16 if (self.file_depth or self.dtype.itemsize * 8) == 16 else np.uint8)

    @property
    def is_resized(self) -> bool:
        """Whether rows are resampled."""
        return self.size_in_file != (self.frame_height, self.width)


class FrameResizer:
    """Converts rows to the size and depth of the file, each frame by itself so that none bleeds into the next."""

    def __init__(self, shape: PictureShape) -> None:
        self._shape = shape
        self._rows_taken = 0
        self._resampler: Resampler | None = None

    def convert(self, rows: Pixels) -> Iterator[Pixels]:
        """Take the next rows (h, W, C) -> the rows of the file that are finished by them.

        Raises ValueError for rows of another shape, and for too many.
        """
        shape = self._shape
        if rows.shape[1:] != (shape.width, shape.channels) or rows.dtype != shape.dtype:
            raise ValueError(f"rows are {rows.shape} {rows.dtype}, expected (h, {shape.width}, {shape.channels})")
        if self._rows_taken + len(rows) > shape.total_rows:
            raise ValueError(f"too many rows: {self._rows_taken + len(rows)} of {shape.total_rows}")
        if not shape.is_resized:
            self._rows_taken += len(rows)
            yield convert_depth(rows, shape.dtype_in_file)
            return
        frame_rows = shape.frame_height + 2 * shape.wrapped_rows
        while len(rows):
            row = self._rows_taken % frame_rows
            if row == 0 or self._resampler is None:
                self._resampler = Resampler(
                    size=(shape.frame_height, shape.width),
                    target=shape.size_in_file,
                    channels=shape.channels,
                    dtype=shape.dtype_in_file,
                    wrapped_rows=shape.wrapped_rows,
                )
            here = rows[: frame_rows - row]
            rows = rows[len(here) :]
            self._rows_taken += len(here)
            yield from self._resampler.stream(here)

    def check_complete(self) -> None:
        """Raise ValueError if rows are missing."""
        if self._rows_taken != self._shape.total_rows:
            raise ValueError(f"{self._rows_taken} rows were written of {self._shape.total_rows}")
