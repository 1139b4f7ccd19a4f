"""Pictures of maps side by side: over time, over depth, and as frames of an animation.

Shapes: H, W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tessera.explain.subject import Shown
from tessera.images.frames import PictureShape
from tessera.images.libvips import vips
from tessera.images.metadata import Metadata, MetadataField
from tessera.images.resample import resample_array
from tessera.images.writer import PictureWriter
from tessera.report.letters import LINE_HEIGHT, draw_text

GRID_SIDE = 240
FRAME_SIDE = 200
MOST_COLUMNS = 8
MOST_FRAMES = 48
_FRAME_MS = 500
_LAST_FRAME_MS = 2000
_GAP = 8
_LEAST_WIDTH = 96
_PAPER, _INK = (np.array(color, np.float64) for color in ((252, 252, 250), (25, 25, 24)))

Cell = tuple[str, Shown]
"""A label and the picture below it."""


def fit_within(picture: Shown, side: int) -> Shown:
    """Shrink a picture by Lanczos so that its longer side has at most `side` pixels."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    if longest <= side:
        return picture
    target = (max(1, round(height * side / longest)), max(1, round(width * side / longest)))
    return resample_array(picture, target).astype(np.uint8)


def draw_grid(rows: Sequence[Sequence[Cell | None]], title: str = "") -> Shown:
    """Draw cells in rows, all of the size of the largest, under `title`; None leaves a place empty."""
    pictures = [cell[1] for row in rows for cell in row if cell is not None]
    height = max(picture.shape[0] for picture in pictures)
    width = max(_LEAST_WIDTH, *(picture.shape[1] for picture in pictures))
    columns = max(len(row) for row in rows)
    top = _GAP + (LINE_HEIGHT if title else 0)
    across, down = width + _GAP, height + LINE_HEIGHT + _GAP
    canvas = np.empty((top + len(rows) * down, _GAP + columns * across, 3), np.uint8)
    canvas[:] = _PAPER.astype(np.uint8)
    if title:
        _write(canvas, title, _GAP // 2, _GAP, canvas.shape[1] - 2 * _GAP, bold=True)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            if cell is None:
                continue
            words, picture = cell
            y, x = top + row * down, _GAP + column * across
            _write(canvas, words, y, x, width)
            y += LINE_HEIGHT
            canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return canvas


def write_animation(path: Path, frames: Sequence[Shown]) -> None:
    """Write frames of one size as a repeating animation whose last frame stays longer. Raises PictureError."""
    height, width, channels = frames[0].shape
    delays = [_FRAME_MS] * (len(frames) - 1) + [_LAST_FRAME_MS]
    types = vips().GValue
    metadata = Metadata(
        animation=(MetadataField("delay", types.array_int_type, delays), MetadataField("loop", types.gint_type, 0)),
    )
    shape = PictureShape(
        height=height * len(frames), width=width, channels=channels, dtype=np.dtype(np.uint8), frames=len(frames)
    )
    with PictureWriter(path, shape, metadata=metadata) as writer:
        for frame in frames:
            writer.write_rows(frame)
        writer.finish()


def pick_evenly(count: int, most: int) -> list[int]:
    """Pick at most `most` of the numbers below `count`, spread evenly, including the first and the last.

    >>> pick_evenly(10, 4), pick_evenly(3, 4)
    ([0, 3, 6, 9], [0, 1, 2])
    """
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def _write(canvas: Shown, line: str, y: int, x: int, width: int, *, bold: bool = False) -> None:
    ink = draw_text(line, width, bold=bold)[..., None] / 255.0
    spot = canvas[y : y + LINE_HEIGHT, x : x + width]
    spot[:] = np.rint(spot + ink * (_INK - spot)).astype(np.uint8)
