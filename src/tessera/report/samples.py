"""The sample sheets of a run over its steps: the last one whole, of earlier ones only the part that differs from it.

Inputs, bicubic upscalings and references are equal in all sheets, so a page of sixteen sheets is hardly larger than one
of four. Shapes: H, W height and width of a sheet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tessera.errors import PictureError
from tessera.images.picture_format import Limits
from tessera.report.page import name, text
from tessera.report.views import Region, Shown, encode_data_uri, fit, read_region, read_size
from tessera.wording import format_count

MOST_SHEETS = 16
_HIGHEST, _WIDEST = 1320, 2112
"""Maximum size of a sheet on the page: five rows of pictures of 256 pixels, twice the usual width."""
_MOST_BYTES = 3_000_000
"""Maximum size of all earlier sheets together, encoded."""
_GAP, _GROUND = 8, 230
SAMPLES_LEAD = (
    "Each row, from left to right: the input (nearest), its bicubic upscaling, the output of the generator, the"
    " reference (ground truth)."
)
SAMPLES_HEADS = ("input (nearest)", "bicubic", "output", "reference")
_LIMITS = Limits(max_pixels=2**27)


@dataclass(frozen=True, eq=False)
class Sheet:
    """One sheet, or the part of it that differs from the last one."""

    step: int
    region: Region
    pixels: Shown


def pick_evenly(steps: Sequence[int], most: int = MOST_SHEETS) -> list[int]:
    """Pick at most `most` steps, spread evenly over the run, including the first and the last.

    >>> pick_evenly([10, 20, 30, 40, 50], 3), pick_evenly([10, 20], 3)
    ([10, 30, 50], [10, 20])
    """
    if len(steps) <= most:
        return list(steps)
    wanted = np.linspace(steps[0], steps[-1], most)
    known = np.array(steps)
    return sorted({steps[int(np.abs(known - each).argmin())] for each in wanted})


def render_samples(sheets: Mapping[int, Path], lead: str = SAMPLES_LEAD, heads: Sequence[str] = SAMPLES_HEADS) -> str:
    """Render sheets, by step, as a part of the page with a slider; empty without sheets.

    `lead` is the sentence above them; `heads` are the column heads, used if all rows have four columns.
    """
    if not sheets:
        return ""
    chosen, problems = _read_sheets(sheets)
    if not chosen:
        return _render_problems(problems)
    last = chosen[-1]
    height, width = last.pixels.shape[:2]
    earlier = _encode_sheets(chosen[:-1])
    chosen = [*earlier, last]
    lines = [
        f"<p>{text(lead)}</p>\n",
        '<div class="over-time">\n',
        _render_heads(last.pixels, heads),
        f'<div class="stack" style="aspect-ratio:{width}/{height};width:min(100%,{width}px)">\n',
        f'<img class="whole" src="{encode_data_uri(last.pixels, exact=False)}" alt="Samples at step {last.step:,}">\n',
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
    shown = (
        f"{len(chosen)} of {len(sheets)} sheets" if len(chosen) < len(sheets) else format_count(len(sheets), "sheet")
    )
    lines.append(f"<p class=soft>{shown}; WebP at quality 90. The files in the run's folder are lossless.</p>\n")
    return "".join(lines) + _render_problems(problems)


def _encode_sheets(sheets: Sequence[Sheet]) -> dict[Sheet, str]:
    """Encode the sheets as data URIs; drop every other one until they fit."""
    found = {sheet: encode_data_uri(sheet.pixels, exact=False) for sheet in sheets}
    while sum(map(len, found.values())) > _MOST_BYTES and len(found) > 1:
        found = dict(list(found.items())[::2])
    return found


def _render_problems(problems: Sequence[str]) -> str:
    return "".join(f"<p class=soft>{name(problem)}</p>\n" for problem in problems)


def _read_sheets(sheets: Mapping[int, Path]) -> tuple[list[Sheet], list[str]]:
    """Read the sheets to show, the last one first, and crop the others to their difference from it."""
    found: list[Sheet] = []
    problems: list[str] = []
    last: Shown | None = None
    for step in reversed(pick_evenly(sorted(sheets))):
        try:
            pixels = _read_pixels(sheets[step])
        except PictureError as error:
            problems.append(f"A sheet is missing here: {error}")
            continue
        if last is None:
            last = pixels
            whole = Region(x=0, y=0, width=last.shape[1], height=last.shape[0])
            found.append(Sheet(step, whole, last))
        elif pixels.shape != last.shape:
            problems.append(f"The sheet of step {step:,} is missing here: its size differs from that of the last one.")
        else:
            region = find_differing_region(pixels, last)
            part = pixels[region.y : region.y + region.height, region.x : region.x + region.width]
            found.append(Sheet(step, region, part))
    return found[::-1], problems


def find_differing_region(picture: Shown, other: Shown) -> Region:
    """Find the smallest rectangle that contains all differences of two pictures (H, W, 3); one pixel if equal."""
    differs = (picture != other).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return Region(x=0, y=0, width=1, height=1)
    top, left = int(rows[0]), int(columns[0])
    return Region(x=left, y=top, width=int(columns[-1]) + 1 - left, height=int(rows[-1]) + 1 - top)


def _read_pixels(path: Path) -> Shown:
    height, width = read_size(path, _LIMITS)
    region = Region(x=0, y=0, width=min(width, _WIDEST), height=min(height, _HIGHEST))
    return read_region(path, fit((height, width), (height, width)), region, _LIMITS)


def _render_heads(pixels: Shown, names: Sequence[str]) -> str:
    """Render column heads, if the sheet has four equal columns."""
    width = pixels.shape[1]
    side = (width - 3 * _GAP) // 4
    gaps = [pixels[:, (at + 1) * side + at * _GAP : (at + 1) * (side + _GAP)] for at in range(3)]
    if not names or side < 1 or (width - 3 * _GAP) % 4 or not all((gap == _GROUND).all() for gap in gaps):
        return ""
    heads = "".join(f"<span>{text(column)}</span>" for column in names)
    return f'<div class="columns" aria-hidden="true" style="width:min(100%,{width}px)">{heads}</div>\n'
