"""Keeping the input's colours: flat areas stay what they were, and on request all low frequencies do.

Published networks shift colours: on flat gray they are up to 5 levels of 255 off. Back-projection adds to the output
what its own shrunken form lacks of the input (Irani and Peleg 1991), here its low frequencies only, so that detail is
not touched. Shapes: B tiles, C channels, h and w input pixels, s the scale.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.color import delta_e

FLAT_RADIUS = 4
"""A pixel is flat when the square of this radius around it is of one colour, and smooth when it is nearly so."""
COLOR_LOCK_SIGMA = 1.5
"""Input pixels; with two rounds it takes nine tenths of the difference below and leaves detail alone."""
COLOR_SIGMA = 2.0
"""Colour is compared after a blur of so many input pixels: what is finer is detail, and meant to change."""
CONTEXT = 12
"""Input pixels around a tile that the locks look at."""
_ROUNDS = 2
_FLAT = 0.5 / 65_535
"""Pixels of one colour differ by less: by nothing, in 8 bits and in 16."""
_SMOOTH, _ROUGH = 3 / 255, 8 / 255
"""Areas with less difference than the first get their low frequencies back, with more than the second none."""
_FADE = 3


def lock_flat_areas(lq: Tensor, sr: Tensor) -> Tensor:
    """Give flat areas of `lq` (B, C, h, w) their own colour back in `sr` (B, C, s*h, s*w), both in [0, 1].

    Where at least 9x9 input pixels are of one colour, every pixel becomes that colour; where they differ by a few
    levels (a noisy sky, a gentle ramp), the low frequencies are set right and the detail stays. Both fade in, and
    everything else is returned as it is.
    """
    spread = (_greatest_around(lq) + _greatest_around(-lq)).amax(dim=1, keepdim=True)
    if float(spread.min()) >= _ROUGH:
        return sr
    scale = sr.shape[-1] // lq.shape[-1]
    smooth = _inside(((_ROUGH - spread) / (_ROUGH - _SMOOTH)).clamp(0, 1))
    lacking = lq - F.avg_pool2d(sr, scale)
    sr = sr + _enlarged(_blurred(lacking, COLOR_LOCK_SIGMA) * smooth, scale)
    flat = (spread <= _FLAT).to(lq.dtype)
    if not flat.any():
        return sr
    return torch.lerp(sr, _enlarged(lq, scale), _enlarged(_inside(flat), scale))


def within_neighbours(lq: Tensor, sr: Tensor) -> Tensor:
    """Clip `sr` (B, C, s*h, s*w) to what the 3x3 input pixels around each pixel of `lq` (B, C, h, w) span.

    For alpha: what is wholly transparent or wholly opaque stays so right up to the edge, without a veil or a halo.
    """
    scale = sr.shape[-1] // lq.shape[-1]
    greatest = F.max_pool2d(lq, 3, 1, 1)
    least = -F.max_pool2d(-lq, 3, 1, 1)
    repeated = (F.interpolate(bound, scale_factor=scale, mode="nearest") for bound in (least, greatest))
    return torch.clamp(sr, *repeated)


def lock_colors(lq: Tensor, sr: Tensor) -> Tensor:
    """Add to `sr` (B, C, s*h, s*w) the low frequencies that it lacks of `lq` (B, C, h, w), both in [0, 1]."""
    scale = sr.shape[-1] // lq.shape[-1]
    for _ in range(_ROUNDS):
        lacking = lq - F.avg_pool2d(sr, scale)
        sr = sr + _enlarged(_blurred(lacking, COLOR_LOCK_SIGMA), scale)
    return sr


def color_difference(lq: Tensor, sr: Tensor) -> Tensor:
    """CIE 1976 difference of the colours of `lq` (B, 3, h, w) and of `sr` (B, 3, s*h, s*w) shrunk -> (B, h, w)."""
    shrunk = F.avg_pool2d(sr, sr.shape[-1] // lq.shape[-1])
    return delta_e(_blurred(lq, COLOR_SIGMA), _blurred(shrunk, COLOR_SIGMA))


def _inside(weight: Tensor) -> Tensor:
    """Weights (B, 1, h, w) in [0, 1] that fade to their zeros from within: never larger anywhere than they were."""
    eroded = -F.max_pool2d(-F.pad(weight, (1,) * 4, mode="replicate"), 3, 1)
    mean = F.avg_pool2d(F.pad(eroded, (_FADE,) * 4, mode="replicate"), 2 * _FADE + 1, 1)
    return torch.minimum(mean, weight)


def _greatest_around(image: Tensor) -> Tensor:
    """The greatest value within FLAT_RADIUS, same shape; borders repeated; rows and columns apart, which is quicker."""
    size = 2 * FLAT_RADIUS + 1
    padded = F.pad(image, (FLAT_RADIUS,) * 4, mode="replicate")
    return F.max_pool2d(F.max_pool2d(padded, (size, 1), 1), (1, size), 1)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, borders repeated, same shape."""
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    channels = image.shape[1]
    kernel = weights.expand(channels, 1, -1)
    image = F.pad(image, (radius,) * 4, mode="replicate")
    image = F.conv2d(image, kernel[:, :, :, None], groups=channels)
    return F.conv2d(image, kernel[:, :, None, :], groups=channels)


def _enlarged(image: Tensor, scale: int) -> Tensor:
    if scale == 1:
        return image
    return F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)
