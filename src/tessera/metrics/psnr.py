"""Peak signal-to-noise ratio and root mean squared error.

Shapes: B pictures, C channels, H height, W width; h rows at a time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


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

    Equal pictures give infinity, or what `eps` (in the square of their unit) allows.
    """
    return decibels(mse(sr, gt), data_range=data_range, eps=eps)


def decibels(error: Tensor, *, data_range: float, eps: float = 0.0) -> Tensor:
    """A mean squared error in dB below the square of `data_range`."""
    return 10 * (2 * math.log10(data_range) - torch.log10(error + eps))


class SquaredError:
    """The same for a picture that comes in rows: the mean of squared differences."""

    def __init__(self) -> None:
        self._total = 0.0
        self.count = 0
        """How many values came."""

    def take(self, sr: Tensor, gt: Tensor) -> None:
        """The next rows, (C, h, W) twice."""
        self._total += float(((sr.double() - gt.double()) ** 2).sum())
        self.count += sr.numel()

    @property
    def mean(self) -> float:
        """The mean squared error of what came."""
        return self._total / self.count

    def psnr(self, *, data_range: float, eps: float = 0.0) -> float:
        """In dB, see `psnr`."""
        error = self.mean + eps
        return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)
