"""Structural similarity, single-scale and over five scales.

A Gaussian window of 11 pixels with sigma 1.5 that stays inside the picture, biased variances, K1 = 0.01, K2 = 0.03
(Wang et al. 2004, as in their MATLAB code). The window is applied as matrix products on strips that fit the
processor's cache, in float64. Shapes: B pictures, C channels, H height, W width; h rows at a time.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from tessera.metrics.metric import Accumulator, Floats, Frame

WINDOW = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03
_STRIP = 54
"""Rows and columns of output per product: 64 with the margin of the window."""
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales (Wang, Simoncelli, Bovik 2003, section 3.2)."""
SMALLEST_SIDE = WINDOW
SMALLEST_SIDE_OF_FIVE = (WINDOW - 1) * 2 ** (len(SCALE_WEIGHTS) - 1) + 1


def ssim(sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating], *, data_range: float) -> Floats:
    """Mean structural similarity, (B, C, H, W) twice -> (B,) float64 in [-1, 1]; higher is better.

    Computed per channel, then averaged. Raises ValueError below 11 pixels a side.
    """
    if min(sr.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(f"SSIM needs {SMALLEST_SIDE} pixels a side, found {sr.shape[-2:]}")
    scores: list[float] = []
    for one, other in zip(sr, gt, strict=True):
        rows = SsimRows(data_range=data_range)
        rows.take(one, other)
        scores.append(rows.score)
    return np.array(scores)


def ms_ssim(sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating], *, data_range: float) -> Floats:
    """Structural similarity over five scales, (B, C, H, W) twice -> (B,) float64 in [0, 1]; higher is better.

    Between scales, 2x2 pixels are averaged, with the last row and column mirrored for odd sides (Wang et al. 2003).
    Raises ValueError below 161 pixels a side.
    """
    if min(sr.shape[-2:]) < SMALLEST_SIDE_OF_FIVE:
        raise ValueError(f"MS-SSIM needs {SMALLEST_SIDE_OF_FIVE} pixels a side, found {sr.shape[-2:]}")
    scores: list[float] = []
    for one, other in zip(sr, gt, strict=True):
        rows = MsSsimRows(data_range=data_range)
        rows.take(one, other)
        scores.append(rows.score)
    return np.array(scores)


class SsimRows:
    """SSIM of a picture read in rows; holds the ten rows that the window still needs."""

    def __init__(self, *, data_range: float) -> None:
        self._c1, self._c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
        self._held: Floats | None = None
        self._similarity: Floats | None = None
        self._contrast: Floats | None = None
        self._count = 0

    def take(self, sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating]) -> None:
        """Add the next rows, (C, h, W) twice."""
        for first in range(0, sr.shape[1], _STRIP):
            pair = _stack(sr[:, first : first + _STRIP], gt[:, first : first + _STRIP])
            pair = pair if self._held is None else np.concatenate((self._held, pair), axis=2)
            if pair.shape[2] >= WINDOW:
                self._add(pair)
            self._held = pair[:, :, max(0, pair.shape[2] - WINDOW + 1) :]

    @property
    def score(self) -> float:
        """The mean similarity; NaN below the size of a window."""
        return float(self.channels[0].mean()) if self._count else math.nan

    @property
    def channels(self) -> tuple[Floats, Floats]:
        """Mean similarity, and mean contrast-structure term, per channel, (C,) twice."""
        assert self._similarity is not None
        assert self._contrast is not None
        return self._similarity / self._count, self._contrast / self._count

    def _add(self, pair: Floats) -> None:
        x, y = pair
        # Only the sum of both variances is needed, so four filtered maps suffice.
        mean_x, mean_y, mean_square, mean_product = _filter(np.stack((x, y, x * x + y * y, x * y)))
        product, square = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
        contrast = (2 * (mean_product - product) + self._c2) / (mean_square - square + self._c2)
        similarity = contrast * (2 * product + self._c1) / (square + self._c1)
        add = (similarity.sum(axis=(1, 2)), contrast.sum(axis=(1, 2)))
        self._similarity = add[0] if self._similarity is None else self._similarity + add[0]
        self._contrast = add[1] if self._contrast is None else self._contrast + add[1]
        self._count += similarity.shape[1] * similarity.shape[2]


class MsSsimRows:
    """MS-SSIM of a picture read in rows: five SSIMs, each at half the size of the one before."""

    def __init__(self, *, data_range: float) -> None:
        self._scales = [SsimRows(data_range=data_range) for _ in SCALE_WEIGHTS]
        self._odd: list[Floats | None] = [None] * (len(SCALE_WEIGHTS) - 1)

    def take(self, sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating]) -> None:
        """Add the next rows, (C, h, W) twice."""
        self._feed(_stack(sr, gt), 0)

    @property
    def score(self) -> float:
        """The weighted product over the scales."""
        for scale, row in enumerate(self._odd):
            if row is not None:  # the last row of an odd height is mirrored
                self._odd[scale] = None
                self._feed(_halve(np.concatenate((row, row), axis=2)), scale + 1)
        means = [rows.channels for rows in self._scales]
        factors = [contrast for _, contrast in means[:-1]] + [means[-1][0]]
        total = np.ones_like(factors[0])
        for factor, weight in zip(factors, SCALE_WEIGHTS, strict=True):
            total = total * factor.clip(0) ** weight
        return float(total.mean())

    def _feed(self, pair: Floats, scale: int) -> None:
        self._scales[scale].take(*pair)
        if scale + 1 == len(SCALE_WEIGHTS):
            return
        odd = self._odd[scale]
        pair = pair if odd is None else np.concatenate((odd, pair), axis=2)
        even = pair.shape[2] // 2 * 2
        self._odd[scale] = pair[:, :, even:] if even < pair.shape[2] else None
        if even:
            self._feed(_halve(pair[:, :, :even]), scale + 1)


def start_ssim(_: Frame) -> Accumulator:
    """Start SSIM on a picture whose rows are in levels of 255."""
    rows = SsimRows(data_range=255)
    return Accumulator(rows.take, lambda: rows.score)


def start_ms_ssim(_: Frame) -> Accumulator:
    """Start MS-SSIM on a picture whose rows are in levels of 255."""
    rows = MsSsimRows(data_range=255)
    return Accumulator(rows.take, lambda: rows.score)


def _stack(sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating]) -> Floats:
    """Both pictures in one array, (C, h, W) twice -> (2, C, h, W) float64."""
    return np.stack((sr, gt), dtype=np.float64, casting="unsafe")


def _halve(pair: Floats) -> Floats:
    """Average 2x2 pixels, the last column mirrored for an odd width: (..., 2*h, W) -> (..., h, ceil(W / 2))."""
    if pair.shape[-1] % 2:
        pair = np.concatenate((pair, pair[..., -1:]), axis=-1)
    rows = pair[..., ::2, :] + pair[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


@functools.cache
def _window(outputs: int) -> Floats:
    """The Gaussian filter as a matrix (outputs, outputs + 10)."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    matrix = np.zeros((outputs, outputs + WINDOW - 1))
    for row in range(outputs):
        matrix[row, row : row + WINDOW] = weights
    return matrix


def _filter(maps: Floats) -> Floats:
    """Filter with the Gaussian window, valid part only: (..., h, W) -> (..., h - 10, W - 10)."""
    height, width = maps.shape[-2] - WINDOW + 1, maps.shape[-1] - WINDOW + 1
    maps = _window(height) @ maps
    across = np.empty((*maps.shape[:-1], width))
    for first in range(0, width, _STRIP):
        last = min(first + _STRIP, width)
        np.matmul(maps[..., first : last + WINDOW - 1], _window(last - first).T, out=across[..., first:last])
    return across
