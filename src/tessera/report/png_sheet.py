"""A comparison as one PNG: a block per group with each picture whole and the same region of each, under its label.

The layout is integers, known before any pixel is read; blocks are written one by one, so memory holds one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tessera.images.frames import PictureShape
from tessera.images.writer import PictureWriter
from tessera.report.comparison import CROP_SIDE, MAGNIFICATION, GroupView, SheetSettings, SizedGroup, View
from tessera.report.letters import LINE_HEIGHT, draw_text
from tessera.report.views import Shown

_GAP = 16
_MOST_IN_A_ROW = 6
_PAPER, _INK, _SOFT = (np.array(color, np.uint8) for color in ((252, 252, 250), (25, 25, 24), (90, 90, 85)))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The layout of a block: cells of one size, `columns` in a row, a title above."""

    whole: tuple[int, int]
    """Space for a whole picture (H, W)."""
    crop: tuple[int, int]
    """Space for a magnified crop (H, W)."""
    cells: int
    columns: int

    @property
    def cell_width(self) -> int:
        """Width of a cell in pixels."""
        return max(self.whole[1], self.crop[1], 160)

    @property
    def cell_height(self) -> int:
        """Height of a cell: two lines of text, the whole picture, the crop."""
        return 2 * LINE_HEIGHT + self.whole[0] + _GAP // 2 + self.crop[0]

    @property
    def width(self) -> int:
        """Width of the block in pixels."""
        return _GAP + self.columns * (self.cell_width + _GAP)

    @property
    def height(self) -> int:
        """Height of the block in pixels."""
        rows = -(-self.cells // self.columns)
        return _GAP + LINE_HEIGHT + rows * (self.cell_height + _GAP)

    def corner(self, index: int) -> tuple[int, int]:
        """The top left corner of a cell: (y, x)."""
        row, column = divmod(index, self.columns)
        y = _GAP + LINE_HEIGHT + row * (self.cell_height + _GAP)
        return y, _GAP + column * (self.cell_width + _GAP)


def plan_layout(sized: SizedGroup, settings: SheetSettings) -> Layout:
    """The layout of one group's block."""
    wished = settings.crop
    height, width = (CROP_SIDE, CROP_SIDE) if wished is None else (wished.height, wished.width)
    cells = len(sized.group.entries)
    return Layout(
        whole=sized.target,
        crop=(MAGNIFICATION * min(height, sized.full[0]), MAGNIFICATION * min(width, sized.full[1])),
        cells=cells,
        columns=min(cells, settings.columns or _MOST_IN_A_ROW),
    )


def write_png(
    path: Path, sized: Sequence[SizedGroup], group_views: Iterator[GroupView], settings: SheetSettings
) -> None:
    """Write a sheet atomically. Raises PictureError, LimitError."""
    layouts = [plan_layout(each, settings) for each in sized]
    width = max(each.width for each in layouts)
    shape = PictureShape(height=sum(each.height for each in layouts), width=width, channels=3, dtype=np.dtype(np.uint8))
    with PictureWriter(path, shape) as writer:
        for place, group, group_view in zip(layouts, sized, group_views, strict=True):
            writer.write_rows(_draw_block(place, group, group_view, width))
        writer.finish()


def _draw_block(place: Layout, sized: SizedGroup, group_view: GroupView, width: int) -> Shown:
    canvas = np.empty((place.height, width, 3), np.uint8)
    canvas[:] = _PAPER
    region = group_view.region
    title = (
        f"{group_view.name}   crops: {region} of {group_view.full[1]}x{group_view.full[0]}, {MAGNIFICATION}x nearest"
    )
    _draw_line(canvas, title, _GAP // 2, _GAP, width - 2 * _GAP, bold=True)
    views = {view.path: view for view in group_view.views}
    for index, entry in enumerate(sized.group.entries):
        y, x = place.corner(index)
        view = views.get(entry.path)
        _draw_line(canvas, entry.label, y, x, place.cell_width, bold=True)
        said = "cannot be read" if view is None else _describe_view(view)
        _draw_line(canvas, said, y + LINE_HEIGHT, x, place.cell_width, color=_SOFT)
        if view is not None:
            y += 2 * LINE_HEIGHT
            _paste(canvas, view.whole, y, x)
            crop = view.crop.repeat(MAGNIFICATION, axis=0).repeat(MAGNIFICATION, axis=1)
            _paste(canvas, crop, y + place.whole[0] + _GAP // 2, x)
    return canvas


def _describe_view(view: View) -> str:
    how = "" if view.how == "as it is" else f", {view.how}"
    return f"{view.size[1]}x{view.size[0]}{how}"


def _paste(canvas: Shown, picture: Shown, y: int, x: int) -> None:
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture


def _draw_line(
    canvas: Shown, line: str, y: int, x: int, width: int, *, bold: bool = False, color: Shown = _INK
) -> None:
    ink = draw_text(line, width, bold=bold)[..., None] / 255.0
    spot = canvas[y : y + LINE_HEIGHT, x : x + width]
    spot[:] = np.rint(spot + ink * (color.astype(float) - spot)).astype(np.uint8)


def collect_labels(sized: Sequence[SizedGroup]) -> Iterator[str]:
    """All texts of a sheet that come from the user."""
    return itertools.chain.from_iterable(
        (each.group.name, *(entry.label for entry in each.group.entries)) for each in sized
    )
