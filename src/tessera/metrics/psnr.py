"""Peak signal-to-noise ratio and root mean squared error.

Shapes: B pictures, C channels, H height, W width; h rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tessera.metrics.metric import Accumulator, Frame


def mse(sr: Tensor, gt: Tensor) -> Tensor:
    """Mean squared error over channels and pixels, (B, C, H, W) twice -> (B,) float64, in the square of their unit."""
    return ((sr.double() - gt.double()) ** 2).flatten(1).mean(dim=1)


def rmse(sr: Tensor, gt: Tensor) -> Tensor:
    """Root mean squared error, (B, C, H, W) twice -> (B,) float64, in their unit; 0 is equal.

    PIRM 2018 sorts results into regions by it, on Y in levels of 255 with 4 pixels cropped: at most 11.5, 12.5 and 16
    (Blau et al. 2018).
    """
    return mse(sr, gt).sqrt()


def psnr(sr: Tensor, gt: Tensor, *, data_range: float, eps: float = 0.0) -> Tensor:
    """10 log10(data_range^2 / (MSE + eps)) in dB, (B, C, H, W) twice -> (B,) float64; higher is better.

    Equal pictures give infinity, or the maximum that `eps` (in the square of their unit) sets.
    """
    return to_decibels(mse(sr, gt), data_range=data_range, eps=eps)


def to_decibels(error: Tensor, *, data_range: float, eps: float = 0.0) -> Tensor:
    """A mean squared error in dB below the square of `data_range`."""
    return 10 * (2 * math.log10(data_range) - torch.log10(error + eps))


class SquaredError:
    """Mean squared error of a picture read in rows."""

    def __init__(self) -> None:
        self._total = 0.0
        self.count = 0
        """Number of values added."""

    def take(self, sr: Tensor, gt: Tensor) -> None:
        """Add the next rows, (C, h, W) twice."""
        self._total += float(((sr.double() - gt.double()) ** 2).sum())
        self.count += sr.numel()

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
