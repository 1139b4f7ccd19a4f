"""Correlation of each picture of a batch with its own kernel, with reflected borders.

On the CPU, small kernels run as convolutions. Larger ones, and all on the GPU, use the FFT, whose cost does not depend
on their size.

Shapes: B pictures, C channels, H height, W width; k a kernel's side.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Weights = npt.NDArray[np.float64]

_STRIP = 32
_LANES = 16
"""Channels that a CPU convolution processes at once."""
_NEGLIGIBLE = 1e-8
"""Weights whose sum is below this cannot change a float32 in [0, 1]."""


def filter_each(image: Tensor, kernels: Sequence[Weights]) -> Tensor:
    """Correlate each picture with its own kernel: (B, C, H, W) and B times (k, k), k odd -> (B, C, H, W), any range.

    Equal to OpenCV's filter2D with its default border, to about 1e-6.
    """
    made = [filter_one(picture, trim_kernel(kernel)) for picture, kernel in zip(image, kernels, strict=True)]
    return made[0][None] if len(made) == 1 else torch.stack(made)


def filter_one(picture: Tensor, weights: Weights) -> Tensor:
    """Correlate a picture with a kernel by the faster method: (C, H, W) -> (C, H, W), any range."""
    size = weights.shape[0]
    if size == 1:
        return picture * float(weights[0, 0])
    convolving_is_faster = _estimate_convolution_cost(picture, size) < _estimate_spectrum_cost(picture, size)
    if picture.device.type == "cpu" and convolving_is_faster:
        return convolve(picture, weights)
    height, width = (find_fast_length(side + size - 1) for side in picture.shape[-2:])
    return filter_spectrum(picture, compute_transfer(weights, height, width).to(picture.device), size // 2)


def estimate_filter_cost(picture: Tensor, size: int) -> float:
    """Estimate the time of `filter_one` in nanoseconds, as measured on one core with AVX-512."""
    return 0.0 if size == 1 else min(_estimate_convolution_cost(picture, size), _estimate_spectrum_cost(picture, size))


def _estimate_convolution_cost(picture: Tensor, size: int) -> float:
    return picture.numel() * (1.0 + 0.027 * size**2) + 100_000


def _estimate_spectrum_cost(picture: Tensor, size: int) -> float:
    height, width = (find_fast_length(side + size - 1) for side in picture.shape[-2:])
    return 5.5 * picture.shape[0] * height * width + 150_000


def convolve(picture: Tensor, weights: Weights) -> Tensor:
    """Correlate as one convolution: (C, H, W) -> (C, H, W), any range.

    CPUs convolve many channels at once and a picture has three, so it is cut into vertical stripes as channels.
    """
    channels, height, width = picture.shape
    size = weights.shape[0]
    cuts = max(_LANES // channels, 1)
    narrow = -(-width // cuts)
    wide = pad_mirrored(picture, size // 2, right=cuts * narrow - width)
    rows, columns = wide.shape[1:]
    cut = wide.as_strided((channels, cuts, rows, narrow + size - 1), (rows * columns, narrow, columns, 1))
    kernels = torch.from_numpy(weights.astype(np.float32)).expand(channels * cuts, 1, size, size)
    lanes = cut.reshape(1, channels * cuts, rows, narrow + size - 1)
    done = F.conv2d(lanes, kernels, groups=channels * cuts).view(channels, cuts, height, narrow)
    return done.transpose(1, 2).reshape(channels, height, cuts * narrow)[..., :width]


def trim_kernel(kernel: Weights) -> Weights:
    """Remove a margin of negligible weights from a kernel."""
    magnitudes = np.abs(kernel)
    total = magnitudes.sum()
    margin = 0
    while margin < kernel.shape[0] // 2:
        inner = magnitudes[margin + 1 : -margin - 1, margin + 1 : -margin - 1]
        if total - inner.sum() > _NEGLIGIBLE * total:
            break
        margin += 1
    return kernel[margin : kernel.shape[0] - margin, margin : kernel.shape[1] - margin]


def pad_mirrored(image: Tensor, margin: int, below: int = 0, right: int = 0) -> Tensor:
    """Pad pictures by reflection, with additional rows below and columns at the right; small ones repeatedly.

    (C, H, W) -> (C, H + 2 margin + below, W + 2 margin + right)
    """
    if margin + max(below, right) < min(image.shape[-2:]):
        return F.pad(image, (margin, margin + right, margin, margin + below), mode="reflect")
    rows, columns = _fold(image.shape[-2], margin, below), _fold(image.shape[-1], margin, right)
    return image[..., rows.to(image.device), :][..., columns.to(image.device)]


def _fold(side: int, margin: int, further: int = 0) -> Tensor:
    period = max(2 * (side - 1), 1)
    index = torch.arange(-margin, side + margin + further).remainder(period)
    return torch.where(index < side, index, period - index)


def filter_spectrum(picture: Tensor, response: Tensor, margin: int) -> Tensor:
    """Multiply the spectrum of a picture by a transfer function: (C, H, W) -> (C, H, W)."""
    height, width = picture.shape[-2:]
    sides = (response.shape[-2], 2 * (response.shape[-1] - 1))
    further = sides[0] - height - 2 * margin, sides[1] - width - 2 * margin
    spectrum = torch.fft.rfft2(pad_mirrored(picture, margin, *further))
    spectrum *= response
    return torch.fft.irfft2(spectrum, s=sides)[..., :height, :width]


def compute_transfer(kernel: Weights, height: int, width: int) -> Tensor:
    """Compute the transfer function of a kernel for a picture of `height` x `width`, including its margin."""
    waves = (_evaluate_waves(kernel.shape[0], height, height), _evaluate_waves(kernel.shape[1], width, width // 2 + 1))
    return waves[0] @ torch.from_numpy(kernel).to(torch.complex64) @ waves[1].T


@functools.lru_cache(maxsize=256)
def _evaluate_waves(size: int, length: int, count: int) -> Tensor:
    """Evaluate the first `count` frequencies of a transform of this length at a kernel's positions: (count, size)."""
    turns = torch.outer(torch.arange(count), torch.arange(size)).remainder(length).double() / length
    return torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).to(torch.complex64)


@dataclass(frozen=True)
class MatrixStrip:
    """Outputs `first` to `last` of a line: `matrix` (outputs, inputs) times inputs `start` to `stop`."""

    first: int
    last: int
    start: int
    stop: int
    matrix: Tensor


@dataclass(frozen=True)
class BandMatrix:
    """A band matrix (after, before), in strips."""

    after: int
    strips: tuple[MatrixStrip, ...]


def cut_band(matrix: Weights, strip: int, device: torch.device) -> BandMatrix:
    """Cut a matrix (after, before) into strips of a given number of rows, on a device."""
    found: list[MatrixStrip] = []
    for first in range(0, len(matrix), strip):
        last = min(first + strip, len(matrix))
        used = np.flatnonzero(matrix[first:last].any(axis=0))
        start, stop = int(used[0]), int(used[-1]) + 1
        part = torch.from_numpy(matrix[first:last, start:stop].astype(np.float32)).to(device)
        found.append(MatrixStrip(first, last, start, stop, part))
    return BandMatrix(len(matrix), tuple(found))


def multiply_columns(picture: Tensor, rows: BandMatrix) -> Tensor:
    """Multiply each column by the band matrix: (C, H, W) -> (C, rows.after, W)."""
    out = picture.new_empty(picture.shape[0], rows.after, picture.shape[2])
    for strip in rows.strips:
        torch.matmul(strip.matrix, picture[:, strip.start : strip.stop], out=out[:, strip.first : strip.last])
    return out


def multiply_rows(picture: Tensor, columns: BandMatrix) -> Tensor:
    """Multiply each row by the band matrix: (C, H, W), contiguous -> (C, H, columns.after)."""
    channels, height, width = picture.shape
    flat = picture.view(channels * height, width)
    out = flat.new_empty(channels * height, columns.after)
    for strip in columns.strips:
        torch.mm(flat[:, strip.start : strip.stop], strip.matrix.T, out=out[:, strip.first : strip.last])
    return out.view(channels, height, columns.after)


def build_smoothing(line: Sequence[float], places: npt.NDArray[np.int64], length: int) -> Weights:
    """Build the matrix of a 1D kernel at some positions of a line with reflected ends: (positions, length)."""
    reach = len(line) // 2
    beyond = max(0, -int(places.min()), int(places.max()) - length + 1)
    index = _fold(length, reach + beyond).numpy()
    matrix = np.zeros((len(places), length))
    for offset, weight in enumerate(line):
        np.add.at(matrix, (np.arange(len(places)), index[places + beyond + offset]), weight)
    return matrix


def filter_lines(picture: Tensor, line: tuple[float, ...]) -> Tensor:
    """Correlate with the same 1D kernel down and across: (C, H, W), contiguous -> (C, H, W), any range."""
    rows, columns = (_build_filter_band(line, side, picture.device) for side in picture.shape[1:])
    return multiply_rows(multiply_columns(picture, rows), columns)


@functools.lru_cache(maxsize=16)
def _build_filter_band(line: tuple[float, ...], length: int, device: torch.device) -> BandMatrix:
    return cut_band(build_smoothing(line, np.arange(length), length), _STRIP, device)


@functools.cache
def find_fast_length(least: int) -> int:
    """Find the next multiple of 4 with a fast FFT: no prime factor above 7.

    >>> find_fast_length(420), find_fast_length(450)
    (420, 480)
    """
    length = least + -least % 4
    while not _is_smooth(length):
        length += 4
    return length


def _is_smooth(length: int) -> bool:
    for prime in (2, 3, 5, 7):
        while length % prime == 0:
            length //= prime
    return length == 1
