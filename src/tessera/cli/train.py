"""`tessera train`: start a run from a recipe, or resume one."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.options import show_options
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
    with _Display(wanted, quiet=quiet) as display:
        outcome = run(wanted, resume=resume, restart=restart, display=display)
    if outcome.stopped_by:
        raise typer.Exit(128 + outcome.stopped_by)
    if outcome.is_first and not quiet:
        typer.echo(f"{make_printable(str(wanted.folder))}: {outcome.step:,} steps done.")


class _Display:
    """A progress bar where there is a terminal, and lines otherwise."""

    def __init__(self, recipe: Recipe, *, quiet: bool) -> None:
        self._quiet = quiet
        self._every = recipe.report.every
        self._bar: Any = None
        self._task: Any = None
        self._last = (0.0, -1)
        """Time and step of the last line."""

    def __enter__(self) -> _Display:
        if sys.stderr.isatty() and not self._quiet:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show_message(self, sentence: str) -> None:
        """Print a message above the progress bar."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(make_printable(show_options(sentence)), highlight=False, markup=False)
        else:
            print_error(show_options(sentence))

    def show_step(self, step: int, steps: int, values: dict[str, float]) -> None:
        """Show the losses of a finished step."""
        if self._quiet:
            return
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if "gradient" not in name)
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(shown, total=steps)
            self._bar.update(self._task, completed=step, description=shown)
            return
        then, before = self._last
        if before < 0:
            self._last = (time.monotonic(), step)
        if step % self._every == 0 or step == steps:
            now = time.monotonic()
            rate = f"  {(step - before) / (now - then):.2f} steps/s" if 0 <= before < step and now > then else ""
            print(f"step {step:,} of {steps:,}  {shown}{rate}", file=sys.stderr)
            self._last = (now, step)
