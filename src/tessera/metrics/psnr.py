"""Peak signal-to-noise ratio and root mean squared error.

Shapes: B pictures, C channels, H height, W width; h rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tessera.metrics.metric import Accumulator, Floats, Frame


def mse(sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating]) -> Floats:
    """Mean squared error over channels and pixels, (B, C, H, W) twice -> (B,) float64, in the square of their unit."""
    difference = np.subtract(sr, gt, dtype=np.float64).reshape(len(sr), -1)
    return (difference * difference).mean(axis=1)


def rmse(sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating]) -> Floats:
    """Root mean squared error, (B, C, H, W) twice -> (B,) float64, in their unit; 0 is equal.

    PIRM 2018 sorts results into regions by it, on Y in levels of 255 with 4 pixels cropped: at most 11.5, 12.5 and 16
    (Blau et al. 2018).
    """
    return np.sqrt(mse(sr, gt))


def psnr(sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating], *, data_range: float, eps: float = 0.0) -> Floats:
    """10 log10(data_range^2 / (MSE + eps)) in dB, (B, C, H, W) twice -> (B,) float64; higher is better.

    Equal pictures give infinity, or the maximum that `eps` (in the square of their unit) sets.
    """
    return to_decibels(mse(sr, gt), data_range=data_range, eps=eps)


def to_decibels(error: Floats, *, data_range: float, eps: float = 0.0) -> Floats:
    """A mean squared error in dB below the square of `data_range`."""
    with np.errstate(divide="ignore"):  # equal pictures: infinity
        return 10 * (2 * math.log10(data_range) - np.log10(error + eps))


class SquaredError:
    """Mean squared error of a picture read in rows."""

    def __init__(self) -> None:
        self._total = 0.0
        self.count = 0
        """Number of values added."""

    def take(self, sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating]) -> None:
        """Add the next rows, (C, h, W) twice."""
        difference = np.subtract(sr, gt, dtype=np.float64)
        self._total += float((difference * difference).sum())
        self.count += difference.size

    @property
    def mean(self) -> float:
        """The mean squared error of all rows so far."""
        return self._total / self.count

    def psnr(self, *, data_range: float, eps: float = 0.0) -> float:
        """PSNR in dB, see `psnr`."""
        error = self.mean + eps
        return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def start_psnr(frame: Frame) -> Accumulator:
    """Start PSNR on a picture whose rows are in levels of 255."""
    error = SquaredError()
    return Accumulator(
        error.take,
        lambda: error.psnr(data_range=255, eps=frame.eps),
        lambda: (error.mean, error.count, frame.eps),
    )


def start_rmse(frame: Frame) -> Accumulator:
    """Start RMSE on a picture whose rows are in levels of 255."""
    error = SquaredError()
    return Accumulator(error.take, lambda: math.sqrt(error.mean))


def pool_psnr(states: Sequence[tuple[float, int, float]]) -> float:
    """PSNR of the mean squared error of several pictures, from (MSE in levels squared, values, eps) of each.

    >>> round(pool_psnr([(1.0, 100, 0.0), (3.0, 100, 0.0)]), 2)
    45.12
    """
    values = sum(count for _, count, _ in states)
    error = sum(mean * count for mean, count, _ in states) / values + states[0][2]
    return 10 * math.log10(255**2 / error) if error else math.inf
