"""`tessera attention`: attention maps of a discriminator, over time and over depth."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.shared_options import Quiet
from tessera.engines.devices import parse_device
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.explain.record import PictureRecord
    from tessera.explain.run import ReadSubject
    from tessera.explain.series import CheckpointSeries
    from tessera.explain.settings import ViewSettings

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option


def _list_colormaps() -> list[str]:
    from tessera.explain.colormaps import Colormap

    return list(get_args(Colormap))


def _list_animations() -> list[str]:
    from tessera.explain.settings import AnimationFormat

    return list(get_args(AnimationFormat))


def _list_generator_weights() -> list[str]:
    from tessera.explain.settings import GeneratorWeights

    return list(get_args(GeneratorWeights))


_WEIGHTS = (".pth", ".pt", ".ckpt", ".safetensors", ".zip")
Pictures = Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="Pictures, or folders of them.")]
Checkpoints = Annotated[
    list[str] | None,
    _Opt(
        "--checkpoints",
        "-c",
        help="A run, a folder or ZIP archive of checkpoints, a file, or a published discriminator; repeatable.",
    ),
]
Output = Annotated[Path, _Opt("-o", "--output", help="Output folder.")]
Reference = Annotated[
    Path | None, _Opt("--reference", help="Ground-truth image of the same size; PICTURE is then a generated one.")
]
Generated = Annotated[
    Path | None, _Opt("--generated", help="Generated picture, instead of one by the run's generator.")
]
Model = Annotated[
    str | None, _Opt("-n", "--model", help="Model or weights file that generates from the downsampled PICTURE.")
]
RealOnly = Annotated[bool, _Opt("--real-only", help="Use the real picture only.")]
Weights = Annotated[
    str,
    _Opt(
        "--generator",
        help="Weights of the run's generator: raw, which the discriminator saw, or averaged.",
        autocompletion=_list_generator_weights,
    ),
]
NoAnswers = Annotated[bool, _Opt("--no-answers", help="Draw maps only, which takes a small part of the time.")]
AsPublished = Annotated[
    bool, _Opt("--as-published", help="Reproduce the published scripts: BGR, networks in training mode.")
]
Bgr = Annotated[bool, _Opt("--bgr", help="Feed BGR to the discriminator, as the published scripts do.")]
Mix = Annotated[float, _Opt("--mix", help="Share of the heat map over the picture, 0 to 1.")]
Stretch = Annotated[bool, _Opt("--stretch", help="Scale each map from its minimum to its maximum.")]
Colors = Annotated[str, _Opt("--colormap", help="jet (as published), viridis or gray.", autocompletion=_list_colormaps)]
Animation = Annotated[str, _Opt("--animation", help="webp, gif or none.", autocompletion=_list_animations)]
Device = Annotated[str, _Opt("-g", "--device", help="cpu, cuda, cuda:1, mps, or the number of a GPU (0 is the first).")]
Overwrite = Annotated[bool, _Opt("--overwrite", help="Write into a folder that contains other files.")]


@app.command(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def attention(
    pictures: Pictures,
    checkpoints: Checkpoints = None,
    output: Output = Path("attention"),
    reference: Reference = None,
    generated: Generated = None,
    model: Model = None,
    real_only: RealOnly = False,
    generator: Weights = "raw",
    no_answers: NoAnswers = False,
    as_published: AsPublished = False,
    bgr: Bgr = False,
    colormap: Colors = "jet",
    mix: Mix = 0.7,
    stretch: Stretch = False,
    animation: Animation = "webp",
    device: Device = "cpu",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Draw attention maps of a discriminator: `tessera attention photo.png --checkpoints runs/NAME -o maps`.

    Writes the map of every gate at every checkpoint (A3_D1_5000.png: gate 3, network 1, step 5000), the maps at the
    picture's size, alone and overlaid, the logits, contact sheets and an animation over time, attention.json and
    attention.html. Exit codes: 0 done, 1 some pictures or checkpoints could not be read, 2 wrong usage.
    """
    given = [path for path in pictures if path.suffix.lower() not in _WEIGHTS]
    named = [*(checkpoints or ()), *(str(path) for path in pictures if path.suffix.lower() in _WEIGHTS)]
    _check_words(given, named, reference=reference, generated=generated, model=model, real_only=real_only)
    view = _build_view(
        colormap=colormap,
        mix=mix,
        stretch=stretch,
        bgr=bgr,
        animation=animation,
        device=parse_device(device),
        real_only=real_only,
        generator=generator,
        answers=not no_answers,
        as_published=as_published,
    )
    found = _list_pictures(given)
    _check_output(output, [*found, *(each for each in (reference, generated) if each is not None)], overwrite)

    from tessera.explain.run import explain_series
    from tessera.explain.series import find_checkpoints
    from tessera.zoo.discriminators import find_checkpoint_place

    checkpoints_found = find_checkpoints([find_checkpoint_place(each) for each in named])
    with _show_progress(len(checkpoints_found) * len(found), quiet=quiet) as done:
        subjects = _plan_subjects(found, reference, generated, model)
        made = explain_series(subjects, checkpoints_found, output, view, on_done=done)
    for problem in made.problems:
        print_error(problem)
    if not quiet:
        _print_summary(output, made.series, made.pictures)
    if made.problems:
        raise typer.Exit(1)


def _check_words(
    pictures: Sequence[Path],
    places: Sequence[str],
    *,
    reference: Path | None,
    generated: Path | None,
    model: str | None,
    real_only: bool,
) -> None:
    """Raise UsageError for missing inputs and for options that exclude each other."""
    if not pictures:
        raise UsageError("Name a picture, as in `tessera attention photo.png --checkpoints runs/NAME`.")
    if not places:
        raise UsageError("Name the checkpoints of a discriminator, as in --checkpoints runs/NAME.")
    chosen = {
        "--reference": reference is not None,
        "--generated": generated is not None,
        "--model": model is not None,
        "--real-only": real_only,
    }
    both = [name for name, is_given in chosen.items() if is_given]
    if len(both) > 1:
        raise UsageError(f"{' and '.join(both)} exclude each other: each defines the generated picture. Use one.")


def _build_view(**choices: Any) -> ViewSettings:
    from pydantic import ValidationError

    from tessera.explain.settings import ViewSettings

    try:
        return ViewSettings(**choices)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise UsageError(f"--as-published: {first['msg'].removeprefix('Value error, ')}.") from None
        raise UsageError(f"--{first['loc'][0]} {first['input']}: {first['msg']}.") from None


def _list_pictures(given: Sequence[Path]) -> list[Path]:
    """List the pictures of files and folders, each once."""
    from tessera.images.formats import is_picture_name

    found: list[Path] = []
    for path in given:
        if os.path.isdir(path):  # noqa: PTH112 - False, not an error, for any text
            inside = [each for each in sorted(path.iterdir()) if is_picture_name(each) and each.is_file()]
            if not inside:
                raise UsageError(f"{path}: no pictures in this folder.")
            found += inside
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _check_output(output: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    from tessera.explain.run import NUMBERS_NAME

    if output.exists() and not output.is_dir():
        raise UsageError(f"-o {output}: is a file; name a folder.")
    real = os.path.realpath(output)
    for each in inputs:
        if os.path.commonpath([real, os.path.realpath(each)]) == real:
            raise UsageError(
                f"-o {output}: the folder contains the input {each}. Name another folder, such as -o maps."
            )
    if output.is_dir() and any(output.iterdir()) and not (output / NUMBERS_NAME).exists() and not overwrite:
        raise UsageError(f"-o {output}: the folder contains other files. Name another folder, or add --overwrite.")


def _plan_subjects(
    found: Sequence[Path], reference: Path | None, generated: Path | None, model: str | None
) -> dict[Path, ReadSubject]:
    """A reader for each picture, by its folder below the output (its name where there are several pictures)."""
    from tessera.explain.subject import read_subject
    from tessera.upscaling.finding import fold_name

    if len(found) > 1 and generated is not None:
        raise UsageError(f"--generated {generated} is for one picture, found {len(found)}.")
    loaded: Any = None
    if model is not None:
        from tessera.zoo.models import load_model

        loaded = load_model(model)
    subjects: dict[Path, ReadSubject] = {}
    taken: set[str] = set()
    for path in found:
        folder = Path(path.stem) if len(found) > 1 else Path()
        number = 1
        while fold_name(folder) in taken:
            number += 1
            folder = Path(f"{path.stem}-{number}")
        taken.add(fold_name(folder))
        subjects[folder] = partial(read_subject, path, reference=reference, generated=generated, model=loaded)
    return subjects


def _print_summary(output: Path, series: CheckpointSeries, records: Sequence[PictureRecord]) -> None:
    """Print the place of the page, and the agreement of each gate with edges."""
    from tessera.explain.maps import list_gates
    from tessera.explain.run import PAGE_NAME

    gates, count = list_gates(series.config), len(series.checkpoints)
    typer.echo(
        make_printable(
            f"{output}: {len(gates)} gates at {count} checkpoint{'' if count == 1 else 's'}, {len(records)}"
            f" picture{'' if len(records) == 1 else 's'}; open {output / PAGE_NAME}."
        )
    )
    of = "" if len(records) == 1 else f", mean of {len(records)} pictures"
    for gate in gates:
        ends: list[str] = []
        for place in (0, -1)[-min(2, count) :]:
            found = [record.values(record.role, gate.name, "edges_rank")[place] for record in records]
            known = [each for each in found if not math.isnan(each)]
            value = f"{sum(known) / len(known):.3f}" if known else "unknown"
            ends.append(f"{value} at {series.checkpoints[place].label}")
        typer.echo(make_printable(f"{gate.name} and edges, rank correlation{of}: {', '.join(ends)}"))


@contextmanager
def _show_progress(total: int, *, quiet: bool) -> Generator[Callable[[str], None]]:
    """Show a progress bar on standard error, if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda words: bar.update(task, advance=1, description=make_printable(words))
