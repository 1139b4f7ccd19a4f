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
"""A pixel is flat when the square of this radius around it is of one colour."""
COLOR_LOCK_SIGMA = 1.5
"""Input pixels; with two rounds it takes nine tenths of the difference below and leaves detail alone."""
COLOR_SIGMA = 2.0
"""Colour is compared after a blur of so many input pixels: what is finer is detail, and meant to change."""
CONTEXT = 12
"""Input pixels around a tile that the locks look at."""
_ROUNDS = 2
_TOLERANCE = 0.5 / 255
_FADE = 3


def lock_flat_areas(lq: Tensor, sr: Tensor) -> Tensor:
    """Give flat areas of `lq` (B, C, h, w) their own colour back in `sr` (B, C, s*h, s*w), both in [0, 1].

    Only where at least 9x9 input pixels are of one colour, fading in over 3 more; everything else is returned as it is.
    """
    flat = _flatness(lq)
    if not flat.any():
        return sr
    scale = sr.shape[-1] // lq.shape[-1]
    lacking = (lq - F.avg_pool2d(sr, scale)) * flat
    return sr + _enlarged(lacking, scale)


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


def _flatness(lq: Tensor) -> Tensor:
    """1 where the neighbourhood is of one colour, falling to 0 over a few pixels inside it -> (B, 1, h, w)."""
    spread = _greatest_around(lq) + _greatest_around(-lq)
    rough = (spread.amax(dim=1, keepdim=True) > _TOLERANCE).to(lq.dtype)
    # A square mean of the flat pixels' mask, zero wherever it would reach a pixel that is not flat.
    reach = F.max_pool2d(rough, 3, 1, 1)
    inside = F.pad(1 - reach, (_FADE,) * 4, mode="replicate")
    return F.avg_pool2d(inside, 2 * _FADE + 1, 1) * (1 - rough)


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
