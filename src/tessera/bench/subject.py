"""The picture of a benchmark: the middle of a given one, or a synthetic one."""

from __future__ import annotations

import numpy as np

from tessera.errors import UsageError
from tessera.images.pixels import Pixels


def crop_middle(pixels: Pixels, height: int, width: int, *, multiple: int = 1) -> Pixels:
    """Crop the center, without alpha, to at most this size, sides divisible by `multiple`: (H, W[, C]) -> (h, w, 3).

    Raises UsageError if nothing is left.
    """
    color = np.repeat(pixels[:, :, None], 3, 2) if pixels.ndim == 2 else pixels
    color = np.repeat(color[..., :1], 3, 2) if color.shape[2] < 3 else color[..., :3]
    sides = [min(own, asked) // multiple * multiple for own, asked in zip(color.shape, (height, width), strict=False)]
    if 0 in sides:
        raise UsageError(
            f"expected sides of at least {multiple} pixels (a multiple), found {width}x{height} of a picture of"
            f" {color.shape[1]}x{color.shape[0]}."
        )
    top, left = ((own - side) // 2 for own, side in zip(color.shape, sides, strict=False))
    return np.ascontiguousarray(color[top : top + sides[0], left : left + sides[1]])


def make_picture(height: int, width: int) -> Pixels:
    """A reproducible picture with gradients, edges, waves and grain: (h, w, 3) uint8."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = np.stack([np.sin(x / (5 + c) + y / 17) * np.cos(y / (7 + c)) for c in range(3)], -1)
    disks = (np.hypot(x % 48 - 24, y % 40 - 20) < 13)[..., None] * np.array([60.0, -40.0, 25.0])
    slope = ((x + y) / (height + width) * 80)[..., None]
    grain = np.random.default_rng(0).normal(0, 2, (height, width, 3))
    return np.rint((88 + slope + 34 * waves + disks + grain).clip(0, 255)).astype(np.uint8)
