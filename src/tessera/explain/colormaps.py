"""Colormaps for values in [0, 1]: jet as in the published pictures, viridis (perceptually uniform) and gray.

Shapes: H, W height and width.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import numpy.typing as npt

Colormap = Literal["jet", "viridis", "gray"]
Values = npt.NDArray[np.floating]
"""(H, W)"""
Shown = npt.NDArray[np.uint8]
"""(H, W, 3), RGB"""

# Viridis (Smith, van der Walt, 2015) at nine values from 0 to 1.
_VIRIDIS = "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725"


def _jet() -> Shown:
    """The table of OpenCV's COLORMAP_JET in integers; it differs by up to a level from clip(1.5 - |4v - k|, 0, 1)."""
    level = np.arange(256)
    red = np.minimum(4 * level - 382, 1148 - 4 * level)
    green = np.minimum(4 * level - 128, 892 - 4 * level)
    blue = np.minimum(4 * level + 128, 638 - 4 * level)
    blue[159] = 1  # as in the published table; the line gives 2
    return np.stack((red, green, blue), axis=1).clip(0, 255).astype(np.uint8)


def _viridis() -> Shown:
    points = np.frombuffer(bytes.fromhex(_VIRIDIS), np.uint8).reshape(-1, 3)
    places = np.linspace(0, 255, len(points))
    planes = [np.interp(np.arange(256), places, points[:, channel]) for channel in range(3)]
    return np.rint(np.stack(planes, axis=1)).astype(np.uint8)


@functools.cache
def table(name: Colormap) -> Shown:
    """The 256 colors of a map, (256, 3)."""
    if name == "jet":
        return _jet()
    return _viridis() if name == "viridis" else np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def to_levels(values: Values) -> npt.NDArray[np.uint8]:
    """Values in [0, 1] -> 0 to 255, truncated as in the published script; values outside are clipped.

    >>> to_levels(np.array([[0.0, 0.5, 0.999, 1.0]])).tolist()
    [[0, 127, 254, 255]]
    """
    return (values.clip(0, 1) * values.dtype.type(255)).astype(np.uint8)


def apply_colormap(values: Values, name: Colormap) -> Shown:
    """Values (H, W) in [0, 1] -> colors (H, W, 3)."""
    return table(name)[to_levels(values)]


def stretch_to_gray(values: Values) -> npt.NDArray[np.uint8]:
    """Any values -> gray, 0 the minimum and 255 the maximum, as in the published logits; constant values are 0."""
    least, greatest = values.min(), values.max()
    if not greatest > least:
        return np.zeros(values.shape, np.uint8)
    return to_levels((values - least) / (greatest - least))


def blend_heat(picture: Shown, heat: Shown, mix: float) -> Shown:
    """Blend a picture with its heat map: (1 - mix) * picture + mix * heat, rounded (published: mix 0.7).

    In fp32 with a fused multiply-add, as OpenCV's `addWeighted`, which the published script calls: ties round alike.
    """
    weighted = (heat.astype(np.float32) * np.float32(mix)).astype(np.float64)
    exact = picture.astype(np.float64) * np.float32(1 - mix) + weighted
    return np.rint(exact.astype(np.float32)).astype(np.uint8)
