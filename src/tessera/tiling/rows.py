"""Row sources that feed the network: from a file or an array, wrapped, with colors bled under alpha.

Rows are read in order, and only a few are held. Shapes: H height, W width, C channels; pixels are uint8 or uint16.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tessera.images.color import luma_jpeg
from tessera.images.pixels import Pixels

_BLEED_STEPS = (1, 2, 3, 6, 12)
BLEED_RADIUS = sum(_BLEED_STEPS) + 1
_FAINT = 32 / 255
"""Below this alpha, a pixel's color fades to that of its neighbors, because it is often a dark matte."""


class RowSource(Protocol):
    """A source whose rows can be read once each, from the top down."""

    @property
    def height(self) -> int:
        """Total number of rows."""
        ...

    @property
    def width(self) -> int:
        """Pixels in a row."""
        ...

    def read_rows(self, first: int, count: int) -> Pixels:
        """Rows `first` to `first + count` -> (count, W, C)."""
        ...


class ArrayRows:
    """The rows of an array (H, W, C)."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self.height, self.width = pixels.shape[:2]

    def read_rows(self, first: int, count: int) -> Pixels:
        """Rows `first` to `first + count` -> (count, W, C)."""
        return self._pixels[first : first + count]


class FrameRows:
    """One frame of an animation whose frames lie one below the other in the source."""

    def __init__(self, source: RowSource, height: int, index: int) -> None:
        self._source = source
        self._offset = height * index
        self.height, self.width = height, source.width

    def read_rows(self, first: int, count: int) -> Pixels:
        """Rows `first` to `first + count` of the frame -> (count, W, C)."""
        return self._source.read_rows(self._offset + first, count)


class WrappedRows:
    """A tileable texture, padded with `margin` pixels of the opposite side. Needs a source with random access."""

    def __init__(self, source: RowSource, margin: int) -> None:
        self._source = source
        self._margin = margin
        self.height, self.width = source.height + 2 * margin, source.width + 2 * margin

    def read_rows(self, first: int, count: int) -> Pixels:
        """Rows `first` to `first + count` of the padded picture -> (count, W, C)."""
        parts: list[Pixels] = []
        row = (first - self._margin) % self._source.height
        while count:
            here = min(count, self._source.height - row)
            parts.append(self._source.read_rows(row, here))
            count -= here
            row = 0
        columns = np.arange(-self._margin, self._source.width + self._margin) % self._source.width
        return np.concatenate(parts)[:, columns]


class GrayRows:
    """The rows of a picture stored as RGB that holds no color, as one channel of luma: (h, W, 3 or 4) -> 1 or 2."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self.height, self.width = source.height, source.width

    def read_rows(self, first: int, count: int) -> Pixels:
        """Rows `first` to `first + count` -> (count, W, 1 or 2)."""
        rows = self._source.read_rows(first, count)
        luma = luma_jpeg(np.moveaxis(rows[..., :3], -1, 0).astype(np.float32))
        gray = np.rint(np.moveaxis(luma, 0, -1)).astype(rows.dtype)
        return np.concatenate((gray, rows[..., 3:]), axis=-1)


def repeat_gray(rows: Pixels) -> Pixels:
    """Gray rows as RGB: (h, W, 1 or 2) -> (h, W, 3 or 4)."""
    return np.concatenate((rows[..., :1], rows[..., :1], rows), axis=-1)


class RollingRows:
    """A downward-moving window on a source: each row is read once and released when the window has passed."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self._first = 0
        self._held: Pixels | None = None

    def window(self, first: int, last: int) -> Pixels:
        """Rows `first` to `last` (exclusive), clipped to the picture; `first` never decreases between calls."""
        first, last = max(0, first), min(last, self._source.height)
        held_until = self._first + (0 if self._held is None else len(self._held))
        parts: list[Pixels] = []
        if self._held is not None and first < held_until:
            parts.append(self._held[first - self._first :])
        begin = max(first, held_until)
        if held_until < begin:
            self._source.read_rows(held_until, begin - held_until)
        if begin < last:
            parts.append(self._source.read_rows(begin, last - begin))
        self._held = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._first = first
        return self._held[: last - first]


class BledRows:
    """The rows of a picture with alpha, where (nearly) transparent pixels take the color of visible pixels nearby.

    This hides the black or white that is usually stored there from the network and the resampler, and avoids fringes.
    Alpha is unchanged, and so are colors further than BLEED_RADIUS from any visible pixel.
    """

    def __init__(self, source: RowSource) -> None:
        self._rolling = RollingRows(source)
        self.height, self.width = source.height, source.width

    def read_rows(self, first: int, count: int) -> Pixels:
        """Rows `first` to `first + count` -> (count, W, 2 or 4)."""
        top = max(0, first - BLEED_RADIUS)
        around = self._rolling.window(top, first + count + BLEED_RADIUS)
        return bleed_colors(around)[first - top : first - top + count]


def bleed_colors(pixels: Pixels) -> Pixels:
    """Spread colors under transparent and nearly transparent pixels: (H, W, 2 or 4) -> the same shape.

    Faint pixels (alpha below 32 of 255) fade to the mean of their 3x3 neighborhood, weighted by alpha; fully
    transparent ones are filled from within BLEED_RADIUS.
    """
    full = np.iinfo(pixels.dtype).max
    least, greatest = pixels[..., -1].min(initial=full), pixels[..., -1].max(initial=0)
    if least >= _FAINT * full or not greatest:
        return pixels
    weight = pixels[..., -1].astype(np.float32) / np.float32(full)
    color = pixels[..., :-1].astype(np.float32)
    faint = (weight > 0) & (weight < _FAINT)
    if faint.any():
        near_weight = _box_sum(weight[..., None], 1)[..., 0][faint]
        near_color = _box_sum(color * weight[..., None], 1)[faint] / near_weight[:, None]
        own = (weight[faint] / np.float32(_FAINT))[:, None] ** 2
        color[faint] = near_color + own * (color[faint] - near_color)
    changed = faint
    spread_color, spread_weight = color * weight[..., None], weight.copy()
    for radius in _BLEED_STEPS:
        empty = spread_weight == 0
        if not empty.any():
            break
        near_weight = _box_sum(spread_weight[..., None], radius)[..., 0]
        near_color = _box_sum(spread_color, radius)
        filled = empty & (near_weight > 1e-6)
        spread_color[filled] = color[filled] = near_color[filled] / near_weight[filled][:, None]
        spread_weight[filled] = 1
        changed = changed | filled
    result = pixels.copy()
    result[changed, :-1] = np.rint(color[changed]).astype(pixels.dtype)
    return result


def _box_sum(values: np.ndarray, radius: int) -> np.ndarray:
    """Sum over the square of this radius -> same shape (H, W, C), zero outside."""
    for axis in (0, 1):
        pad = [(0, 0)] * 3
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(values, pad), axis=axis, dtype=np.float64)
        ahead = np.take(total, range(2 * radius + 1, total.shape[axis]), axis=axis)
        behind = np.take(total, range(total.shape[axis] - 2 * radius - 1), axis=axis)
        values = (ahead - behind).astype(np.float32)
    return values
