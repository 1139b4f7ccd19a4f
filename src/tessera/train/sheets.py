"""Sample sheets of a run: pictures in rows on light gray.

Shapes: H, W the height and width of a picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tessera.images.writer import write_picture
from tessera.train.records import describe_write_error

_BACKGROUND = 230
"""Gray level between the pictures."""


def assemble_sheet(rows: Iterable[Iterable[np.ndarray]], *, gap: int = 8) -> np.ndarray:
    """Pictures (H, W, 3) of uint8 in rows on light gray, each row as wide as its pictures; empty without rows."""
    strips = [_join(list(row), gap, axis=1) for row in rows]
    if not strips:
        return np.zeros((0, 0, 3), np.uint8)
    width = max(strip.shape[1] for strip in strips)
    padded = [
        np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=_BACKGROUND) for strip in strips
    ]
    return _join(padded, gap, axis=0)


def _join(pictures: list[np.ndarray], gap: int, *, axis: int) -> np.ndarray:
    across = 1 - axis
    side = max(picture.shape[across] for picture in pictures)
    parts: list[np.ndarray] = []
    for picture in pictures:
        pads = [(0, 0)] * 3
        pads[across] = (0, side - picture.shape[across])
        pads[axis] = (0, gap)
        parts.append(np.pad(picture, pads, constant_values=_BACKGROUND))
    joined = np.concatenate(parts, axis=axis)
    return joined[: joined.shape[0] - gap] if axis == 0 else joined[:, : joined.shape[1] - gap]


def write_sheet(path: Path, pixels: np.ndarray) -> None:
    """Write a sheet as PNG, whole or not at all; nothing for an empty one. Raises PictureError, TrainingError."""
    if not pixels.size:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise describe_write_error(path, error) from error
    write_picture(pixels, path)
