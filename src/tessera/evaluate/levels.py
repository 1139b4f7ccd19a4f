"""Rows of a picture as numbers to measure: RGB in levels of 255, whatever the file holds.

Shapes: h rows at a time, W width; tensors are (3, h, W) float64, or (1, h, W) when a metric looks at one channel.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tessera.evaluate.protocol import Channels, NiqeGray
from tessera.images.color import luma_jpeg, luma_matlab
from tessera.images.picture_format import Limits
from tessera.images.reader import PictureReader

_MOST_ROWS, _FEWEST_ROWS = 256, 16
_PIXELS_AT_A_TIME = 2**19


def count_rows_at_a_time(width: int) -> int:
    """How many rows to read at a time, so that what is in memory does not grow with the width either.

    >>> count_rows_at_a_time(2000), count_rows_at_a_time(10_000)
    (256, 52)
    """
    return max(_FEWEST_ROWS, min(_MOST_ROWS, _PIXELS_AT_A_TIME // width))


class Levels:
    """A picture file read from the top down as RGB in levels of 255; a context manager.

    Gray becomes three equal channels, alpha is left out, 16 bits keep their fractions of a level. Raises PictureError.
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

    def read_rows(self, first: int, count: int) -> Tensor:
        """Rows `first` to `first + count` -> (3, count, W), each once and in order."""
        pixels = self._reader.read_rows(first, count)
        return as_levels(pixels)


def as_levels(pixels: np.ndarray) -> Tensor:
    """(h, W, C) uint8 or uint16 -> (3, h, W) float64 in levels of 255; alpha is left out."""
    if pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]
    values = torch.from_numpy(pixels.astype(np.float64)).permute(2, 0, 1)
    if pixels.dtype == np.uint16:
        values = values / 257
    return values.expand(3, -1, -1) if values.shape[0] == 1 else values


def select_channels(levels: Tensor, channels: Channels) -> Tensor:
    """(3, h, W) in levels -> what PSNR and SSIM look at, (3, h, W) or (1, h, W)."""
    if channels == "rgb":
        return levels
    return luma_matlab(levels / 255) if channels == "y" else luma_jpeg(levels)


def convert_to_gray(levels: Tensor, gray: NiqeGray) -> Tensor:
    """(3, h, W) in levels -> (h, W) in whole levels, by one of the three conversions in use."""
    if gray == "y":
        return luma_matlab(levels / 255)[0].round()
    if gray == "gray":
        return luma_jpeg(levels)[0].round()
    red, green, blue = levels.round().long()
    return ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16).double()
