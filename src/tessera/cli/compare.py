"""`tessera compare`: pictures of several folders side by side, as one HTML or PNG file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.options import show_options
from tessera.cli.shared_options import MaxPixels, Overwrite
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.report.comparison import GroupView, SheetSettings, SizedGroup
    from tessera.report.partners import Partners
    from tessera.report.views import Region

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
_MOST_NOTES = 3
Inputs = Annotated[list[Path] | None, typer.Argument(metavar="IN...", help="Two or more folders, or picture files.")]
Output = Annotated[Path, _Opt("-o", "--output", help="Output file: NAME.html or NAME.png.")]
Label = Annotated[list[str] | None, _Opt("--label", help="Label of an input; repeat for each. [default: its name]")]
Crop = Annotated[
    str | None, _Opt("--crop", help="Region X,Y,WxH of the largest picture. [default: 96x96 where they differ most]")
]
MaxSide = Annotated[
    int | None, _Opt("--max-side", help="Longest side of whole pictures. [default: 1024 in HTML, 384 in PNG]")
]
Columns = Annotated[int | None, _Opt("--columns", help="PNG only: pictures per row. [default: all, at most 6]")]
Limit = Annotated[int, _Opt("--limit", help="Show at most this many groups of pictures.")]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def compare(
    inputs: Inputs = None,
    output: Output = Path("comparison.html"),
    label: Label = None,
    crop: Crop = None,
    max_side: MaxSide = None,
    columns: Columns = None,
    limit: Limit = 30,
    max_pixels: MaxPixels = None,
    overwrite: Overwrite = False,
) -> None:
    """Show pictures side by side: `tessera compare results originals -o sheet.html` matches pictures by name.

    Suffixes such as _out, x4 and _SR are ignored. HTML has a slider between any two pictures and crops of all, 1:1 and
    magnified; PNG has them in rows. Exit codes: 0 all shown, 1 some could not be read, 2 wrong usage.
    """
    kind = output.suffix.lower()
    if kind not in (".html", ".htm", ".png"):
        raise UsageError(f"expected NAME.html or NAME.png, found {output}.", field="output")
    if limit < 1:
        raise UsageError(f"expected 1 or more, found {limit}.", field="limit")
    region = None if crop is None else parse_crop(crop)
    from tessera.images.picture_format import Limits
    from tessera.report.comparison import SheetSettings, read_sizes
    from tessera.report.partners import find_partners

    partners = find_partners(inputs or [], label or ())
    _check_output(output, partners, overwrite)
    if max_pixels is not None and max_pixels < 0:
        raise UsageError(f"expected a number of pixels, or 0 for no limit, found {max_pixels}.", field="max_pixels")
    limits = Limits() if max_pixels is None else Limits(max_pixels=max_pixels or None)
    default_side = 384 if kind == ".png" else 1024
    settings = SheetSettings(
        crop=region, max_side=default_side if max_side is None else max_side, columns=columns, limits=limits
    )
    notes = list(partners.notes)
    if len(partners.groups) > limit:
        notes.append(f"Only the first {limit} of {len(partners.groups)} groups are shown; --limit shows more.")
    sized = [read_sizes(group, settings) for group in partners.groups[:limit]]
    shown: list[GroupView] = []
    group_views = _read(sized, settings, shown)
    if kind == ".png":
        from tessera.report.letters import has_missing_glyphs
        from tessera.report.png_sheet import collect_labels, write_png

        if any(map(has_missing_glyphs, collect_labels(sized))):
            notes.append("libvips has no text support here, so non-ASCII characters in labels are drawn as boxes.")
        write_png(output, sized, group_views, settings)
    else:
        _write_html(output, partners, notes, group_views)
    _finish(output, notes, shown)


def parse_crop(text: str) -> Region:
    """X,Y,WxH -> a region. Raises UsageError.

    >>> print(parse_crop("100,20,64x48"))
    100,20,64x48
    """
    from tessera.report.views import Region

    found = re.fullmatch(r"(\d{1,9}),(\d{1,9}),(\d{1,9})x(\d{1,9})", text.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"expected X,Y,WxH in pixels, such as 100,20,96x96, found {text}.", field="crop")
    x, y, width, height = map(int, found.groups())
    return Region(x=x, y=y, width=width, height=height)


def _check_output(output: Path, partners: Partners, overwrite: bool) -> None:
    """Raise UsageError, before the work, where the output cannot be written or is one of the inputs."""
    if os.path.isdir(output):  # noqa: PTH112 - False, not an error, for any text
        raise UsageError(f"{output} is a folder. Name a file, such as {output / 'sheet.html'}.", field="output")
    if not os.path.isdir(output.parent):  # noqa: PTH112
        raise UsageError(f"folder {output.parent} does not exist. Create it first, or choose another.", field="output")
    own = os.path.realpath(output)
    for group in partners.groups:
        if any(os.path.realpath(entry.path) == own for entry in group.entries):
            raise UsageError(f"{output} is one of the inputs. Choose another name.", field="output")
    if os.path.lexists(output) and not overwrite:
        raise UsageError(
            f"{output} already exists. Choose another name, or replace it with `overwrite`.", field="output"
        )


def _read(sized: Sequence[SizedGroup], settings: SheetSettings, shown: list[GroupView]) -> Iterator[GroupView]:
    """Read one group after another; `shown` collects them without their pixels."""
    import dataclasses

    from tessera.report.comparison import read_group

    for each in sized:
        group_view = read_group(each, settings)
        shown.append(dataclasses.replace(group_view, views=()))
        yield group_view


def _write_html(output: Path, partners: Partners, notes: Sequence[str], group_views: Iterator[GroupView]) -> None:
    from tessera.report.html_sheet import render_group
    from tessera.report.page import page, sentences, write_page
    from tessera.report.style import SLIDE

    def body() -> Iterator[str]:
        yield "<p>Drag over a picture, or move its slider with the arrow keys. Whole pictures are WebP at quality 90;"
        yield " crops are exact. Transparent parts are shown on white.</p>\n"
        if notes:
            yield sentences(notes)
        for group_view in group_views:
            yield from render_group(group_view)

    write_page(output, page(f"GroupView of {', '.join(partners.labels)}", body(), script=SLIDE))


def _finish(output: Path, notes: Sequence[str], shown: Sequence[GroupView]) -> None:
    own = [note for group_view in shown for note in group_view.notes]
    for note in (*notes, *own[:_MOST_NOTES]):
        typer.echo(make_printable(f"note: {show_options(note)}"), err=True)
    if len(own) > _MOST_NOTES:
        typer.echo(f"note: {len(own) - _MOST_NOTES} more such notes are in the sheet.", err=True)
    problems = [problem for group_view in shown for problem in group_view.problems]
    for problem in problems:
        print_error(problem)
    count = f"{len(shown)} group{'' if len(shown) == 1 else 's'} compared"
    lost = f", {len(problems)} picture{'' if len(problems) == 1 else 's'} could not be read" if problems else ""
    typer.echo(make_printable(f"{output}: {count}{lost}."))
    if problems:
        raise typer.Exit(1)
