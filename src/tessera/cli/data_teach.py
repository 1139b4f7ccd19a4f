"""`tessera data teach`: a store of pairs for distillation, of degraded inputs and a teacher's outputs."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tessera.cli import make_printable, print_error, print_progress
from tessera.cli.shared_options import Offline, Root
from tessera.errors import UsageError
from tessera.wording import format_count

_Opt = typer.Option
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The teacher: model name or weights file.")]
Photos = Annotated[
    list[Path], typer.Argument(metavar="PHOTO...", help="Folders, files, patterns, lists (.txt) or stores (.lmdb).")
]
Output = Annotated[Path, _Opt("-o", "--output", help="Folder for the store; it must not exist yet.")]
Pairs = Annotated[int, _Opt("--pairs", min=1, max=99_999_999, help="Number of pairs in the finished store.")]
Recipe = Annotated[
    Path | None, _Opt("--recipe", help="TOML file with [[kinds]] of inputs. [default: clean, mild and second order]")
]
Size = Annotated[int | None, _Opt("--size", help="Side of the inputs, in pixels. [default: 40]")]
Seed = Annotated[int | None, _Opt("--seed", min=0, help="Random seed; equal seeds give equal pairs. [default: 0]")]
Resume = Annotated[bool, _Opt("--resume", help="Finish or extend a store that was started with the same settings.")]
Workers = Annotated[int, _Opt("-j", "--workers", min=0, max=256, help="Reading processes; 0 = none.")]


def teach(
    model: Model,
    photos: Photos,
    output: Output,
    pairs: Pairs = 4000,
    recipe: Recipe = None,
    size: Size = None,
    seed: Seed = None,
    resume: Resume = False,
    workers: Workers = 0,
    root: Root = None,
    offline: Offline = False,
) -> None:
    """Make a store for distillation: `tessera data teach realesrgan-x4plus photos -o store`.

    Crops of the photographs are degraded, and the teacher upscales them once with the fastest exact engine. Train a
    smaller network on the pairs with `tessera train RECIPE data.train=store`. Exit codes: 0 complete, 1 incomplete,
    2 wrong usage.
    """
    from tessera.config import read_toml, validate
    from tessera.dataset.sources import list_pictures
    from tessera.planning.preparing import prepare
    from tessera.tiling.settings import Settings
    from tessera.train.teaching import TeachingConfig
    from tessera.train.teaching import teach as make_pairs
    from tessera.zoo.models import load_model

    values = read_toml(recipe) if recipe is not None else {}
    values |= {name: value for name, value in (("side", size), ("seed", seed)) if value is not None}
    config = validate(TeachingConfig, values, str(recipe or "--recipe"))
    listing = list_pictures(photos, root=root)
    teacher = load_model(model, offline=offline)
    if teacher.config.multiply_adds(1, 1) == 0:
        raise UsageError(f"{model}: expected weights of a known network; this file only runs in one engine.")
    engine = prepare(teacher, Settings(precision="exact"), pairs * config.side**2).pipeline.engine
    started, first, done = time.monotonic(), None, 0
    steps = make_pairs(
        *(teacher, engine, listing, output, config),
        pairs=pairs,
        resume=resume,
        workers=workers,
        show_message=print_error,
    )
    with contextlib.closing(steps):
        for done in steps:
            if first is None:
                first, started = done, time.monotonic()
            elif sys.stderr.isatty():
                rate = (done - first) / max(time.monotonic() - started, 1e-9)
                print_progress(f"{done:,} of {format_count(pairs, 'pair')}, {rate:.1f} per second, {engine.name}")
    typer.echo(
        make_printable(
            f"{output}: {format_count(done, 'pair')} by {teacher.name}, sha256 {teacher.sha256[:12]}, {engine.name}."
        )
    )
