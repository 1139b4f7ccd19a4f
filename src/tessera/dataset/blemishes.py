"""Defects of ground-truth pictures: missing fine detail, JPEG blocks, blank pictures.

Pictures arrive as luma from 0 to 255 in strips from the top down, so memory stays bounded. The limits were measured on
the photographs of CLIC, GB82 and Debian: unchanged, upscaled by bicubic, and as JPEG.

Shapes: h rows of a strip, W width.
"""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import numpy.typing as npt

Luma = npt.NDArray[np.float32]

STRIP = 256
"""Rows of all strips but the last."""
_BLOCKS = 6
_SMALLEST_BLOCK = 64
_BINS = 32
_FLOOR_DB = -6.0
"""Power (levels squared, in dB) slightly above that of rounding to 8 bits, -10.8."""
_LEAST_TEXTURE_DB = 8.0
_ENLARGED_UP_TO = 0.42
_STEEP_DB, _STEEP_FROM_MIDDLE_DB = 36.0, 19.0
BLOCKY_FROM = 0.35
_BLANK_LEVELS = 6


class DetailMeter:
    """Mean spectrum of the most textured blocks of a picture."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, int, Luma]] = []
        self._order = itertools.count()

    def take(self, luma: Luma) -> None:
        """Add the next strip, (h, W)."""
        side = min(STRIP, *luma.shape) // 8 * 8
        if side < _SMALLEST_BLOCK or (self._kept and side != self._kept[0][2].shape[0]):
            return
        for left in range(0, luma.shape[1] - side + 1, side):
            block = luma[:side, left : left + side]
            texture = float(np.abs(np.diff(block, axis=0)).mean() + np.abs(np.diff(block, axis=1)).mean())
            if len(self._kept) < _BLOCKS or texture > self._kept[0][0]:
                heapq.heappush(self._kept, (texture, next(self._order), block.copy()))
                if len(self._kept) > _BLOCKS:
                    heapq.heappop(self._kept)

    @property
    def finest(self) -> float | None:
        """Highest frequency with detail, as a fraction of the highest possible, in (0, 1]; None if all or unknown.

        A picture upscaled by s has no detail above about 1 / s, and the rest of its spectrum falls off steeply.
        """
        if not self._kept:
            return None
        power_db = 10 * np.log10(_compute_spectrum([block for _, _, block in self._kept]) + 1e-9)
        if power_db[4:8].mean() < _LEAST_TEXTURE_DB:
            return None
        above = np.flatnonzero(power_db > _FLOOR_DB)
        finest = (above[-1] + 1) / (2 * _BINS) if len(above) else 0.0
        top = power_db[-2:].mean()
        steep = power_db[6] - top > _STEEP_DB or power_db[17:20].mean() - top > _STEEP_FROM_MIDDLE_DB
        return float(2 * min(finest, 0.5)) if finest <= _ENLARGED_UP_TO or steep else None


class BlockMeter:
    """Steps between pixels at multiples of 8, compared with steps elsewhere."""

    def __init__(self) -> None:
        self._sums = np.zeros((2, 8))
        self._counts = np.zeros((2, 8))
        self._steps = np.zeros((2, 2))

    def take(self, luma: Luma) -> None:
        """Add the next strip, (h, W), whose first row is a multiple of 8."""
        for axis, strip in enumerate((luma, luma.T)):
            if strip.shape[1] < 16:
                continue
            steps = np.abs(np.diff(strip, axis=1))
            beyond = steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2
            for phase in range(8):
                self._sums[axis, phase] += beyond[:, phase::8].sum()
                self._counts[axis, phase] += beyond[:, phase::8].size
            self._steps[axis] += steps.sum(), steps.size

    @property
    def blockiness(self) -> float:
        """Mean step at the block phase minus the next largest, relative to the mean step; the smaller of both axes."""
        if not self._counts.all() or not self._steps.all():
            return 0.0
        ordered = np.sort(self._sums / self._counts, axis=1)
        return float(((ordered[:, -1] - ordered[:, -2]) / (self._steps[:, 0] / self._steps[:, 1])).min())


class BlankMeter:
    """Range of levels that contains nearly all pixels."""

    def __init__(self) -> None:
        self._counts = np.zeros(256, np.int64)

    def take(self, luma: Luma) -> None:
        """Add the next strip, (h, W)."""
        self._counts += np.bincount(np.rint(luma).astype(np.uint8).ravel(), minlength=256)

    @property
    def near_blank(self) -> bool:
        """Whether 98 % of the pixels lie within 6 levels of 255."""
        share = np.cumsum(self._counts) / max(1, self._counts.sum())
        low, high = np.searchsorted(share, (0.01, 0.99))
        return bool(high - low < _BLANK_LEVELS)


def _compute_spectrum(blocks: list[Luma]) -> npt.NDArray[np.float64]:
    """Mean power by the larger of both frequencies, in 32 steps up to half a cycle per pixel."""
    side = blocks[0].shape[0]
    window = np.hanning(side)[:, None] * np.hanning(side)[None]
    power = sum(np.abs(np.fft.rfft2((block - block.mean()) * window)) ** 2 for block in blocks)
    down, across = np.abs(np.fft.fftfreq(side))[:, None], np.fft.rfftfreq(side)[None]
    step = np.minimum((np.maximum(down, across) * 2 * _BINS).astype(int), _BINS - 1).ravel()
    sums = np.bincount(step, np.asarray(power).ravel() / len(blocks) / (window**2).sum(), _BINS)
    return sums / np.bincount(step, minlength=_BINS)
