"""Resampling on tensors as MATLAB's imresize has it: bicubic, area, Lanczos, with antialiasing when shrinking.

Shapes: B pictures, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Kernel = Literal["bicubic", "lanczos3", "area"]


def _bicubic(x: Tensor) -> Tensor:
    """Keys' cubic with a = -0.5 (Keys 1981; MATLAB imresize "bicubic")."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, torch.zeros_like(x)))


def _lanczos3(x: Tensor) -> Tensor:
    """Windowed sinc with three lobes (Duchon 1979)."""
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), torch.zeros_like(x))


def _area(x: Tensor) -> Tensor:
    """The box: every input pixel counts by how much of it an output pixel covers."""
    return ((x >= -0.5) & (x < 0.5)).to(x.dtype)


_KERNELS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "bicubic": (_bicubic, 4.0),
    "lanczos3": (_lanczos3, 6.0),
    "area": (_area, 1.0),
}


def resize(
    image: Tensor,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    kernel: Kernel = "bicubic",
    antialias: bool = True,
) -> Tensor:
    """Resample by `scale` or to `size` (H, W): (B, C, H, W) -> (B, C, ceil(scale*H), ceil(scale*W)), any float range.

    Height is done first, then width; borders repeat the edge pixel symmetrically; nothing is clipped or rounded. The
    same definition as MATLAB's imresize (systems that publish x4 figures made their inputs with it).
    """
    if (scale is None) == (size is None):
        raise ValueError("give either scale or size")
    height, width = image.shape[-2:]
    if size is not None:
        (out_height, out_width), scales = size, (size[0] / height, size[1] / width)
    else:
        assert scale is not None
        out_height, out_width, scales = math.ceil(height * scale), math.ceil(width * scale), (scale, scale)
    vertical = _matrix(height, out_height, scales[0], kernel, antialias).to(image)
    horizontal = _matrix(width, out_width, scales[1], kernel, antialias).to(image)
    return torch.matmul(torch.matmul(vertical, image), horizontal.T)


def _matrix(length: int, out_length: int, scale: float, kernel: Kernel, antialias: bool) -> Tensor:
    """The weights as a dense matrix (out_length, length), in float64."""
    shape, width = _KERNELS[kernel]
    shrink = scale if antialias and scale < 1 else 1.0
    width /= shrink
    taps = math.ceil(width) + 2
    position = torch.arange(1, out_length + 1, dtype=torch.float64) / scale + 0.5 * (1 - 1 / scale)
    left = torch.floor(position - width / 2)
    index = left[:, None] + torch.arange(taps, dtype=torch.float64)
    weights = shrink * shape(shrink * (position[:, None] - index))
    weights = weights / weights.sum(dim=1, keepdim=True)
    mirrored = torch.remainder(index.long() - 1, 2 * length)
    mirrored = torch.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    matrix = torch.zeros(out_length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored, weights)
