"""Rows of a picture for metrics: RGB in levels of 255, from any pixel format.

Shapes: h rows at a time, W width; rows are (3, h, W) float64, or (1, h, W) for metrics of one channel.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from tessera.evaluate.protocol import Channels, NiqeGray
from tessera.images.color import luma_jpeg, luma_matlab
from tessera.images.picture_format import Limits
from tessera.images.reader import PictureReader

Floats = npt.NDArray[np.float64]

_MOST_ROWS, _FEWEST_ROWS = 256, 16
_PIXELS_AT_A_TIME = 2**19


def count_rows_at_a_time(width: int) -> int:
    """The number of rows to read at a time, which bounds the memory for any width.

    >>> count_rows_at_a_time(2000), count_rows_at_a_time(10_000)
    (256, 52)
    """
    return max(_FEWEST_ROWS, min(_MOST_ROWS, _PIXELS_AT_A_TIME // width))


class Levels:
    """A picture file read from the top down as RGB in levels of 255; a context manager.

    Gray becomes three equal channels, alpha is dropped, 16 bits keep their fractions of a level. Raises PictureError.
    """

    def __init__(self, path: Path, *, limits: Limits | None = None) -> None:
        self._reader = PictureReader(path, limits=limits or Limits(max_pixels=None))
        self.path = path
        self.height, self.width = self._reader.info.height, self._reader.info.width
        self.is_gray = self._reader.info.channels < 3

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def read_rows(self, first: int, count: int) -> Floats:
        """Read rows `first` to `first + count` -> (3, count, W), each once and in order."""
        pixels = self._reader.read_rows(first, count)
        return to_levels(pixels)


def to_levels(pixels: np.ndarray) -> Floats:
    """(h, W, C) uint8 or uint16 -> (3, h, W) float64 in levels of 255; alpha is dropped."""
    if pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]
    values = np.ascontiguousarray(np.moveaxis(pixels, 2, 0), np.float64)
    if pixels.dtype == np.uint16:
        values = values / 257
    return np.broadcast_to(values, (3, *values.shape[1:])) if values.shape[0] == 1 else values


def select_channels(levels: Floats, channels: Channels) -> Floats:
    """Select the channels of PSNR and SSIM: (3, h, W) in levels -> (3, h, W) or (1, h, W)."""
    if channels == "rgb":
        return levels
    return luma_matlab(levels / 255) if channels == "y" else luma_jpeg(levels)


def convert_to_gray(levels: Floats, gray: NiqeGray) -> Floats:
    """Convert (3, h, W) in levels to gray, (h, W) in integer levels, by one of the three conversions in use."""
    if gray == "y":
        return luma_matlab(levels / 255)[0].round()
    if gray == "gray":
        return luma_jpeg(levels)[0].round()
    red, green, blue = levels.round().astype(np.int64)
    return ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16).astype(np.float64)
