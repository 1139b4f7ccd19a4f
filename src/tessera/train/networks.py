"""Loading of all networks that a run starts from or learns from, before anything is built or written."""

from __future__ import annotations

from dataclasses import dataclass

from tessera.losses import load_perceptual_trunk
from tessera.train.downloads import describe_fresh_start, find_absent_start
from tessera.train.recipe import Recipe
from tessera.trunks import Trunk
from tessera.weights.discriminator_file import LoadedDiscriminator, load_discriminator
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.zoo.discriminators import find_discriminator
from tessera.zoo.models import load_model


@dataclass(frozen=True)
class LoadedNetworks:
    """Networks from files; None where the recipe names none."""

    start: LoadedGenerator | None = None
    """Weights that the generator starts with."""
    teacher: LoadedGenerator | None = None
    discriminator: LoadedDiscriminator | None = None
    """Weights that the discriminator starts with."""
    trunk: Trunk | None = None
    """The network of the perceptual loss."""
    notes: tuple[str, ...] = ()


def load_networks(recipe: Recipe) -> LoadedNetworks:
    """Load the networks that a recipe names. Raises TesseraError if one is missing or cannot be read."""
    start = teacher = discriminator = trunk = None
    place, notes = recipe.start.generator, ()
    is_absent = find_absent_start(recipe) is not None
    if place and not is_absent:
        start = load_model(place)
    if recipe.distillation is not None:
        teacher = load_model(recipe.distillation.teacher)
    if recipe.discriminator is not None and recipe.start.discriminator:
        path = find_discriminator(recipe.start.discriminator)
        discriminator = load_discriminator(path)
    perceptual = recipe.perceptual
    if perceptual is not None and (perceptual.weight or perceptual.style_weight):
        trunk = load_perceptual_trunk(perceptual.trunk)
    if is_absent:
        notes = (describe_fresh_start(recipe) or f"{place} is absent; the weights are random.",)
    return LoadedNetworks(start, teacher, discriminator, trunk, notes)
