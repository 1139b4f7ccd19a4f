"""Resampling weights: bicubic, Lanczos, bilinear and area, defined as in MATLAB's imresize.

The weights come in bands: a run of output pixels, the run of input pixels they depend on, and the matrix between them,
so that resampling is a few small matrix products at any picture size. NumPy only, in float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Kernel = Literal["bicubic", "lanczos3", "area", "bilinear"]
Floats = npt.NDArray[np.float64]

_FEWEST_IN_A_BAND = 16
_LARGEST_WHOLE = 2**14


def _bicubic(x: Floats) -> Floats:
    """Keys' cubic with a = -0.5 (Keys 1981; MATLAB imresize "bicubic")."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _lanczos3(x: Floats) -> Floats:
    """Windowed sinc with three lobes (Duchon 1979)."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


def _bilinear(x: Floats) -> Floats:
    return np.maximum(1 - np.abs(x), 0.0)


_KERNELS: dict[str, tuple[Callable[[Floats], Floats], float]] = {
    "bicubic": (_bicubic, 4.0),
    "lanczos3": (_lanczos3, 6.0),
    "bilinear": (_bilinear, 2.0),
}


@dataclass(frozen=True)
class Band:
    """Output pixels `first` to `last` are `matrix` (outputs, inputs) times input pixels `start` to `stop`."""

    first: int
    last: int
    start: int
    stop: int
    matrix: Floats


Edges = Literal["mirror", "repeat", "wrap"]


@functools.lru_cache(maxsize=64)
def compute_bands(
    length: int,
    out_length: int,
    scale: float,
    kernel: Kernel,
    *,
    antialias: bool = True,
    edges: Edges = "mirror",
    margin: int = 0,
) -> tuple[Band, ...]:
    """Compute the weights that resample `length` pixels to `out_length`, `scale` times as many.

    Args:
        length: Number of input pixels, without the margin.
        out_length: Number of output pixels.
        scale: Output pixels per input pixel.
        kernel: "area" weights by covered area (as OpenCV's INTER_AREA when shrinking).
        antialias: Widen the other kernels when shrinking.
        edges: How the picture continues past its ends: mirrored, its last pixel repeated, or wrapped around.
        margin: Number of real pixels before the first and after the last; pixels are then counted from the first of
            them.

    The weights of every output pixel add up to one.
    """
    index, weights = _compute_taps(out_length, scale, kernel, antialias)
    index = _fold(index + margin, length + 2 * margin, edges)
    step = max(_FEWEST_IN_A_BAND, math.ceil(index.shape[1] * min(scale, 1.0)))
    if length * out_length <= _LARGEST_WHOLE:
        step = out_length
    result: list[Band] = []
    for first in range(0, out_length, step):
        last = min(first + step, out_length)
        here = index[first:last]
        start, stop = int(here.min()), int(here.max()) + 1
        matrix = np.zeros((last - first, stop - start))
        rows = np.broadcast_to(np.arange(last - first)[:, None], here.shape)
        np.add.at(matrix, (rows, here - start), weights[first:last])
        result.append(Band(first, last, start, stop, matrix))
    return tuple(result)


def count_border_pixels(scale: float, kernel: Kernel) -> int:
    """Count the input pixels past the edge that an output pixel at the edge depends on."""
    index, _ = _compute_taps(1, scale, kernel, antialias=True)
    return 1 - int(index.min())


def _fold(index: npt.NDArray[np.intp], length: int, edges: Edges) -> npt.NDArray[np.intp]:
    if edges == "wrap":
        return np.remainder(index, length)
    if edges == "repeat":
        return np.clip(index, 0, length - 1)
    mirrored = np.remainder(index, 2 * length)
    return np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)


def _compute_taps(
    out_length: int, scale: float, kernel: Kernel, antialias: bool
) -> tuple[npt.NDArray[np.intp], Floats]:
    """For each output pixel, the input pixels it depends on and their weights: both (out_length, taps)."""
    center = (np.arange(out_length) + 0.5) / scale - 0.5
    if kernel == "area":
        width = 1 / scale
        taps = math.ceil(width) + 2
        index = np.floor(center - width / 2 + 0.5).astype(np.intp)[:, None] + np.arange(taps)
        right = np.minimum(index + 0.5, center[:, None] + width / 2)
        left = np.maximum(index - 0.5, center[:, None] - width / 2)
        weights = np.maximum(right - left, 0)
    else:
        shape, width = _KERNELS[kernel]
        shrink = scale if antialias and scale < 1 else 1.0
        taps = math.ceil(width / shrink) + 2
        index = np.floor(center - width / shrink / 2 + 1).astype(np.intp)[:, None] + np.arange(taps) - 1
        weights = shape(np.asarray(shrink * (center[:, None] - index), np.float64))
    return index, weights / weights.sum(axis=1, keepdims=True)
