"""Unsharp masking, which Real-ESRGAN gives its references so that the network learns crisp edges (section 3.5.2).

Only where a picture differs from its blurred self by more than a threshold, and blending softly into the rest.
Shapes: B pictures, C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tessera.degrade.filtering import filter_lines

SIZE = 51
SIGMA = 0.3 * ((SIZE - 1) * 0.5 - 1) + 0.8
"""8.0 pixels: OpenCV's rule for a Gaussian of 51 pixels."""
_WEIGHT = 0.5
_THRESHOLD_255 = 10


def gaussian_line(size: int, sigma: float) -> tuple[float, ...]:
    """A Gaussian of `size` pixels, cut off at its ends, which adds up to 1."""
    weights = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    return tuple((weights / weights.sum()).tolist())


LINE = gaussian_line(SIZE, SIGMA)


def sharpen(gt: Tensor) -> Tensor:
    """Sharpen pictures, (B, C, H, W) -> (B, C, H, W), both RGB in [0, 1] (USMSharp of Real-ESRGAN)."""
    out = torch.empty_like(gt)
    with torch.no_grad():
        for number, picture in enumerate(gt):  # one after another, so that each stays in the processor's cache
            residual = filter_lines(picture, LINE).neg_().add_(picture)
            mask = residual.abs().gt_(_THRESHOLD_255 / 255)  # in place, so 0 or 1 as numbers
            share = filter_lines(mask, LINE)
            change = torch.add(picture, residual, alpha=_WEIGHT, out=residual).clamp_(0, 1).sub_(picture)
            torch.addcmul(picture, share, change, out=out[number])
    return out
