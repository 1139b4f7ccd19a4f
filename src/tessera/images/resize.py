"""Resampling of tensors, defined as in MATLAB's imresize: bicubic, area, Lanczos, antialiased when shrinking.

Shapes: B pictures, C channels, H height, W width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tessera.images.filters import Kernel, compute_bands


def resize(
    image: Tensor,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    kernel: Kernel = "bicubic",
    antialias: bool = True,
) -> Tensor:
    """Resample by `scale` or to `size` (H, W): (..., H, W) -> (..., ceil(scale*H), ceil(scale*W)), any float range.

    Height comes first, then width; borders are mirrored; nothing is clipped or rounded. Defined as MATLAB's imresize,
    which made the inputs of published x4 scores. Keeps the image's type and device, and gradients pass. Raises
    ValueError unless exactly one of `scale` and `size` is given.
    """
    if (scale is None) == (size is None):
        raise ValueError("give either scale or size")
    height, width = image.shape[-2:]
    if size is not None:
        (out_height, out_width), scales = size, (size[0] / height, size[1] / width)
    else:
        assert scale is not None
        out_height, out_width, scales = math.ceil(height * scale), math.ceil(width * scale), (scale, scale)
    image = torch.cat(
        [
            torch.matmul(torch.from_numpy(band.matrix).to(image), image[..., band.start : band.stop, :])
            for band in compute_bands(height, out_height, scales[0], kernel, antialias=antialias)
        ],
        dim=-2,
    )
    return torch.cat(
        [
            torch.matmul(image[..., band.start : band.stop], torch.from_numpy(band.matrix).to(image).T)
            for band in compute_bands(width, out_width, scales[1], kernel, antialias=antialias)
        ],
        dim=-1,
    )
