"""Files that a recipe needs and that are not on this machine: what is downloaded before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tessera.errors import TesseraError
from tessera.losses.perceptual import PerceptualConfig
from tessera.train.recipe import Recipe
from tessera.trunks import TRUNKS
from tessera.trunks.loading import locate_published
from tessera.weights.published import Model, find_model
from tessera.zoo.discriminators import locate_training_file
from tessera.zoo.models import locate
from tessera.zoo.training_files import PublishedDiscriminator, find_training_file

_SMALL_TRUNK = "vgg19-distilled"


@dataclass(frozen=True)
class MissingFile:
    """A file that has to be downloaded."""

    key: str
    """The key of the recipe that needs it."""
    name: str
    bytes: int | None
    instead: tuple[str, ...]
    """Changes to the recipe with which the run needs no download; empty if it cannot do without."""


def list_missing(recipe: Recipe) -> list[MissingFile]:
    """List the published files that this recipe needs and this machine lacks. Opens no connection."""
    return [*_missing_trunks(recipe), *_missing_models(recipe)]


def find_absent_start(recipe: Recipe) -> Model | None:
    """The optional model to start from, if it is not on this machine and has no download address."""
    place = recipe.start.generator
    if not place or not recipe.start.optional or Path(place).exists():
        return None
    try:
        model = find_model(place)
    except TesseraError:  # reported when the run starts
        return None
    return model if locate(model) is None and model.remote is not None and not model.remote.urls else None


def describe_fresh_start(recipe: Recipe) -> str | None:
    """A warning if adversarial training will start from random weights, also for want of an optional start."""
    absent = find_absent_start(recipe)
    if absent is None or absent.remote is None:
        return recipe.fresh_start
    warning = recipe.model_copy(update={"start": recipe.start.model_copy(update={"generator": ""})}).fresh_start
    page = f" ({absent.remote.name}, from {absent.remote.page})"
    return None if warning is None else f"{absent.name}{page} is not in the models folder. {warning}"


def _missing_trunks(recipe: Recipe) -> Iterator[MissingFile]:
    perceptual = recipe.perceptual
    if perceptual is None or not (perceptual.weight or perceptual.style_weight) or Path(perceptual.trunk).is_file():
        return
    known = next((trunk for trunk in TRUNKS if trunk.name == perceptual.trunk.strip().casefold()), None)
    if known is not None and locate_published(known) is None:
        yield MissingFile("perceptual.trunk", known.name, known.remote.bytes, _instead_of_trunk(perceptual))


def _instead_of_trunk(perceptual: PerceptualConfig) -> tuple[str, ...]:
    """The distilled trunk if it is on this machine, else no perceptual loss."""
    small = next(trunk for trunk in TRUNKS if trunk.name == _SMALL_TRUNK)
    if perceptual.trunk != _SMALL_TRUNK and locate_published(small) is not None:
        return (f"perceptual.trunk={_SMALL_TRUNK}",)
    return ("perceptual.weight=0", *(("perceptual.style_weight=0",) if perceptual.style_weight else ()))


def _missing_models(recipe: Recipe) -> Iterator[MissingFile]:
    discriminator = recipe.start.discriminator
    entry = None if Path(discriminator).is_file() else find_training_file(discriminator)
    if isinstance(entry, PublishedDiscriminator) and locate_training_file(entry) is None:
        yield MissingFile("start.discriminator", entry.name, entry.remote.bytes, ("start.discriminator=",))
    wanted = {"start.generator": recipe.start.generator}
    if recipe.distillation is not None:
        wanted["distillation.teacher"] = recipe.distillation.teacher
    for key, spec in wanted.items():
        if not spec or Path(spec).exists():
            continue
        try:
            model = find_model(spec)
        except TesseraError:  # the user's own file or a blend, which the start reports in its own words
            continue
        is_optional = key == "start.generator" and find_absent_start(recipe) is not None
        if locate(model) is None and model.remote is not None and not is_optional:
            yield MissingFile(key, model.name, model.remote.bytes, ("start.generator=",) if key[0] == "s" else ())
