"""`tessera niqe`: how natural pictures look, by their statistics alone."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.measuring import pristine_model, protocol_from_options
from tessera.errors import UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Inputs = Annotated[list[str] | None, typer.Argument(metavar="PATH", help="Pictures and folders.")]
Luma = Annotated[
    str, _Opt("--luma", "--convert", help="y (MATLAB, BasicSR), gray (OpenCV) or pil-l (Pillow, A-ESRGAN).")
]
Crop = Annotated[int, _Opt("--crop", help="Pixels cut from each side first.")]
Recursive = Annotated[bool, _Opt("-r", "--recursive", help="Folders below, too.")]
AsCsv = Annotated[Path | None, _Opt("--csv", help="Also write the scores here.")]
NiqeModel = Annotated[Path | None, _Opt("--niqe-model", help="NIQE's statistics (.npz). [default: fetched]")]
Offline = Annotated[bool, _Opt("--offline", help="Never download anything.")]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def niqe(
    inputs: Inputs = None,
    luma: Luma = "y",
    crop: Crop = 0,
    recursive: Recursive = False,
    as_csv: AsCsv = None,
    niqe_model: NiqeModel = None,
    offline: Offline = False,
) -> None:
    """Print the NIQE of each picture and their mean; lower looks more natural. Pictures need 192x96 pixels.

    Which gray is used decides the number: y is BasicSR's and MATLAB's, pil-l A-ESRGAN's. Exit code: 0 all scored, 1
    some could not be, 2 wrong usage.
    """
    from tessera.evaluate.scoring import Scorer
    from tessera.images.formats import is_picture_name

    if not inputs:
        raise UsageError("Nothing to score: name pictures or folders, as in `tessera niqe results`.")
    if crop < 0:
        raise UsageError(f"--crop {crop}: expected a number of pixels.")
    protocol = protocol_from_options("paper", luma=luma)
    paths: list[Path] = []
    for text in inputs:
        place = Path(text)
        if place.is_dir():
            found = sorted(place.rglob("*") if recursive else place.iterdir())
            pictures = [path for path in found if path.is_file() and is_picture_name(path)]
            if not pictures:
                raise UsageError(f"{place}: there are no pictures in this folder.")
            paths += pictures
        elif place.exists():
            paths.append(place)
        else:
            raise UsageError(f"{place}: there is no such file or folder.")
    import dataclasses

    scorer = Scorer(
        metrics=("niqe",),
        protocol=dataclasses.replace(protocol, niqe_crop=crop),
        scale=1,
        pristine=pristine_model(niqe_model, offline=offline),
    )
    scores: dict[Path, float] = {}
    problems = 0
    for path in dict.fromkeys(paths):
        measured = scorer.measure(path)
        for problem in measured.problems:
            problems += 1
            print_error(problem)
        if "niqe" in measured.scores:
            scores[path] = measured.scores["niqe"]
            typer.echo(f"{scores[path]:.4f}  {make_printable(str(path))}")
    if scores:
        mean = math.fsum(scores.values()) / len(scores)
        typer.echo(f"{mean:.4f}  mean of {len(scores)} ({scorer.protocol.in_words(None)['NIQE on']})")
    if as_csv is not None:
        _write_csv(as_csv, scores)
    if problems or not scores:
        raise typer.Exit(1)


def _write_csv(path: Path, scores: dict[Path, float]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8", errors=sys.getfilesystemencodeerrors()) as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["picture", "niqe"])
            table.writerows([str(picture), score] for picture, score in scores.items())
    except OSError as error:
        raise UsageError(f"--csv {path}: cannot be written: {error.strerror}.") from None
