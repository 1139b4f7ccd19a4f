"""Filtering and resizing in one step, as products with band matrices, which are fast on CPUs.

A separable kernel, such as a round Gaussian, and any resize act on each direction alone; both together are one band
matrix for each direction, cut into strips.

Shapes: B pictures, C channels, H height, W width; k a kernel's side; S outputs of a strip, K inputs it reads.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.degrade.filtering import Weights, estimate_filter_cost, filter_each, filter_one, pad_mirrored, trim_kernel

ResizeMode = Literal["area", "bilinear", "bicubic"]

_STRIP, _NARROW_STRIP = 32, 16
_NEGLIGIBLE = 1e-7
"""Largest sum of weights that the separable form may miss: a bound on the error of any picture in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Target size, and the factor if there is one, because `F.interpolate` treats the two differently."""

    height: int
    width: int
    factor: float | None
    mode: ResizeMode


@dataclass(frozen=True)
class Lines:
    """A kernel that is the outer product of `down` and `across`, both (k,)."""

    down: Weights
    across: Weights


NO_FILTER = Lines(np.ones(1), np.ones(1))


def separate_kernel(kernel: Weights) -> Lines | None:
    """Split a kernel, (k, k), into a column and a row; None if it is not separable.

    >>> separate_kernel(np.outer([0.25, 0.5, 0.25], [0.1, 0.8, 0.1])).across.round(9).tolist()
    [0.05, 0.4, 0.05]
    """
    row, column = np.unravel_index(np.abs(kernel).argmax(), kernel.shape)
    lines = Lines(kernel[:, column] / kernel[row, column], kernel[row])
    return lines if np.abs(kernel - np.outer(lines.down, lines.across)).sum() <= _NEGLIGIBLE else None


def filter_then_resize(image: Tensor, kernels: Sequence[Weights] | None, resize: Resize) -> Tensor:
    """Correlate each picture with its own kernel, with reflected borders, and resize all as `F.interpolate` does.

    (B, C, H, W) and B times (k, k), k odd -> (B, C, H', W'), any range, to about 1e-6.
    """
    if image.device.type != "cpu":
        return _interpolate(image if kernels is None else filter_each(image, kernels), resize)
    each = [None] * len(image) if kernels is None else [trim_kernel(kernel) for kernel in kernels]
    made = [_choose_fastest(picture, kernel, resize) for picture, kernel in zip(image, each, strict=True)]
    return made[0][None] if len(made) == 1 else torch.stack(made)


def _choose_fastest(picture: Tensor, kernel: Weights | None, resize: Resize) -> Tensor:
    """In one step if that is possible and faster, otherwise in two."""
    if kernel is not None:
        lines = separate_kernel(kernel)
        in_two = estimate_filter_cost(picture, kernel.shape[0]) + _estimate_resize_cost(picture, resize)
        if lines is not None and _estimate_lines_cost(picture, kernel.shape[0], resize) < in_two:
            return filter_and_resize(picture, lines, resize)
        picture = filter_one(picture, kernel)
    if _estimate_lines_cost(picture, 1, resize) < _estimate_interpolation_cost(picture, resize):
        return filter_and_resize(picture, NO_FILTER, resize)
    return _interpolate(picture[None], resize)[0]


def _interpolate(image: Tensor, resize: Resize) -> Tensor:
    if image.shape[-2:] == (resize.height, resize.width):  # every mode returns its input
        return image
    if resize.factor is None:
        return F.interpolate(image, size=(resize.height, resize.width), mode=resize.mode)
    return F.interpolate(image, scale_factor=resize.factor, mode=resize.mode)


def _estimate_resize_cost(picture: Tensor, resize: Resize) -> float:
    return min(_estimate_interpolation_cost(picture, resize), _estimate_lines_cost(picture, 1, resize))


def _estimate_interpolation_cost(picture: Tensor, resize: Resize) -> float:
    """Estimate the time of `F.interpolate` in nanoseconds, as measured on one core with AVX-512."""
    if picture.shape[-2:] == (resize.height, resize.width):
        return 0.0
    made = picture.shape[0] * resize.height * resize.width
    return 100_000 + max((3.5 if resize.mode == "bilinear" else 7.0) * made, picture.numel() * (resize.mode == "area"))


def _estimate_lines_cost(picture: Tensor, size: int, resize: Resize) -> float:
    """Estimate the time of `filter_and_resize` in nanoseconds, as measured on one core with AVX-512."""
    rows, columns = _measure_readings(picture, resize)
    margin = size - 1
    across = (rows.before + margin) * columns.after * (columns.matrices.shape[2] + margin)
    down = rows.after * columns.after * (rows.matrices.shape[2] + margin)
    return picture.shape[0] * (across + down) / 25 + 7_000 * (len(columns.firsts) + len(rows.firsts)) + 150_000


@dataclass(frozen=True)
class Reading:
    """A 1D resize in strips: outputs from `firsts[n]` on are `matrices[n]` times inputs from `starts[n]` on."""

    before: int
    after: int
    firsts: tuple[int, ...]
    starts: tuple[int, ...]
    matrices: Tensor
    """(strips, S, K)"""


def _measure_readings(picture: Tensor, resize: Resize) -> tuple[Reading, Reading]:
    """For rows and columns."""
    height, width = picture.shape[-2:]
    factor, mode = resize.factor, resize.mode
    return measure_reading(height, resize.height, factor, mode), measure_reading(width, resize.width, factor, mode)


@functools.lru_cache(maxsize=64)
def measure_reading(before: int, after: int, factor: float | None, mode: ResizeMode) -> Reading:
    """Measure how `F.interpolate` computes `after` outputs from `before` inputs, by the factor or the sizes.

    Found by resizing combs whose teeth are so far apart that no output depends on two of them.
    """
    step = before / after
    strip = min(after, _STRIP if step < 2 else _NARROW_STRIP)
    reach = 0.0 if before == after else 3.0 + 1.5 * step  # bicubic reads two more; area, and factors, a step
    inputs = min(before, math.ceil((strip - 1) * step + 2 * reach) + 1)
    firsts = [min(first, after - strip) for first in range(0, after, strip)]
    lowest = [math.floor((first + 0.5) * step - 0.5 - reach) for first in firsts]
    starts = [min(max(low, 0), before - inputs) for low in lowest]
    combs = (torch.arange(before)[:, None] % inputs == torch.arange(inputs)).float()[None, None]
    if before != after:
        size, factors = (None, (factor, 1.0)) if factor is not None else ((after, inputs), None)
        combs = F.interpolate(combs, size=size, scale_factor=factors, mode=mode)
    rows = combs[0, 0, torch.tensor(firsts)[:, None] + torch.arange(strip)]
    teeth = (torch.tensor(starts)[:, None] + torch.arange(inputs)) % inputs
    return Reading(before, after, tuple(firsts), tuple(starts), torch.take_along_dim(rows, teeth[:, None], dim=2))


def filter_and_resize(picture: Tensor, lines: Lines, resize: Resize) -> Tensor:
    """Correlate with two 1D kernels, with reflected borders, and resize: (C, H, W) -> (C, H', W'), any range."""
    rows, columns = _measure_readings(picture, resize)
    wide = pad_mirrored(picture, len(lines.down) // 2).contiguous()
    channels, height, _ = wide.shape
    flat = wide.view(channels * height, -1)
    between = picture.new_empty(channels * height, columns.after)
    bands = columns.matrices @ _shift_kernel(lines.across, columns.matrices.shape[2])
    for first, start, band in zip(columns.firsts, columns.starts, bands, strict=True):
        places, reach = band.shape
        torch.mm(flat[:, start : start + reach], band.T, out=between[:, first : first + places])

    tall = between.view(channels, height, columns.after)
    out = picture.new_empty(channels, rows.after, columns.after)
    bands = rows.matrices @ _shift_kernel(lines.down, rows.matrices.shape[2])
    for first, start, band in zip(rows.firsts, rows.starts, bands, strict=True):
        places, reach = band.shape
        torch.matmul(band, tall[:, start : start + reach], out=out[:, first : first + places])
    return out


def _shift_kernel(line: Weights, count: int) -> Tensor:
    """A 1D kernel at `count` positions, shifted by one each: (k,) -> (count, count + k - 1)."""
    rows = np.zeros((count, count + len(line)), np.float32)
    rows[:, : len(line)] = line
    return torch.from_numpy(rows.ravel()[:-count].reshape(count, -1))
