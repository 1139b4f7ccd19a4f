"""`tessera train`: start a run from a recipe, or resume one."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.train_display import TrainingDisplay
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.train.recipe import Recipe

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_RECIPE = "Recipe name (see `tessera config recipes`) or TOML file."
_RESTART = (
    "Start at step 0; earlier results move to runs/NAME/earlier-1. With --resume: only if no checkpoint is intact."
)
_CHANGES = "Settings that override the recipe, such as data.train=photos data.batch=4 steps=20000."


@app.command(no_args_is_help=True)
def train(
    recipe: Annotated[str, typer.Argument(help=_RECIPE)],
    changes: Annotated[list[str] | None, typer.Argument(help=_CHANGES, metavar="[KEY=VALUE]...")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run from its last checkpoint.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help=_RESTART)] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the complete configuration and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Train a generator: from scratch, from published weights, with or without a discriminator.

    A run is stored in runs/NAME and can be stopped and resumed at any time. Start several processes with torchrun or
    accelerate launch: torchrun --nproc-per-node 2 -m tessera train RECIPE ...
    """
    from tessera.config import format_toml
    from tessera.train.loop import train as run
    from tessera.train.recipe import load_recipe
    from tessera.train.records import RunFolder
    from tessera.train.resuming import check_resumable, locate_run

    wanted = load_recipe(recipe, locate_run(recipe, changes or ()) if resume or restart else changes or ())
    folder = RunFolder(wanted.folder)
    if resume and (folder.exists or not restart):
        check_resumable(folder, wanted)
    if show:
        typer.echo(format_toml(wanted), nl=False)
        return
    if not wanted.data.train:
        raise UsageError("No training pictures: give data.train=FOLDER.")
    if not quiet and os.environ.get("RANK", "0") == "0":
        _announce_downloads(wanted, [recipe, *(changes or ()), *(["--resume"] if resume else [])])
    with TrainingDisplay(every=wanted.report.every, quiet=quiet) as display:
        outcome = run(wanted, resume=resume, restart=restart, display=display)
    if outcome.stopped_by:
        raise typer.Exit(128 + outcome.stopped_by)
    if outcome.is_first and not quiet:
        typer.echo(f"{make_printable(str(wanted.folder))}: {outcome.step:,} steps done.")


def _announce_downloads(recipe: Recipe, arguments: list[str]) -> None:
    """Say what has to be downloaded before the first step, how large it is, and how to train without it."""
    from tessera.train.downloads import list_missing

    for missing in list_missing(recipe):
        size = f" ({missing.bytes / 1e6:,.0f} MB)" if missing.bytes else ""
        print_error(f"{missing.key}: {missing.name}{size} is not on this machine; downloading it first.")
        if missing.instead:
            line = shlex.join(["tessera", "train", *arguments, *missing.instead])
            print_error(f"To train without it: {make_printable(line)}")
