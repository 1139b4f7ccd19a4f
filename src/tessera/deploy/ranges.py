"""Quantizers of feature maps: one scale per channel, one zero for all channels.

value = scale[c] * (q - zero), q in 0..255. The zero is shared by the channels so that a convolution can read the map
with one offset, and it is an integer, so that the zeros around a picture stay zeros (Jacob et al. 2018, section
2.1). Ranges are those that the method keeps of each channel: all values (max), all but a few of the outermost
(percentile), those whose clipping and rounding cost the least squares together (mse), or those whose histogram loses
the least information (kl, Migacz 2017).

Shapes: C channels, N values of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessera.deploy.int8_settings import Method

LEVELS = 255
"""Steps of uint8."""
_ZEROS = (0, 8, 16, 24, 32, 43, 52, 64, 80, 96, 112, 128, 144, 160, 192, 224, 255)
_SHARES = tuple(float(share) for share in np.linspace(0.3, 1.0, 15))
_MOST_VALUES = 16_384
"""Of a channel, those that are sorted for percentiles."""
_VALUES_TRIED = 4096
"""Of a channel, those that clipping is tried on."""
_BINS = 1024
_FEWEST_BINS = 128
_LEAST = 1e-8
"""A channel that is always zero gets a range, so that nothing is divided by zero."""


@dataclass(frozen=True)
class Quantizer:
    """Quantization of a map to integers in 0..255: q = round(value / scale) + zero, value = scale * (q - zero)."""

    scale: NDArray[np.float32]
    """(C,)"""
    zero: int

    def quantize(self, values: Tensor) -> Tensor:
        """The numbers q - zero, as float32: (B, C, H, W) -> (B, C, H, W)."""
        scale = torch.from_numpy(self.scale).reshape(1, -1, 1, 1)
        return (values / scale).round_().clamp_(-self.zero, LEVELS - self.zero)

    def fake_quantize(self, values: Tensor) -> Tensor:
        """Quantize and dequantize: (B, C, H, W) -> (B, C, H, W)."""
        return self.quantize(values) * torch.from_numpy(self.scale).reshape(1, -1, 1, 1)


def find_ranges(values: Tensor, method: Method, *, percentile: float = 99.99) -> tuple[Tensor, Tensor]:
    """The range of each channel that is kept: (C, N) -> least (C,) at most 0, largest (C,) at least 0."""
    low, high = values.amin(1).clamp(max=0), values.amax(1).clamp(min=0)
    if method == "percentile":
        ends = torch.tensor([1 - percentile / 100, percentile / 100], dtype=values.dtype)
        found = torch.quantile(_sample_values(values, _MOST_VALUES), ends, dim=1)
        return found[0].clamp(max=0), found[1].clamp(min=0)
    if method == "mse":
        share = _minimize_squared_error(values, low, high)
    elif method == "kl":
        share = torch.full_like(low, _minimize_divergence(values, low, high))
    else:
        return low, high
    return low * share, high * share


def fit_quantizer(low: Tensor, high: Tensor, importance: Tensor) -> Quantizer:
    """The zero that makes the steps of all channels fine, weighed by their importance, and with it their scales.

    A channel whose range lies otherwise than the zero gets the scale that keeps its range whole.
    """
    best: tuple[float, int, Tensor] | None = None
    for zero in _ZEROS:
        below = -low / zero if zero else torch.where(low < 0, torch.inf, 0.0)
        above = high / (LEVELS - zero) if zero < LEVELS else torch.where(high > 0, torch.inf, 0.0)
        scale = torch.maximum(below, above).clamp(min=_LEAST)
        cost = float((scale.double().square() * importance.double()).sum())
        if best is None or cost < best[0]:
            best = cost, zero, scale
    assert best is not None
    return Quantizer(best[2].numpy().astype(np.float32), best[1])


def _minimize_squared_error(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The share of each channel's range with the least squared error of clipping and rounding: (C,)."""
    values = _sample_values(values, _VALUES_TRIED)
    cost = torch.full((len(_SHARES), len(values)), torch.inf)
    for row, share in enumerate(_SHARES):
        least, largest = (low * share)[:, None], (high * share)[:, None]
        step = ((largest - least) / LEVELS).clamp(min=_LEAST)
        clipped = values.clamp(least, largest)
        cost[row] = ((clipped / step).round_() * step - values).square_().mean(1)
    return torch.tensor(_SHARES)[cost.argmin(0)]


def _minimize_divergence(values: Tensor, low: Tensor, high: Tensor) -> float:
    """The share of the range whose rounded histogram tells most of the true one: all channels scaled alike, together.

    What is clipped is added to the outermost bin that is kept; each group of bins that becomes one level is spread
    evenly over those of its bins that had anything (Migacz 2017).
    """
    reach = torch.maximum(-low, high).clamp(min=_LEAST)[:, None]
    counts = torch.histc((values.abs() / reach).flatten().float(), _BINS, 0.0, 1.0).double().numpy()
    counts[0] = 0  # zeros and what is next to it are exact in any range
    best, chosen = np.inf, _BINS
    for kept in range(_FEWEST_BINS, _BINS + 1, 16):
        true = counts[:kept].copy()
        true[-1] += counts[kept:].sum()
        level = np.arange(kept) * _FEWEST_BINS // kept
        full = counts[:kept] > 0
        sums = np.bincount(level, counts[:kept], _FEWEST_BINS)
        members = np.bincount(level, full, _FEWEST_BINS)
        spread = np.where(full, sums[level] / np.maximum(members[level], 1), 0.0)
        if not true.sum() or not spread.sum():
            continue
        p, q = true / true.sum(), spread / spread.sum()
        present = p > 0
        divergence = float(np.sum(p[present] * np.log(p[present] / np.maximum(q[present], 1e-10))))
        if divergence < best:
            best, chosen = divergence, kept
    return chosen / _BINS


def _sample_values(values: Tensor, count: int) -> Tensor:
    """At most so many of each channel's values, from all over: (C, N) -> (C, n)."""
    if values.shape[1] <= count:
        return values
    return values[:, torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(0))[:count]]
