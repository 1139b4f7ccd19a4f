"""RGB to luma as MATLAB and as JPEG have it, and to CIE Lab for differences that the eye would see.

For torch tensors and NumPy arrays alike; the result has the type and device of the input.
Shapes: (..., 3, H, W) RGB in [0, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from tessera.libraries import import_library

if TYPE_CHECKING:
    from torch import Tensor

Values = TypeVar("Values", "Tensor", npt.NDArray[np.float32], npt.NDArray[np.float64])


def luma_matlab(rgb: Values) -> Values:
    """BT.601 luma in studio range, (..., 3, H, W) in [0, 1] -> (..., 1, H, W) in [16, 235] (MATLAB rgb2ycbcr).

    This is the Y of super-resolution papers.
    """
    red, green, blue = _channels(rgb)
    return 16 + 65.481 * red + 128.553 * green + 24.966 * blue


def luma_jpeg(rgb: Values) -> Values:
    """BT.601 luma in full range, (..., 3, H, W) in [0, 1] -> (..., 1, H, W) in [0, 1] (JFIF 1.02)."""
    red, green, blue = _channels(rgb)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def rgb_to_lab(rgb: Values) -> Values:
    """sRGB in [0, 1] -> CIE L*a*b* under D65, both (..., 3, H, W) (IEC 61966-2-1; CIE 15:2004)."""
    library: Any = np if isinstance(rgb, np.ndarray) else import_library("torch")
    linear = library.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clip(0.04045) + 0.055) / 1.055) ** 2.4)
    red, green, blue = _channels(linear)
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883
    fx, fy, fz = (
        library.where(t > 216 / 24389, t.clip(1e-6) ** (1 / 3), (24389 / 27 * t + 16) / 116) for t in (x, y, z)
    )
    return library.concatenate((116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)), -3)


def delta_e(first: Values, second: Values) -> Values:
    """Color difference CIE 1976 of two sRGB pictures, (..., 3, H, W) in [0, 1] -> (..., H, W); 0 is equal."""
    apart: Any = rgb_to_lab(first) - rgb_to_lab(second)
    return (apart**2).sum(-3) ** 0.5


def _channels(rgb: Any) -> tuple[Any, Any, Any]:
    """Each channel, (..., 1, H, W)."""
    return rgb[..., 0:1, :, :], rgb[..., 1:2, :, :], rgb[..., 2:3, :, :]
