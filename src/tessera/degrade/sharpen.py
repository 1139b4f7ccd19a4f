"""Unsharp masking of the ground truth, which teaches the network crisp edges (Real-ESRGAN, section 3.5.2).

Applied only where a picture differs from its blurred version by more than a threshold, with a soft transition.

The result of such a wide Gaussian is so smooth that every fourth position in each direction determines the others: it
is computed there and interpolated, with a third of the products. The error of the blurred picture is at most 2e-4 in
photographs and 3e-4 in black and white noise, and below 0.004 for every picture in [0, 1].

Shapes: B pictures, C channels, H height, W width.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from tessera.degrade.filtering import BandMatrix, Weights, build_smoothing, cut_band, multiply_columns, multiply_rows

SIZE = 51
SIGMA = 0.3 * ((SIZE - 1) * 0.5 - 1) + 0.8
"""8.0 pixels: OpenCV's rule for a Gaussian of 51 pixels."""
_WEIGHT = 0.5
_THRESHOLD_255 = 10


def build_gaussian(size: int, sigma: float) -> tuple[float, ...]:
    """Build a truncated Gaussian of `size` pixels, which sums to 1."""
    weights = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    return tuple((weights / weights.sum()).tolist())


LINE = build_gaussian(SIZE, SIGMA)


_STEP = 4
_TAPS = 8
_STRIP, _WIDE_STRIP = 16, 32


def blur(picture: Tensor) -> Tensor:
    """Blur a picture with the Gaussian, with reflected borders: (C, H, W), contiguous -> (C, H, W), any range."""
    (fewer_rows, more_rows), (fewer_columns, more_columns) = (
        _build_bands(side, picture.device) for side in picture.shape[1:]
    )
    samples = multiply_rows(multiply_columns(picture, fewer_rows), fewer_columns)
    return multiply_columns(multiply_rows(samples, more_columns), more_rows)


@functools.lru_cache(maxsize=16)
def _build_bands(length: int, device: torch.device) -> tuple[BandMatrix, BandMatrix]:
    """Band matrices from a line to its blurred samples, and from these to all positions between them."""
    samples = np.arange(1 - _TAPS // 2, (length - 1) // _STEP + _TAPS // 2 + 1)
    between = np.zeros((length, len(samples)))
    phases = _fit_interpolation()
    for place in range(length):
        first = place // _STEP
        between[place, first : first + _TAPS] = phases[place % _STEP]
    fewer = build_smoothing(LINE, samples * _STEP, length)
    return cut_band(fewer, _STRIP, device), cut_band(between, _WIDE_STRIP, device)


@functools.cache
def _fit_interpolation() -> Weights:
    """Weights of the nearest samples for each position between two samples, (_STEP, _TAPS).

    They approximate the Gaussian at that position by Gaussians at the samples with the least squared error.
    """
    wide = SIZE + _STEP * (_TAPS - 1)
    at_samples = np.zeros((_TAPS, wide))
    for number in range(_TAPS):
        at_samples[number, number * _STEP : number * _STEP + SIZE] = LINE
    wanted = np.zeros((_STEP, wide))
    for phase in range(_STEP):
        first = (_TAPS // 2 - 1) * _STEP + phase
        wanted[phase, first : first + SIZE] = LINE
    return np.linalg.lstsq(at_samples.T, wanted.T, rcond=1e-12)[0].T.astype(np.float64)


def sharpen(gt: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Sharpen pictures, (B, C, H, W) -> (B, C, H, W), both RGB in [0, 1] (USMSharp of Real-ESRGAN).

    The result is written to `out`, if given.
    """
    out = torch.empty_like(gt) if out is None else out
    with torch.no_grad():
        # One at a time, so that each stays in the CPU's cache.
        for number, picture in enumerate(gt.contiguous()):
            residual = blur(picture).neg_().add_(picture)
            mask = residual.abs().gt_(_THRESHOLD_255 / 255)  # in place: 0.0 or 1.0
            share = blur(mask).clamp_(0, 1)
            change = torch.add(picture, residual, alpha=_WEIGHT, out=residual).clamp_(0, 1).sub_(picture)
            torch.addcmul(picture, share, change, out=out[number])
    return out
