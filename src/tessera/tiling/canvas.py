"""Buffer for the finished tiles of one band until the band is complete: in memory, or on disk if the band is large.

A band of a picture 32,000 pixels wide is 100 MB. It is written tile by tile to an unnamed temporary file and read back
a few rows at a time, so memory does not grow with the width. Shapes: H rows of the band, W its width, C channels.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from tessera.errors import PictureError
from tessera.images.pixels import Pixels, choose_row_count

LARGEST_IN_MEMORY_BYTES = 24 * 2**20


class Canvas:
    """A buffer of (H, W, C) pixels that is written in blocks and read in rows; a context manager.

    `folder` is for the temporary file of a canvas too large for memory; None keeps any canvas in memory.
    Raises PictureError if the disk is full.
    """

    def __init__(
        self, height: int, width: int, channels: int, dtype: np.dtype[np.unsignedinteger], *, folder: Path | None
    ) -> None:
        self._shape = (height, width, channels)
        self._dtype = dtype
        self._pixel_bytes = channels * dtype.itemsize
        self._folder = folder
        self._file: BinaryIO | None = None
        self._pixels: Pixels | None = None
        if folder is not None and height * width * self._pixel_bytes > LARGEST_IN_MEMORY_BYTES:
            try:
                self._file = tempfile.TemporaryFile(dir=folder, prefix=".tessera-")  # noqa: SIM115
            except OSError as error:
                raise self._make_error(error) from None
        else:
            self._pixels = np.empty(self._shape, dtype)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pixels = None
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def put(self, left: int, block: Pixels) -> None:
        """Write a block (H, w, C) whose first column is `left`."""
        if self._pixels is not None:
            self._pixels[:, left : left + block.shape[1]] = block
            return
        assert self._file is not None
        row_bytes = self._shape[1] * self._pixel_bytes
        try:
            for index, row in enumerate(np.ascontiguousarray(block)):
                self._file.seek(index * row_bytes + left * self._pixel_bytes)
                self._file.write(row.data)
        except OSError as error:
            raise self._make_error(error) from None

    def rows(self, height: int, width: int) -> Iterator[Pixels]:
        """The first `height` rows and `width` columns, as (h, width, C) from the top down."""
        if self._pixels is not None:
            yield self._pixels[:height, :width]
            return
        assert self._file is not None
        row_bytes = self._shape[1] * self._pixel_bytes
        try:
            self._file.seek(0)
        except OSError as error:  # buffered writes did not fit on the disk
            raise self._make_error(error) from None
        step = choose_row_count(row_bytes)
        for first in range(0, height, step):
            count = min(step, height - first)
            data = self._file.read(count * row_bytes)
            yield np.frombuffer(data, self._dtype).reshape(count, *self._shape[1:])[:, :width]

    def _make_error(self, error: OSError) -> PictureError:
        return PictureError(
            f"{self._folder}: cannot store temporary rows ({error.strerror}). Free disk space or choose another folder."
        )
