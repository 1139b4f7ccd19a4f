"""`tessera data`: training pictures cut into windows, and searched for what harms a training."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from tessera.cli import print_error, printable
from tessera.cli.data_teach import teach
from tessera.cli.reports import check_reports, write_report
from tessera.errors import PictureError, UsageError
from tessera.machine import cores
from tessera.wording import counted

if TYPE_CHECKING:
    from tessera.dataset.check import Report
    from tessera.dataset.sub_images import Cut

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Cut training pictures into windows, and find what is wrong with them.",
)

app.command()(teach)

_Opt = typer.Option
_MOST_OF_A_KIND = 10
Step = TypeVar("Step")

Places = Annotated[
    list[Path], typer.Argument(metavar="FOLDER...", help="Folders, files, patterns, lists (.txt) or stores (.lmdb).")
]
Root = Annotated[Path | None, _Opt("--root", help="The folder that paths in lists begin at. [default: the list's]")]
Recursive = Annotated[bool, _Opt("--recursive/--flat", help="Whether folders below count as well.")]
Workers = Annotated[int | None, _Opt("-j", "--workers", help="Processes. [default: the processor's cores]")]
Output = Annotated[Path, _Opt("-o", "--output", help="The folder for the windows; it may not exist.")]
Size = Annotated[int, _Opt("--size", help="Side of a window, in pixels.")]
StepOption = Annotated[int, _Opt("--step", help="From one window to the next, in pixels.")]
Threshold = Annotated[int, _Opt("--threshold", help="A rest of at most so many pixels gets no window of its own.")]
Compression = Annotated[int, _Opt("--compression", help="PNG: 0 fast to 9 small.")]
Multiscale = Annotated[bool, _Opt("--multiscale", help="Also of the picture at 3/4, 1/2, 1/3 and a short side of 400.")]
Resume = Annotated[bool, _Opt("--resume", help="Go on in a folder that was begun with the same settings.")]
Lq = Annotated[list[Path] | None, _Opt("--lq", help="The inputs that belong to the pictures; once for each FOLDER.")]
Scale = Annotated[int, _Opt("-s", "--scale", help="With --lq: how many times smaller they are.")]
Against = Annotated[list[Path] | None, _Opt("--against", help="A test set that may not be trained on; repeatable.")]
Smallest = Annotated[int, _Opt("--smallest", help="Pictures with a side below this are reported.")]
Json = Annotated[Path | None, _Opt("--json", help="Write all findings into this file.")]


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
    """Cut pictures into overlapping windows, NAME_s001.png and on, as BasicSR does for DF2K.

    Training reads pictures of any size without it; windows pay when the disk is slow or pictures are very large. x2,
    x3, x4 and x8 are left out of names, so that truths and inputs keep theirs in common. Exit code: 0 all cut, 1 some
    could not be read, 2 wrong usage.
    """
    if size < 8 or step < 1 or threshold < 0 or not 0 <= compression <= 9:
        raise UsageError("--size starts at 8, --step at 1, --threshold at 0, and --compression goes from 0 to 9.")
    from tessera.dataset.sources import list_pictures
    from tessera.dataset.sub_images import CropsConfig, cut_all

    config = CropsConfig(size=size, step=step, threshold=threshold, compression=compression, multiscale=multiscale)
    refs = list_pictures(places, root=root, recursive=recursive).gt
    done: list[Cut] = []
    failed = 0
    for _, result in _shown(cut_all(refs, output, config, workers=_processes(workers), resume=resume), len(refs)):
        if isinstance(result, PictureError):
            failed += 1
            print_error(str(result))
        else:
            done.append(result)
    small = sum(cut.smaller_than_size for cut in done)
    if small:
        typer.echo(f"note: {counted(small, 'picture')} smaller than {size} on a side; so are the windows.", err=True)
    before = sum(cut.there_before for cut in done)
    said = f", {before} of them there before" if before else ""
    lost = f", {failed} could not be read" if failed else ""
    windows = sum(cut.windows for cut in done)
    typer.echo(printable(f"{output}: {counted(windows, 'window')} of {counted(len(done), 'picture')}{said}{lost}."))
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
    """Find what harms a training: `tessera data check train --lq train_x4 --against Set5 --against Set14`.

    Every picture is read to its end. Reported are files that are damaged, equal or nearly equal pictures, pictures that
    are tested on, pairs that do not belong together or do not lie on each other, pictures that were enlarged before,
    JPEG blocks, empty and tiny ones. Exit code: 0 clean, 1 something was found, 2 wrong usage.
    """
    if scale < 1 or smallest < 1:
        raise UsageError("--scale and --smallest start at 1.")
    check_reports({"--json": as_json})
    from tessera.dataset.check import check as check_pictures
    from tessera.dataset.sources import list_pictures

    listing = list_pictures(places, lq, root=root, recursive=recursive)
    tested = list_pictures(against, recursive=recursive).gt if against else ()
    report = check_pictures(
        listing, scale=scale, against=tested, smallest=smallest, workers=_processes(workers), watch=_shown
    )
    write_report(as_json, _as_json(report))
    _print(report, as_json)
    if not report.clean:
        raise typer.Exit(1)


def _as_json(report: Report) -> str:
    import dataclasses
    import json

    return json.dumps(dataclasses.asdict(report) | {"clean": report.clean}, indent=2) + "\n"


def _print(report: Report, as_json: Path | None) -> None:
    """The findings by kind, at most ten of each, and one line at the end."""
    from tessera.dataset.check import KINDS

    said: list[str] = []
    for kind in KINDS:
        found = [finding for finding in report.findings if finding.kind == kind.name]
        if not found:
            continue
        said.append(f"{len(found)} {kind.name}")
        typer.echo(printable(f"{kind.name} ({len(found)}){', a note' if kind.note else ''}: {kind.title}"))
        for finding in found[:_MOST_OF_A_KIND]:
            typer.echo(printable(f"  {finding.sentence}"))
        if len(found) > _MOST_OF_A_KIND:
            where = as_json if as_json is not None else "--json FILE"
            typer.echo(printable(f"  and {len(found) - _MOST_OF_A_KIND} more, all of them in {where}"))
    typer.echo(f"{counted(report.pictures, 'picture')} examined: {', '.join(said) if said else 'nothing found'}.")


def _processes(workers: int | None) -> int:
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: expected 1 or more.")
    return workers or cores().usable


def _shown(steps: Iterable[Step], total: int) -> Iterator[Step]:
    """The steps as they come, counted on a terminal."""
    counted = sys.stderr.isatty()
    for number, step in enumerate(steps, 1):
        if counted and (number % 10 == 0 or number == total):
            print(f"\r{number} of {total}", end="" if number < total else "\n", file=sys.stderr, flush=True)
        yield step
