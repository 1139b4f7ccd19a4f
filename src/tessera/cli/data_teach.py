"""`tessera data teach`: pairs of inputs and what a teacher makes of them, for a student to learn from."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tessera.cli import print_error, print_progress, printable
from tessera.errors import UsageError
from tessera.wording import counted

_Opt = typer.Option
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The teacher: a name of `tessera models list`, or a file.")]
Photos = Annotated[
    list[Path], typer.Argument(metavar="PHOTOS...", help="Folders, files, patterns, lists (.txt) or stores (.lmdb).")
]
Output = Annotated[Path, _Opt("-o", "--output", help="The folder for the store; it may not exist.")]
Pairs = Annotated[int, _Opt("--pairs", min=1, max=99_999_999, help="How many pairs the store has in the end.")]
Recipe = Annotated[
    Path | None, _Opt("--recipe", help="A TOML file with [[kinds]] of inputs. [default: clean, mild and second order]")
]
Side = Annotated[int | None, _Opt("--side", help="Side of the inputs, in pixels. [default: 40]")]
Seed = Annotated[int | None, _Opt("--seed", min=0, help="The same seed makes the same pairs. [default: 0]")]
Resume = Annotated[bool, _Opt("--resume", help="Finish a store that was begun with the same settings, or add to it.")]
Workers = Annotated[int, _Opt("-j", "--workers", min=0, max=256, help="Processes that read; 0 reads in between.")]
Offline = Annotated[bool, _Opt("--offline", help="Never download weights; say instead where they belong.")]
Root = Annotated[Path | None, _Opt("--root", help="The folder that paths in lists begin at. [default: the list's]")]


def teach(
    model: Model,
    photos: Photos,
    output: Output,
    pairs: Pairs = 4000,
    recipe: Recipe = None,
    side: Side = None,
    seed: Seed = None,
    resume: Resume = False,
    workers: Workers = 0,
    root: Root = None,
    offline: Offline = False,
) -> None:
    """Make a store that a student learns from: `tessera data teach realesrgan-x4plus photos -o store`.

    Crops of the photographs are degraded, the teacher enlarges them once, with the fastest engine that is exact, and
    the pairs are kept: `tessera train RECIPE data.train=store`. Exit code: 0 all made, 1 not, 2 wrong usage.
    """
    from tessera.config import checked, read_toml
    from tessera.dataset.sources import list_pictures
    from tessera.planning.preparing import prepare
    from tessera.tiling.settings import Settings
    from tessera.train.teaching import TeachingConfig
    from tessera.train.teaching import teach as make
    from tessera.zoo.models import load_model

    values = read_toml(recipe) if recipe is not None else {}
    values |= {name: value for name, value in (("side", side), ("seed", seed)) if value is not None}
    config = checked(TeachingConfig, values, str(recipe or "--recipe"))
    listing = list_pictures(photos, root=root)
    teacher = load_model(model, offline=offline)
    if teacher.config.multiply_adds(1, 1) == 0:
        raise UsageError(f"{model}: is not a network that Tessera can plan for; take its weights.")
    engine = prepare(teacher, Settings(precision="exact"), pairs * config.side**2).enlarger.engine
    began, first, done = time.monotonic(), None, 0
    with contextlib.closing(
        make(
            *(teacher, engine, listing, output, config),
            pairs=pairs,
            resume=resume,
            workers=workers,
            say=print_error,
        )
    ) as making:
        for done in making:
            if first is None:
                first, began = done, time.monotonic()
            elif sys.stderr.isatty():
                rate = (done - first) / max(time.monotonic() - began, 1e-9)
                print_progress(f"{done:,} of {counted(pairs, 'pair')}, {rate:.1f} a second, {engine.name}")
    typer.echo(
        printable(f"{output}: {counted(done, 'pair')} by {teacher.name}, sha256 {teacher.sha256[:12]}, {engine.name}.")
    )
