"""`tessera data`: check training data, cut pictures into windows, and store the outputs of a teacher."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.data_teach import teach
from tessera.cli.reports import check_reports, write_report
from tessera.cli.shared_options import Root
from tessera.errors import PictureError, UsageError
from tessera.machine import cores
from tessera.wording import format_count

if TYPE_CHECKING:
    from tessera.dataset.check import Report
    from tessera.dataset.sub_images import Cut

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Check training data, cut pictures into windows, and store the outputs of a teacher.",
)

app.command()(teach)

_Opt = typer.Option
_MOST_OF_A_KIND = 10
Step = TypeVar("Step")

Places = Annotated[
    list[Path], typer.Argument(metavar="FOLDER...", help="Folders, files, patterns, lists (.txt) or stores (.lmdb).")
]
Recursive = Annotated[bool, _Opt("-r", "--recursive/--flat", help="Include subfolders.")]
Workers = Annotated[int | None, _Opt("-j", "--workers", help="Number of processes. [default: one per core]")]
Output = Annotated[Path, _Opt("-o", "--output", help="Folder for the windows; it must not exist yet.")]
Size = Annotated[int, _Opt("--size", help="Side of a window, in pixels.")]
StepOption = Annotated[int, _Opt("--step", help="Distance between windows, in pixels.")]
Threshold = Annotated[int, _Opt("--threshold", help="A remainder of at most this many pixels gets no extra window.")]
Compression = Annotated[int, _Opt("--compression", help="PNG compression, from 0 (fast) to 9 (small).")]
Multiscale = Annotated[bool, _Opt("--multiscale", help="Also at 3/4, 1/2, 1/3 and a short side of 400 pixels.")]
Resume = Annotated[bool, _Opt("--resume", help="Resume in a folder that was started with the same settings.")]
Lq = Annotated[list[Path] | None, _Opt("--lq", help="Inputs of the pictures; once for each FOLDER.")]
Scale = Annotated[int, _Opt("-s", "--scale", help="With --lq: the downscaling factor of the inputs.")]
Against = Annotated[list[Path] | None, _Opt("--against", help="Test set that must not be trained on; repeatable.")]
Smallest = Annotated[int, _Opt("--smallest", help="Report pictures with a side below this, in pixels.")]
Json = Annotated[Path | None, _Opt("--json", help="Write all findings to this file.")]


@app.command()
def crops(
    places: Places,
    output: Output,
    size: Size = 480,
    step: StepOption = 240,
    threshold: Threshold = 0,
    compression: Compression = 3,
    multiscale: Multiscale = False,
    workers: Workers = None,
    resume: Resume = False,
    root: Root = None,
    recursive: Recursive = True,
) -> None:
    """Cut pictures into overlapping windows, NAME_s001.png and so on, as BasicSR does for DF2K.

    Training does not need this; it reads pictures of any size. Windows pay off if the disk is slow or the pictures are
    very large. x2, x3, x4 and x8 are removed from names, so that ground-truth pictures and inputs still match. Exit
    codes: 0 all cut, 1 some could not be read, 2 wrong usage.
    """
    if size < 8 or step < 1 or threshold < 0 or not 0 <= compression <= 9:
        raise UsageError("--size starts at 8, --step at 1, --threshold at 0, and --compression goes from 0 to 9.")
    from tessera.dataset.sources import list_pictures
    from tessera.dataset.sub_images import CropsConfig, cut_all

    config = CropsConfig(size=size, step=step, threshold=threshold, compression=compression, multiscale=multiscale)
    refs = list_pictures(places, root=root, recursive=recursive).gt
    done: list[Cut] = []
    failed = 0
    for _, result in _show_steps(
        cut_all(refs, output, config, workers=_count_workers(workers), resume=resume), len(refs)
    ):
        if isinstance(result, PictureError):
            failed += 1
            print_error(str(result))
        else:
            done.append(result)
    small = sum(cut.smaller_than_size for cut in done)
    if small:
        typer.echo(
            f"note: {format_count(small, 'picture')} smaller than {size} on a side; windows are smaller too.",
            err=True,
        )
    before = sum(cut.there_before for cut in done)
    skipped = f", {before} of them already done" if before else ""
    lost = f", {failed} could not be read" if failed else ""
    windows = sum(cut.windows for cut in done)
    typer.echo(
        make_printable(
            f"{output}: {format_count(windows, 'window')} of {format_count(len(done), 'picture')}{skipped}{lost}."
        )
    )
    if failed:
        raise typer.Exit(1)


@app.command()
def check(
    places: Places,
    lq: Lq = None,
    scale: Scale = 4,
    against: Against = None,
    smallest: Smallest = 128,
    as_json: Json = None,
    workers: Workers = None,
    root: Root = None,
    recursive: Recursive = True,
) -> None:
    """Check training data: `tessera data check train --lq train_x4 --against Set5 --against Set14`.

    Reads every picture completely. Reports damaged, empty and tiny files, identical and nearly identical pictures,
    pictures that are in a test set, mismatched and misaligned pairs, pictures that were upscaled before, and JPEG
    blocks. Exit codes: 0 clean, 1 problems found, 2 wrong usage.
    """
    if scale < 1 or smallest < 1:
        raise UsageError("--scale and --smallest start at 1.")
    check_reports({"--json": as_json})
    from tessera.dataset.check import check as check_pictures
    from tessera.dataset.sources import list_pictures

    listing = list_pictures(places, lq, root=root, recursive=recursive)
    tested = list_pictures(against, recursive=recursive).gt if against else ()
    report = check_pictures(
        listing, scale=scale, against=tested, smallest=smallest, workers=_count_workers(workers), watch=_show_steps
    )
    write_report(as_json, _format_json(report))
    _print_report(report, as_json)
    if not report.clean:
        raise typer.Exit(1)


def _format_json(report: Report) -> str:
    import dataclasses
    import json

    return json.dumps(dataclasses.asdict(report) | {"clean": report.clean}, indent=2) + "\n"


def _print_report(report: Report, as_json: Path | None) -> None:
    """Print the findings by kind, at most ten of each, and a summary."""
    from tessera.dataset.check import KINDS

    summary: list[str] = []
    for kind in KINDS:
        found = [finding for finding in report.findings if finding.kind == kind.name]
        if not found:
            continue
        summary.append(f"{len(found)} {kind.name}")
        typer.echo(make_printable(f"{kind.name} ({len(found)}){', a note' if kind.note else ''}: {kind.title}"))
        for finding in found[:_MOST_OF_A_KIND]:
            typer.echo(make_printable(f"  {finding.sentence}"))
        if len(found) > _MOST_OF_A_KIND:
            where = as_json if as_json is not None else "--json FILE"
            typer.echo(make_printable(f"  and {len(found) - _MOST_OF_A_KIND} more, all of them in {where}"))
    typer.echo(
        f"{format_count(report.pictures, 'picture')} examined: {', '.join(summary) if summary else 'nothing found'}."
    )


def _count_workers(workers: int | None) -> int:
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: expected 1 or more.")
    return workers or cores().usable


def _show_steps(steps: Iterable[Step], total: int) -> Iterator[Step]:
    """Yield the steps and show their number on a terminal."""
    on_terminal = sys.stderr.isatty()
    for number, step in enumerate(steps, 1):
        if on_terminal and (number % 10 == 0 or number == total):
            print(f"\r{number} of {total}", end="" if number < total else "\n", file=sys.stderr, flush=True)
        yield step
