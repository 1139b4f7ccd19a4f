"""`tessera train`: begin a run from a recipe, or go on with one."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tessera.cli import make_printable, print_error
from tessera.errors import UsageError

if TYPE_CHECKING:
    from tessera.train.recipe import Recipe

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_RECIPE = "A recipe's name (`tessera config recipes` lists them) or a TOML file."
_CHANGES = "Changes to it, such as data.train=photos data.batch=4 steps=20000."


@app.command(no_args_is_help=True)
def train(
    recipe: Annotated[str, typer.Argument(help=_RECIPE)],
    changes: Annotated[list[str] | None, typer.Argument(help=_CHANGES, metavar="[KEY=VALUE]...")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run from its last checkpoint.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the complete configuration, and do nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
) -> None:
    """Train a generator: from scratch, from published weights, with or without a discriminator.

    A run lives in runs/NAME and can be stopped and resumed at any time. Several processes are started with torchrun or
    accelerate launch: torchrun --nproc-per-node 2 -m tessera train RECIPE ...
    """
    from tessera.config import format_toml
    from tessera.train.loop import train as run
    from tessera.train.recipe import load_recipe

    wanted = load_recipe(recipe, changes or ())
    if resume:
        wanted = _going_on(wanted)
    if show:
        typer.echo(format_toml(wanted), nl=False)
        return
    if not wanted.data.train:
        raise UsageError("There is nothing to train on: give data.train=FOLDER.")
    with _Shown(wanted, quiet=quiet) as shown:
        outcome = run(wanted, resume=resume, display=shown)
    if outcome.stopped_by:
        raise typer.Exit(128 + outcome.stopped_by)
    if outcome.is_first and not quiet:
        typer.echo(f"{make_printable(str(wanted.folder))}: {outcome.step:,} steps done.")


def _going_on(wanted: Recipe) -> Recipe:
    """What was begun, with what may be changed; refuse what may not."""
    from tessera.config import read_toml, validate
    from tessera.train.recipe import Recipe, find_fixed_differences
    from tessera.train.records import CONFIG_NAME

    path = wanted.folder / CONFIG_NAME
    if not path.exists():
        raise UsageError(f"{wanted.folder}: there is no run to go on with. Leave out --resume to begin one.")
    begun = validate(Recipe, read_toml(path), str(path))
    different = find_fixed_differences(begun, wanted)
    if different:
        raise UsageError(
            f"{wanted.folder}: this run was begun with another {' and '.join(different)}, and cannot change it. Go on"
            f" as it was begun (tessera train {path} --resume), or begin another run with name=..."
        )
    return wanted


class _Shown:
    """A progress bar where there is a terminal, and lines otherwise."""

    def __init__(self, recipe: Recipe, *, quiet: bool) -> None:
        self._quiet = quiet
        self._every = recipe.report.every
        self._bar: Any = None
        self._task: Any = None
        self._last = (0.0, -1)
        """When, and at which step, a line was last written."""

    def __enter__(self) -> _Shown:
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
        """A sentence, above the bar."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(make_printable(sentence), highlight=False, markup=False)
        else:
            print_error(sentence)

    def show_step(self, step: int, steps: int, values: dict[str, float]) -> None:
        """A step is done."""
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
