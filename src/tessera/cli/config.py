"""`tessera config`: recipes listed, checked and described to editors; other programs' configurations imported."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessera.cli import make_printable, print_error
from tessera.errors import TesseraError, UsageError

if TYPE_CHECKING:
    from tessera.train.recipe import OptimizerConfig, Recipe
    from tessera.train.schedule import CosineRestarts, MultiStep

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List and check recipes; import those of BasicSR, Real-ESRGAN, A-ESRGAN, esrdgan and VastModelZOO.",
)

Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write it to this file instead of the terminal.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]
_RECIPE = "A recipe's name or a TOML file."
_CHANGES = "Changes to it, such as data.train=photos data.batch=4."


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="An options file (.yml, .json) or an ini file (.ini).")],
    output: Output = None,
    force: Force = False,
) -> None:
    """Turn the configuration of BasicSR, Real-ESRGAN, A-ESRGAN or esrdgan into a recipe.

    A build file of VastModelZOO (YAML with frontend and backend) becomes one for `tessera export --build`, or for
    `tessera quantize --build` where it asks for int8. What has no counterpart is listed, with the reason, in the file
    and on standard error.
    """
    from tessera.deploy.build_file import import_build, is_foreign_build
    from tessera.train.importing import import_config

    if output is not None and output.suffix.lower() != ".toml":
        raise UsageError(f"{output}: recipes and build files are TOML. Let the name end in .toml.")
    imported = import_build(file) if is_foreign_build(file) else import_config(file)
    _hand_out(imported.text, output, force=force)
    for sentence in imported.sentences:
        print_error(f"{file}: {sentence}")


@app.command()
def recipes() -> None:
    """List the recipes that come with the package."""
    from tessera.train.recipe import RECIPES

    width = max(map(len, RECIPES))
    for name in RECIPES:
        typer.echo(f"{name:<{width}}  {_first_comment(name)}")


def _first_comment(name: str) -> str:
    from importlib import resources

    text = (resources.files("tessera.train") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    return text.partition("\n")[0].removeprefix("#").strip()


@app.command()
def schema(output: Output = None, force: Force = False) -> None:
    """Print the JSON schema of recipe files, for editors (in a recipe: #:schema recipe.schema.json)."""
    from tessera.train.schema import schema_text

    _hand_out(schema_text(), output, force=force)


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help=_RECIPE)],
    changes: Annotated[list[str] | None, typer.Argument(help=_CHANGES, metavar="[KEY=VALUE]...")] = None,
) -> None:
    """Say whether a recipe is sound, and what it comes to."""
    from tessera.train.recipe import load_recipe

    found = load_recipe(recipe, changes or ())
    typer.echo(f"{make_printable(recipe)}: this recipe is sound.")
    for name, text in _summary(found):
        typer.echo(f"  {name:<14} {make_printable(text)}")


def _summary(recipe: Recipe) -> list[tuple[str, str]]:
    """What a run will be, in lines with a name each."""
    judging = recipe.discriminator_optimizer or recipe.optimizer
    length = f"{recipe.steps:,}" if recipe.steps else f"as many as {recipe.epochs:,} passes over the pictures take"
    side = recipe.data.patch
    lines = [
        ("generator", f"{recipe.generator.network}, x{recipe.generator.scale}; {_begins(recipe.start.generator)}"),
        ("steps", f"{length}, each of {recipe.data.batch * recipe.step.accumulate} crops of {side}x{side} pixels"),
        ("rate", _rates(recipe, recipe.optimizer, of_discriminator=False)),
    ]
    if recipe.discriminator is not None:
        lines += [
            ("discriminator", f"{recipe.discriminator.network}; {_begins(recipe.start.discriminator)}"),
            ("its rate", _rates(recipe, judging, of_discriminator=True)),
        ]
    if recipe.distillation is not None:
        share = f"{100 * recipe.distillation.share:g} % of pixel and perceptual loss compare with its outputs"
        lines.append(("teacher", f"{recipe.distillation.teacher}; {share}"))
    inputs = "given" if recipe.data.lq is not None else f"made by {recipe.degradation.kind}"
    places = ", ".join(map(_there, recipe.data.train)) or "nothing yet: give data.train=FOLDER"
    return [*lines, ("pictures", f"{places}; inputs are {inputs}"), ("run", str(recipe.folder))]


def _there(place: Path) -> str:
    return str(place) if place.exists() else f"{place}, which is not there"


def _begins(place: str) -> str:
    if not place:
        return "begins fresh"
    path = Path(place)
    looks_like_file = len(path.parts) > 1
    missing = looks_like_file and not path.is_file()
    return f"begins from {place}" + (", which is not there" if missing else "")


def _rates(recipe: Recipe, optimizer: OptimizerConfig, *, of_discriminator: bool) -> str:
    """The rate at the beginning and wherever it jumps."""
    from tessera.train.schedule import list_rate_changes

    schedule = (recipe.discriminator_schedule if of_discriminator else None) or recipe.schedule
    warm_up = f"over {schedule.warm_up:,} steps up to " if schedule.warm_up else ""
    cosine = f", along a cosine down to {schedule.floor:g}" if schedule.kind == "cosine-restarts" else ""
    settled = schedule.model_copy(update={"warm_up": 0})
    if recipe.steps:
        marks = list_rate_changes(settled, optimizer.rate, recipe.steps)
        return warm_up + ", ".join(f"{rate:g} from step {step:,}" for step, rate in marks) + cosine
    marks = list_rate_changes(settled, optimizer.rate, _WHOLE_RUN) if _in_shares(settled) else [(1, optimizer.rate)]
    return warm_up + ", ".join(f"{rate:g} from {100 * (step - 1) / _WHOLE_RUN:g} %" for step, rate in marks) + cosine


_WHOLE_RUN = 10_000
"""Stands for a run whose steps follow from its pictures; its rates are told at shares of it."""


def _in_shares(schedule: MultiStep | CosineRestarts) -> bool:
    """Whether the schedule needs no number of steps, which follows from the pictures where passes are counted."""
    marks = schedule.milestones if schedule.kind == "multi-step" else schedule.periods
    return all(mark <= 1 for mark in marks)


def _hand_out(text: str, output: Path | None, *, force: bool) -> None:
    """Print a text, or write it as a file, whole or not at all."""
    if output is None:
        typer.echo(text, nl=False)
        return
    from tessera.storage.atomic import choose_temporary_name, put_in_place

    if output.exists() and not force:
        raise UsageError(f"{output}: this file exists. --force replaces it.")
    temporary = choose_temporary_name(output)
    try:
        temporary.write_text(text, encoding="utf-8")
        put_in_place(temporary, output)
    except OSError as error:
        raise TesseraError(f"{output}: this file cannot be written ({error.strerror or error}).") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
