"""`tessera config`: list and check recipes, print their JSON schema, and import other programs' configurations."""

from __future__ import annotations

import re
import shutil
import textwrap
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessera.cli import make_printable, print_error
from tessera.cli.shared_options import Overwrite
from tessera.errors import TesseraError, UsageError

if TYPE_CHECKING:
    from tessera.deploy.build_file import BuildConfig
    from tessera.train.recipe import Recipe
    from tessera.train.recipe_parts import OptimizerConfig
    from tessera.train.schedule import CosineRestarts, MultiStep

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List and check recipes; import configurations of other programs.",
)

Output = Annotated[Path | None, typer.Option("-o", "--output", help="Output file. [default: standard output]")]
_RECIPE = "Recipe name or TOML file."
_CHANGES = "Settings that override the recipe, such as data.train=photos data.batch=4."


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="Options file (.yml, .json, .toml) or ini file (.ini).")],
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert a configuration of another program into a recipe.

    Supported: BasicSR (from 2018 on), Real-ESRGAN, A-ESRGAN, traiNNer-redux, neosr, KAIR and esrdgan.

    A build file of VastModelZOO (YAML with frontend and backend) becomes one for `tessera export --build`, or for
    `tessera quantize --build` where it asks for int8. Settings without a counterpart are listed with
    the reason, in the file and on standard error.
    """
    from tessera.deploy.build_file import import_build, is_foreign_build
    from tessera.train.importing import import_config

    if output is not None and output.suffix.lower() != ".toml":
        raise UsageError(f"{output}: recipes and build files are TOML. Use a name that ends in .toml.")
    if is_foreign_build(file):
        imported = import_build(file)
        first, _, rest = imported.text.partition("\n")
        text = f"{first}\n# {_suggest_command(imported.build)}\n{rest}"
    else:
        imported = import_config(file)
        text = imported.text
    _write(text, output, overwrite=overwrite)
    for sentence in imported.sentences:
        print_error(f"{file}: {sentence}")


def _suggest_command(build: BuildConfig) -> str:
    """The command that makes a file of a build, once the words in capitals are replaced.

    >>> from tessera.deploy.build_file import BuildConfig
    >>> _suggest_command(BuildConfig(model="model.pth", precision="fp16"))
    'tessera export --build THIS_FILE -o model.onnx'
    """
    from tessera.deploy.build_file import is_onnx_name

    named = "--build THIS_FILE" if build.model and not is_onnx_name(build.model) else "MODEL --build THIS_FILE"
    if build.precision == "int8":  # the folder of the other program is seldom there, and may hold shrunk pictures
        return f"tessera quantize {named} --calibration FOLDER -o model.int8.xml"
    return f"tessera export {named} -o model.onnx"


@app.command()
def recipes() -> None:
    """List the recipes that come with the package."""
    from tessera.train.recipe import RECIPES

    width = max(map(len, RECIPES))
    across = shutil.get_terminal_size((120, 24)).columns
    for name in RECIPES:
        lines = textwrap.wrap(_read_summary(name), max(40, across - width - 3), break_on_hyphens=False) or [""]
        typer.echo(f"{name:<{width}}  {lines[0]}")
        for line in lines[1:]:
            typer.echo(f"{'':<{width}}  {line}")


def _read_summary(name: str) -> str:
    """The sentences that begin in the first line of the recipe's leading comment, whole."""
    from importlib import resources

    text = (resources.files("tessera.train") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    comment = [
        line.removeprefix("#").strip() for line in takewhile(lambda each: each.startswith("#"), text.split("\n"))
    ]
    first, joined = comment[0], " ".join(comment)
    end = re.compile(r"[.!?](?= [A-Z`]|$)").search(joined, len(first) - 1)
    return joined[: end.end()] if end else joined


@app.command()
def schema(output: Output = None, overwrite: Overwrite = False) -> None:
    """Print the JSON schema of recipe files, for editors (in a recipe: #:schema recipe.schema.json)."""
    from tessera.train.schema import format_schema

    _write(format_schema(), output, overwrite=overwrite)


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help=_RECIPE)],
    changes: Annotated[list[str] | None, typer.Argument(help=_CHANGES, metavar="[KEY=VALUE]...")] = None,
) -> None:
    """Validate a recipe and print a summary."""
    from tessera.train.downloads import describe_fresh_start
    from tessera.train.recipe import load_recipe

    found = load_recipe(recipe, changes or ())
    warning = describe_fresh_start(found)
    verdict = "the recipe is valid." if warning is None else f"the recipe is valid, but not sound. {warning}"
    typer.echo(f"{make_printable(recipe)}: {verdict}")
    for name, text in _summarize(found):
        typer.echo(f"  {name:<14} {make_printable(text)}")


def _summarize(recipe: Recipe) -> list[tuple[str, str]]:
    """Summarize a run, one named line per part."""
    discriminator_optimizer = recipe.discriminator_optimizer or recipe.optimizer
    length = f"{recipe.steps:,}" if recipe.steps else f"{recipe.epochs:,} epochs"
    side = recipe.data.patch
    lines = [
        (
            "generator",
            f"{recipe.generator.network}, x{recipe.generator.scale}; {_describe_start(recipe.start.generator)}",
        ),
        ("steps", f"{length}, each of {recipe.data.batch * recipe.step.accumulate} crops of {side}x{side} pixels"),
        ("rate", _describe_rates(recipe, recipe.optimizer, of_discriminator=False)),
    ]
    if recipe.discriminator is not None:
        lines += [
            ("discriminator", f"{recipe.discriminator.network}; {_describe_start(recipe.start.discriminator)}"),
            ("its rate", _describe_rates(recipe, discriminator_optimizer, of_discriminator=True)),
        ]
    if recipe.distillation is not None:
        share = f"{100 * recipe.distillation.share:g} % of the pixel and perceptual loss compares with its outputs"
        lines.append(("teacher", f"{recipe.distillation.teacher}; {share}"))
    inputs = "given" if recipe.data.lq is not None else f"generated by {recipe.degradation.kind}"
    places = ", ".join(map(_describe_place, recipe.data.train)) or "missing: give data.train=FOLDER"
    if recipe.validation.every and recipe.checkpoint.best:
        lines.append(("best by", f"{recipe.best_metrics[0]} of validations after the start"))
    return [*lines, ("pictures", f"{places}; inputs are {inputs}"), ("run", str(recipe.folder))]


def _describe_place(place: Path) -> str:
    return str(place) if place.exists() else f"{place}; not found"


def _describe_start(place: str) -> str:
    if not place:
        return "random initialization"
    path = Path(place)
    looks_like_file = len(path.parts) > 1
    missing = looks_like_file and not path.is_file()
    return f"starts from {place}" + ("; not found" if missing else "")


def _describe_rates(recipe: Recipe, optimizer: OptimizerConfig, *, of_discriminator: bool) -> str:
    """Describe the learning rate at the start and at each jump."""
    from tessera.train.schedule import list_rate_changes

    schedule = (recipe.discriminator_schedule if of_discriminator else None) or recipe.schedule
    warm_up = f"over {schedule.warm_up:,} steps up to " if schedule.warm_up else ""
    cosine = f", along a cosine down to {schedule.floor:g}" if schedule.kind == "cosine-restarts" else ""
    settled = schedule.model_copy(update={"warm_up": 0})
    if recipe.steps:
        marks = list_rate_changes(settled, optimizer.rate, recipe.steps)
        return warm_up + ", ".join(f"{rate:g} from step {step:,}" for step, rate in marks) + cosine
    marks = list_rate_changes(settled, optimizer.rate, _WHOLE_RUN) if _is_in_shares(settled) else [(1, optimizer.rate)]
    return warm_up + ", ".join(f"{rate:g} from {100 * (step - 1) / _WHOLE_RUN:g} %" for step, rate in marks) + cosine


_WHOLE_RUN = 10_000
"""Stands for a run whose steps follow from its pictures; its rates are given at shares of it."""


def _is_in_shares(schedule: MultiStep | CosineRestarts) -> bool:
    """Whether the schedule is in shares of the run, so that it needs no number of steps."""
    marks = schedule.milestones if schedule.kind == "multi-step" else schedule.periods
    return all(mark <= 1 for mark in marks)


def _write(text: str, output: Path | None, *, overwrite: bool) -> None:
    """Print a text, or write it to a file, whole or not at all."""
    if output is None:
        typer.echo(text, nl=False)
        return
    from tessera.storage.files import write_text

    if output.exists() and not overwrite:
        raise UsageError(f"{output} already exists. Choose another name, or replace it with --overwrite.")
    try:
        write_text(output, text)
    except OSError as error:
        raise TesseraError(f"{output}: cannot write this file ({error.strerror or error}).") from error
