"""The sample sheets of a run over its steps: the last one whole, of earlier ones only the part that differs from it.

Inputs, bicubic enlargements and truths stay what they are from sheet to sheet, so a page of sixteen sheets is little
larger than one of four. Shapes: H, W height and width of a sheet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tessera.errors import PictureError
from tessera.images.picture_format import Limits
from tessera.report.page import name, text
from tessera.report.views import Region, Shown, data_uri, fit, read_region, read_size
from tessera.wording import counted

MOST_SHEETS = 16
_HIGHEST, _WIDEST = 1320, 2112
"""What of a sheet is shown: five rows of pictures of 256 pixels, and twice the usual width."""
_MOST_BYTES = 3_000_000
"""Of the earlier sheets together, as text."""
_GAP, _GROUND = 8, 230
SAMPLES_LEAD = (
    "Each row, from left to right: the input (its pixels enlarged as they are), its bicubic enlargement, the output,"
    " the truth."
)
SAMPLES_HEADS = ("input, enlarged as it is", "bicubic", "output", "truth")
_LIMITS = Limits(max_pixels=2**27)


@dataclass(frozen=True, eq=False)
class Sheet:
    """One sheet, or the part of it that differs from the last one."""

    step: int
    region: Region
    pixels: Shown


def evenly(steps: Sequence[int], most: int = MOST_SHEETS) -> list[int]:
    """At most so many of the steps, spread evenly over the run, the first and the last among them.

    >>> evenly([10, 20, 30, 40, 50], 3), evenly([10, 20], 3)
    ([10, 30, 50], [10, 20])
    """
    if len(steps) <= most:
        return list(steps)
    wanted = np.linspace(steps[0], steps[-1], most)
    known = np.array(steps)
    return sorted({steps[int(np.abs(known - each).argmin())] for each in wanted})


def samples_part(sheets: Mapping[int, Path], lead: str = SAMPLES_LEAD, heads: Sequence[str] = SAMPLES_HEADS) -> str:
    """The sheets by step -> a part of the page with a slider over them; empty without sheets.

    `lead` is the sentence above them; `heads` stand over their columns, where all rows have four.
    """
    if not sheets:
        return ""
    chosen, problems = _read(sheets)
    if not chosen:
        return _notes(problems)
    last = chosen[-1]
    height, width = last.pixels.shape[:2]
    earlier = _encoded(chosen[:-1])
    chosen = [*earlier, last]
    lines = [
        f"<p>{text(lead)}</p>\n",
        '<div class="over-time">\n',
        _columns(last.pixels, heads),
        f'<div class="stack" style="aspect-ratio:{width}/{height};width:min(100%,{width}px)">\n',
        f'<img class="whole" src="{data_uri(last.pixels, exact=False)}" alt="Samples at step {last.step:,}">\n',
    ]
    for sheet, source in earlier.items():
        box = sheet.region
        style = (
            f"left:{100 * box.x / width:.4f}%;top:{100 * box.y / height:.4f}%;"
            f"width:{100 * box.width / width:.4f}%;height:{100 * box.height / height:.4f}%"
        )
        lines.append(
            f'<img class="earlier" src="{source}" style="{style}" alt="Outputs at step {sheet.step:,}" hidden>\n'
        )
    steps = ",".join(str(sheet.step) for sheet in chosen)
    lines.append("</div>\n")
    if len(chosen) > 1:
        lines.append(
            f'<input type="range" min="0" max="{len(chosen) - 1}" value="{len(chosen) - 1}" step="1"'
            f' data-steps="{steps}" aria-label="Step of the outputs" style="width:min(100%,{width}px)">\n'
        )
    lines.append(f"<output>Step {last.step:,}</output>\n</div>\n")
    shown = f"{len(chosen)} of {len(sheets)} sheets" if len(chosen) < len(sheets) else counted(len(sheets), "sheet")
    lines.append(f"<p class=soft>{shown}; WebP at quality 90. Those in the run's folder are exact.</p>\n")
    return "".join(lines) + _notes(problems)


def _encoded(sheets: Sequence[Sheet]) -> dict[Sheet, str]:
    """The sheets with their addresses; every other one is left out until the page is not too large."""
    found = {sheet: data_uri(sheet.pixels, exact=False) for sheet in sheets}
    while sum(map(len, found.values())) > _MOST_BYTES and len(found) > 1:
        found = dict(list(found.items())[::2])
    return found


def _notes(problems: Sequence[str]) -> str:
    return "".join(f"<p class=soft>{name(problem)}</p>\n" for problem in problems)


def _read(sheets: Mapping[int, Path]) -> tuple[list[Sheet], list[str]]:
    """Read the sheets that are shown, the last one first, and cut the others to what differs from it."""
    found: list[Sheet] = []
    problems: list[str] = []
    last: Shown | None = None
    for step in reversed(evenly(sorted(sheets))):
        try:
            pixels = _pixels(sheets[step])
        except PictureError as error:
            problems.append(f"A sheet is left out. {error}")
            continue
        if last is None:
            last = pixels
            whole = Region(x=0, y=0, width=last.shape[1], height=last.shape[0])
            found.append(Sheet(step, whole, last))
        elif pixels.shape != last.shape:
            problems.append(f"The sheet of step {step:,} is left out: it has another size than the last one.")
        else:
            region = differing(pixels, last)
            part = pixels[region.y : region.y + region.height, region.x : region.x + region.width]
            found.append(Sheet(step, region, part))
    return found[::-1], problems


def differing(picture: Shown, other: Shown) -> Region:
    """The smallest rectangle outside which two pictures (H, W, 3) are the same; one pixel where they are."""
    differs = (picture != other).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return Region(x=0, y=0, width=1, height=1)
    top, left = int(rows[0]), int(columns[0])
    return Region(x=left, y=top, width=int(columns[-1]) + 1 - left, height=int(rows[-1]) + 1 - top)


def _pixels(path: Path) -> Shown:
    height, width = read_size(path, _LIMITS)
    region = Region(x=0, y=0, width=min(width, _WIDEST), height=min(height, _HIGHEST))
    return read_region(path, fit((height, width), (height, width)), region, _LIMITS)


def _columns(pixels: Shown, names: Sequence[str]) -> str:
    """Heads over the four columns, where all rows have the same ones."""
    width = pixels.shape[1]
    side = (width - 3 * _GAP) // 4
    gaps = [pixels[:, (at + 1) * side + at * _GAP : (at + 1) * (side + _GAP)] for at in range(3)]
    if not names or side < 1 or (width - 3 * _GAP) % 4 or not all((gap == _GROUND).all() for gap in gaps):
        return ""
    heads = "".join(f"<span>{text(column)}</span>" for column in names)
    return f'<div class="columns" aria-hidden="true" style="width:min(100%,{width}px)">{heads}</div>\n'
