"""RGB to luma as MATLAB and as JPEG have it, and to CIE Lab for differences that the eye would see.

Shapes: (..., 3, H, W) RGB in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor


def luma_matlab(rgb: Tensor) -> Tensor:
    """BT.601 luma in studio range, (..., 3, H, W) in [0, 1] -> (..., 1, H, W) in [16, 235] (MATLAB rgb2ycbcr).

    This is the Y of super-resolution papers.
    """
    red, green, blue = rgb.unbind(-3)
    return (16 + 65.481 * red + 128.553 * green + 24.966 * blue).unsqueeze(-3)


def luma_jpeg(rgb: Tensor) -> Tensor:
    """BT.601 luma in full range, (..., 3, H, W) in [0, 1] -> (..., 1, H, W) in [0, 1] (JFIF 1.02)."""
    red, green, blue = rgb.unbind(-3)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1] -> CIE L*a*b* under D65, both (..., 3, H, W) (IEC 61966-2-1; CIE 15:2004)."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
    red, green, blue = linear.unbind(-3)
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883
    fx, fy, fz = (
        torch.where(t > 216 / 24389, t.clamp(min=1e-6) ** (1 / 3), (24389 / 27 * t + 16) / 116) for t in (x, y, z)
    )
    return torch.stack((116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)), dim=-3)


def delta_e(first: Tensor, second: Tensor) -> Tensor:
    """Colour difference CIE 1976 of two sRGB pictures, (..., 3, H, W) in [0, 1] -> (..., H, W); 0 is equal."""
    return (rgb_to_lab(first) - rgb_to_lab(second)).norm(dim=-3)
