"""`tessera niqe`: score how natural pictures look, without references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.shared_options import NiqeModel, Offline, Recursive
from tessera.errors import UsageError
from tessera.evaluate.protocol import NiqeGray

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Opt = typer.Option
Inputs = Annotated[list[str] | None, typer.Argument(metavar="PATH", help="Pictures and folders.")]
Named = Annotated[
    list[str] | None, _Opt("--path", metavar="PATH", help="Same as PATH, as A-ESRGAN's script takes it; repeatable.")
]
Luma = Annotated[
    NiqeGray,
    _Opt(
        "--luma", "--convert", help="Gray conversion: y (MATLAB, BasicSR), gray (OpenCV) or pil-l (Pillow, A-ESRGAN)."
    ),
]
Crop = Annotated[int, _Opt("--crop", help="Pixels cropped from each side first.")]
AsCsv = Annotated[Path | None, _Opt("--csv", help="Also write the scores to this CSV file.")]


@app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def niqe(
    inputs: Inputs = None,
    path: Named = None,
    luma: Luma = "y",
    crop: Crop = 0,
    recursive: Recursive = False,
    as_csv: AsCsv = None,
    niqe_model: NiqeModel = None,
    offline: Offline = False,
) -> None:
    """Print the NIQE of each picture and their mean; lower looks more natural. Pictures need at least 192x96 pixels.

    Scores depend on the gray conversion: y is that of BasicSR and MATLAB, pil-l that of A-ESRGAN. Exit codes: 0 all
    scored, 1 some pictures failed, 2 wrong usage.
    """
    from tessera.evaluate.feeds import load_metrics
    from tessera.evaluate.protocol import find_protocol
    from tessera.evaluate.scoring import Scorer
    from tessera.metrics.metric import Sources

    given = [*(inputs or ()), *(path or ())]
    if not given:
        raise UsageError("Nothing to score: name pictures or folders, as in `tessera niqe results`.")
    protocol = find_protocol("paper", niqe_gray=luma, niqe_crop=crop)
    paths = _list_pictures(given, recursive=recursive)
    metrics = load_metrics(("niqe",), Sources(niqe_model=niqe_model, offline=offline))
    scorer = Scorer(metrics=metrics, protocol=protocol, scale=1)
    scores: dict[Path, float] = {}
    failed = False
    for picture in paths:
        found = scorer.score(picture)
        for problem in found.problems:
            failed = True
            print_error(problem)
        if "niqe" in found.scores:
            scores[picture] = found.scores["niqe"]
            typer.echo(f"{scores[picture]:.4f}  {make_printable(str(picture))}")
    if scores:
        mean = math.fsum(scores.values()) / len(scores)
        typer.echo(f"{mean:.4f}  mean of {len(scores)} ({scorer.protocol.describe(None)['NIQE on']})")
    if as_csv is not None:
        _write_csv(as_csv, scores)
    if failed or not scores:
        raise typer.Exit(1)


def _list_pictures(inputs: Sequence[str], *, recursive: bool) -> list[Path]:
    """List the pictures of files and folders, each once. Raises UsageError."""
    from tessera.images.formats import is_picture_name

    paths: list[Path] = []
    for text in inputs:
        place = Path(text)
        if place.is_dir():
            inside = sorted(place.rglob("*") if recursive else place.iterdir())
            pictures = [path for path in inside if path.is_file() and is_picture_name(path)]
            if not pictures:
                raise UsageError(f"{place}: no pictures in this folder.")
            paths += pictures
        elif place.exists():
            paths.append(place)
        else:
            raise UsageError(f"{place}: no such file or folder.")
    return list(dict.fromkeys(paths))


def _write_csv(path: Path, scores: dict[Path, float]) -> None:
    from tessera.evaluate.tables import format_csv
    from tessera.storage.files import write_text

    rows = [("picture", "niqe"), *((str(picture), score) for picture, score in scores.items())]
    try:
        write_text(path, format_csv(rows))
    except OSError as error:
        raise UsageError(f"--csv {path}: cannot be written ({error.strerror}).") from None
