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
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.report.comparison import Comparison, Measured, SheetSettings
    from tessera.report.partners import Partners
    from tessera.report.views import Region

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
_MOST_NOTES = 3
Inputs = Annotated[list[Path] | None, typer.Argument(metavar="IN...", help="Folders, or picture files; two or more.")]
Output = Annotated[Path, _Opt("-o", "--output", help="The sheet: NAME.html or NAME.png.")]
Label = Annotated[list[str] | None, _Opt("--label", help="What an input is called; once for each. [default: names]")]
Crop = Annotated[
    str | None, _Opt("--crop", help="X,Y,WxH of the largest picture. [default: 96x96 where they differ most]")
]
MaxSide = Annotated[
    int | None, _Opt("--max-side", help="Longest side of whole pictures. [default: 1024 in HTML, 384 in PNG]")
]
Columns = Annotated[int | None, _Opt("--columns", help="PNG: how many pictures in a row. [default: all, at most 6]")]
Limit = Annotated[int, _Opt("--limit", help="How many subjects at most are shown.")]
MaxPixels = Annotated[int | None, _Opt("--max-pixels", help="Largest input, in pixels; 0 lifts it. [default: 2^28]")]
Overwrite = Annotated[bool, _Opt("--overwrite", help="Replace the sheet if it exists.")]


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
    """Show pictures side by side: `tessera compare results originals -o sheet.html` pairs those of equal names.

    Endings such as _out, x4, _SR and what all names of a folder end in do not count. HTML has a slider between any two
    and crops of all, 1:1 and enlarged; PNG has them in rows. Exit code: 0 all shown, 1 some could not be read, 2 wrong
    usage.
    """
    kind = output.suffix.lower()
    if kind not in (".html", ".htm", ".png"):
        raise UsageError(f"-o {output}: a sheet is NAME.html or NAME.png.")
    if limit < 1:
        raise UsageError(f"--limit {limit}: expected 1 or more.")
    region = None if crop is None else parse_crop(crop)
    from tessera.images.picture_format import Limits
    from tessera.report.comparison import SheetSettings, measure
    from tessera.report.partners import find_partners

    partners = find_partners(inputs or [], label or ())
    _check_output(output, partners, overwrite)
    if max_pixels is not None and max_pixels < 0:
        raise UsageError(f"--max-pixels {max_pixels}: expected a number of pixels, or 0 for no limit.")
    limits = Limits() if max_pixels is None else Limits(max_pixels=max_pixels or None)
    default_side = 384 if kind == ".png" else 1024
    settings = SheetSettings(
        crop=region, max_side=default_side if max_side is None else max_side, columns=columns, limits=limits
    )
    notes = list(partners.notes)
    if len(partners.groups) > limit:
        notes.append(f"The first {limit} of {len(partners.groups)} subjects are shown; --limit shows more.")
    measured = [measure(group, settings) for group in partners.groups[:limit]]
    shown: list[Comparison] = []
    comparisons = _read(measured, settings, shown)
    if kind == ".png":
        from tessera.report.letters import cannot_be_written
        from tessera.report.png_sheet import labels_of, write_png

        if any(map(cannot_be_written, labels_of(measured))):
            notes.append("This libvips was built without text: in labels, characters beyond ASCII are drawn as boxes.")
        write_png(output, measured, comparisons, settings)
    else:
        _write_html(output, partners, notes, comparisons)
    _finish(output, notes, shown)


def parse_crop(text: str) -> Region:
    """X,Y,WxH -> a region. Raises UsageError.

    >>> print(parse_crop("100,20,64x48"))
    100,20,64x48
    """
    from tessera.report.views import Region

    found = re.fullmatch(r"(\d{1,9}),(\d{1,9}),(\d{1,9})x(\d{1,9})", text.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"--crop {text}: expected X,Y,WxH in pixels, as in 100,20,96x96.")
    x, y, width, height = map(int, found.groups())
    return Region(x=x, y=y, width=width, height=height)


def _check_output(output: Path, partners: Partners, overwrite: bool) -> None:
    """Refuse before the work what could not be written after it, and never replace a picture that is compared."""
    if os.path.isdir(output):  # noqa: PTH112 - False, not an error, for any text
        raise UsageError(f"-o {output}: is a folder; name a file, as in -o {output / 'sheet.html'}.")
    if not os.path.isdir(output.parent):  # noqa: PTH112
        raise UsageError(f"-o {output}: there is no folder {output.parent}. Make it first, or choose another.")
    own = os.path.realpath(output)
    for group in partners.groups:
        if any(os.path.realpath(entry.path) == own for entry in group.entries):
            raise UsageError(f"-o {output} is one of the pictures that are compared: choose another name.")
    if os.path.lexists(output) and not overwrite:
        raise UsageError(f"{output} exists already. Choose another name, or replace it with --overwrite.")


def _read(measured: Sequence[Measured], settings: SheetSettings, shown: list[Comparison]) -> Iterator[Comparison]:
    """Read one group after another, and keep what is to be said of each (without its pixels)."""
    import dataclasses

    from tessera.report.comparison import read_comparison

    for each in measured:
        comparison = read_comparison(each, settings)
        shown.append(dataclasses.replace(comparison, views=()))
        yield comparison


def _write_html(output: Path, partners: Partners, notes: Sequence[str], comparisons: Iterator[Comparison]) -> None:
    from tessera.report.html_sheet import html_part
    from tessera.report.page import page, sentences, write_page
    from tessera.report.style import SLIDE

    def body() -> Iterator[str]:
        yield "<p>Drag over a picture, or move its slider with the arrow keys. Whole pictures are WebP at quality 90;"
        yield " crops are exact. What is transparent lies on white.</p>\n"
        if notes:
            yield sentences(notes)
        for comparison in comparisons:
            yield from html_part(comparison)

    write_page(output, page(f"Comparison of {', '.join(partners.labels)}", body(), script=SLIDE))


def _finish(output: Path, notes: Sequence[str], shown: Sequence[Comparison]) -> None:
    own = [note for comparison in shown for note in comparison.notes]
    for note in (*notes, *own[:_MOST_NOTES]):
        typer.echo(make_printable(f"note: {show_options(note)}"), err=True)
    if len(own) > _MOST_NOTES:
        typer.echo(f"note: {len(own) - _MOST_NOTES} more of this kind are in the sheet.", err=True)
    problems = [problem for comparison in shown for problem in comparison.problems]
    for problem in problems:
        print_error(problem)
    count = f"{len(shown)} subject{'' if len(shown) == 1 else 's'} compared"
    lost = f", {len(problems)} picture{'' if len(problems) == 1 else 's'} could not be read" if problems else ""
    typer.echo(make_printable(f"{output}: {count}{lost}."))
    if problems:
        raise typer.Exit(1)
