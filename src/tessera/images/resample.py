"""Resampling of pixels row by row: Lanczos with three lobes, in NumPy, rounded once.

The weights are those of `resize.resize(kernel="lanczos3")`: antialiased when shrinking, edges mirrored. (libvips could
resample rows too, but it upscales with a bicubic kernel whatever kernel is set, and darkens 16-bit pixels when it
shrinks them: 8.18, measured.)

Shapes: h rows at a time, H height, W width, C channels (1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha).
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.images.filters import Band, Kernel, compute_bands, count_border_pixels
from tessera.images.pixels import Pixels, choose_row_count

_FAINT = np.float32(1e-9)
"""Weight of colors under fully transparent pixels, so small that they count only among themselves."""

Floats = npt.NDArray[np.floating]


def count_border_rows(length: int, target: int) -> int:
    """Count the rows past each end that resampling from `length` to `target` rows depends on."""
    return count_border_pixels(target / length, "lanczos3")


def resample_array(
    pixels: Pixels, size: tuple[int, int], dtype: np.dtype[np.unsignedinteger] | None = None, *, wraps: bool = False
) -> Pixels:
    """Resample pixels (H, W, C) -> (*size, C) with Lanczos, in uint8 or uint16 (`dtype`, or that of the pixels).

    Flat areas keep their exact value, at the borders too; 16 bits that become 8 are rounded once. `wraps` is for
    textures that repeat.
    """
    height, width, channels = pixels.shape
    beyond = count_border_rows(height, size[0]) if wraps else 0
    resampler = Resampler(
        size=(height, width), target=size, channels=channels, dtype=dtype or pixels.dtype, wrapped_rows=beyond
    )
    if wraps:
        pixels = pixels[np.arange(-beyond, height + beyond) % height]
        height += 2 * beyond
    step = max(1, 2**20 // (width * channels))
    return np.concatenate([resampler.take(pixels[first : first + step]) for first in range(0, height, step)])


def upsample_planes(planes: npt.NDArray[np.float32], scale: int) -> npt.NDArray[np.float32]:
    """Upsample as `resize.resize(kernel="lanczos3")`: (C, H, W) float -> (C, s*H, s*W), not clipped."""
    _, height, width = planes.shape
    planes = np.concatenate(
        [
            np.matmul(band.matrix.astype(np.float32), planes[:, band.start : band.stop])
            for band in compute_bands(height, height * scale, scale, "lanczos3")
        ],
        axis=1,
    )
    return np.concatenate(
        [
            np.matmul(planes[:, :, band.start : band.stop], band.matrix.astype(np.float32).T)
            for band in compute_bands(width, width * scale, scale, "lanczos3")
        ],
        axis=2,
    )


class Resampler:
    """Resamples one picture from `size` (H, W) to `target` (H, W): takes rows from the top down, returns finished rows.

    Colors are resampled premultiplied, so that colors under transparent pixels do not show. At an edge of alpha,
    Lanczos' negative lobes can leave almost no alpha, and dividing by it would invent colors: the lower a pixel's alpha
    against that of its neighbors, the more it takes their average visible color, which is always within their range.

    Args:
        size: (H, W) of the picture.
        target: (H, W) of the result.
        channels: 1 to 4; the last of 2 and 4 is alpha.
        dtype: Type of the result, uint8 or uint16.
        wrapped_rows: For textures that repeat: number of rows of the opposite end before the first and after the last
            row; the sides are wrapped too.
        kernel: Resampling kernel.
        exact: Work in float64, for inputs that must equal MATLAB's.
    """

    def __init__(
        self,
        *,
        size: tuple[int, int],
        target: tuple[int, int],
        channels: int,
        dtype: np.dtype[np.unsignedinteger],
        wrapped_rows: int = 0,
        kernel: Kernel = "lanczos3",
        exact: bool = False,
    ) -> None:
        self._alpha = channels in (2, 4)
        self._dtype = dtype
        self._floats = np.dtype(np.float64 if exact else np.float32)
        vertical, horizontal = (target[axis] / size[axis] for axis in (0, 1))
        down = compute_bands(size[0], target[0], vertical, kernel, margin=wrapped_rows)
        across = compute_bands(size[1], target[1], horizontal, kernel, edges="wrap" if wrapped_rows else "mirror")
        self._sharp = RowResizer(down, across, self._floats)
        if self._alpha:
            self._soft = RowResizer([*map(_keep_main_lobe, down)], [*map(_keep_main_lobe, across)], self._floats)
        self._width, self._channels = target[1], channels

    def take(self, rows: Pixels) -> Pixels:
        """Take the next rows (h, W, C) -> the rows of the result that are finished by them, if any."""
        parts = list(self.stream(rows))
        return np.concatenate(parts) if parts else np.empty((0, self._width, self._channels), self._dtype)

    def stream(self, rows: Pixels) -> Iterator[Pixels]:
        """Take the next rows (h, W, C) -> the rows of the result that are finished by them, a few at a time."""
        step = choose_row_count(rows.shape[1] * self._channels * self._floats.itemsize)
        for first in range(0, len(rows), step):
            yield from self._stream_few(rows[first : first + step])

    def _stream_few(self, rows: Pixels) -> Iterator[Pixels]:
        values = rows.transpose(2, 0, 1).astype(self._floats) / self._floats.type(np.iinfo(rows.dtype).max)
        if not self._alpha:
            yield from map(self._quantize, self._sharp.stream(values))
            return
        color, alpha = values[:-1], values[-1:]
        weight = alpha + _FAINT
        step = choose_row_count(self._width * (self._channels + 1) * self._floats.itemsize)
        sharp = self._sharp.stream(np.concatenate((color * alpha, alpha)), step)
        soft = self._soft.stream(np.concatenate((color * weight, weight, weight * weight)), step)
        for premultiplied, smooth in zip(sharp, soft, strict=True):
            yield self._quantize(_divide_by_alpha(premultiplied, smooth))

    def _quantize(self, values: npt.NDArray[np.floating]) -> Pixels:
        full = self._floats.type(65_535 if self._dtype.itemsize == 2 else 255)
        return np.rint(np.clip(values, 0, 1) * full).astype(self._dtype).transpose(1, 2, 0)


def _divide_by_alpha(sharp: Floats, soft: Floats) -> Floats:
    """Premultiplied colors and alpha (C, h, W), with their smooth versions and that of alpha squared -> straight."""
    kept, around, squares = sharp[-1:], soft[-2:-1], soft[-1:]
    # 1 where alpha is equal all around; the visible share where it is 0 or full
    even = around * around / squares
    trust = np.clip(np.minimum(kept / around, even), 0, 1)
    exact = np.clip(sharp[:-1] / np.maximum(kept, _FAINT), 0, 1)
    color = soft[:-2] / around
    color += trust * (exact - color)
    return np.concatenate((color, kept))


class RowResizer:
    """Resamples a picture whose rows arrive one after another, holding the few that are still needed.

    `down` and `across` are weights of `filters.compute_bands`; `between` is applied after the vertical pass and before
    the horizontal one. The result does not depend on how many rows arrive at a time.
    """

    def __init__(
        self,
        down: Sequence[Band],
        across: Sequence[Band],
        dtype: npt.DTypeLike,
        *,
        between: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None,
    ) -> None:
        self._between = between
        self._waiting = collections.deque(_convert_band(band, dtype) for band in down)
        self._across = [_convert_band(band, dtype) for band in across]
        # The first row that this band and those after it depend on, and the last of this and those before it.
        starts = np.minimum.accumulate([band.start for band in reversed(down)])[::-1]
        self._needed = collections.deque(int(start) for start in starts)
        self._until = collections.deque(int(stop) for stop in np.maximum.accumulate([band.stop for band in down]))
        self._held: npt.NDArray[Any] | None = None
        self._first = 0

    def take(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Take the next rows (C, h, W) -> the rows of the result that are finished by them, (C, *, out W), if any."""
        ready = list(self.stream(rows))
        return np.concatenate(ready, axis=1) if ready else np.empty((len(rows), 0, self._across[-1].last), rows.dtype)

    def stream(self, rows: npt.NDArray[Any], most: int | None = None) -> Iterator[npt.NDArray[Any]]:
        """Take the next rows (C, h, W) -> the rows of the result that are finished by them, (C, few, out W) each.

        Few are those of a band of weights, at most `most` (None: as many as fit in a few MiB). Where one input row
        becomes a thousand, they are never held at once.
        """
        self._held = held = rows if self._held is None else np.concatenate((self._held, rows), axis=1)
        step = most or choose_row_count(len(rows) * self._across[-1].last * rows.itemsize)
        while self._waiting and self._first + held.shape[1] >= self._until[0]:
            band = self._waiting.popleft()
            self._until.popleft()
            self._needed.popleft()
            seen = held[:, band.start - self._first : band.stop - self._first]
            for first in range(0, len(band.matrix), step):
                down = np.matmul(band.matrix[first : first + step], seen)
                down = down if self._between is None else self._between(down)
                yield np.concatenate([down[..., b.start : b.stop] @ b.matrix.T for b in self._across], axis=2)
        needed = self._needed[0] if self._needed else self._first + held.shape[1]
        skipped = max(0, needed - self._first)
        self._held = held[:, skipped:].copy()
        self._first += skipped


def _convert_band(band: Band, dtype: npt.DTypeLike) -> Band:
    return dataclasses.replace(band, matrix=np.asarray(band.matrix, dtype))


def _keep_main_lobe(band: Band) -> Band:
    """Keep only the main lobe, whose results are always within the range of the input."""
    matrix = np.maximum(band.matrix, 0)
    return dataclasses.replace(band, matrix=matrix / matrix.sum(axis=1, keepdims=True))
