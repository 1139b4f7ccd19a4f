"""From photographs and a teacher to pairs that a student learns from: degraded crops, and the teacher's outputs.

The teacher runs once, with the fastest engine that is exact, and not in every step of every run. Everything about pair
number n follows from the seed and n, so that a store which was begun is finished as if it had never stopped.

Shapes: B pairs, p side of the inputs, P = s * p side of the outputs, K side of the crops that are read.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor

from tessera.dataset.config import DataConfig
from tessera.dataset.loading import Heard, batches_of, make_loader, to_unit
from tessera.dataset.samples import CropDataset
from tessera.dataset.sources import Listing
from tessera.dataset.taught import Pair, Teaching, open_taught
from tessera.degrade import Degradation, MatlabBicubic, RealESRGANDegradation, apply, draw
from tessera.engines import Engine, Tiles
from tessera.errors import UsageError
from tessera.train.batches import cut
from tessera.train.chance import chance
from tessera.weights.loaded_generator import LoadedGenerator

BATCH = 8
"""Pairs that are degraded in one draw, and given to the store at once."""

Say = Callable[[str], None]


class InputKind(BaseModel, frozen=True, extra="forbid"):
    """One way in which inputs are made."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    share: Annotated[float, Field(gt=0, le=1e6)]
    """How often, against the shares of the others."""
    degradation: Degradation


def _mild() -> RealESRGANDegradation:
    """What a photograph has behind it that was scaled down once and saved: a little blur, a little noise, good JPEG."""
    return RealESRGANDegradation.model_validate(
        {
            "sharpen": False,
            "first": {
                "blur": {"probability": 0.5, "sigma": (0.2, 1.2), "sinc_probability": 0.0},
                "resize": {"up": 0.0, "down": 0.0, "keep": 1.0},
                "noise": {"probability": 0.0},
                "jpeg": {"probability": 0.0},
            },
            "second": {
                "blur": {"probability": 0.0},
                "resize": {"up": 0.0, "down": 0.0, "keep": 1.0},
                "noise": {"probability": 0.4, "sigma_255": (0.5, 6.0), "poisson_scale": (0.02, 0.3)},
                "jpeg": {"probability": 0.9, "quality": (60.0, 97.0)},
            },
            "final": {"sinc_probability": 0.0, "before_jpeg_probability": 0.0},
        }
    )


DEFAULT_KINDS = (
    InputKind(name="clean", share=0.25, degradation=MatlabBicubic()),
    InputKind(name="mild", share=0.35, degradation=_mild()),
    InputKind(name="second order", share=0.4, degradation=RealESRGANDegradation()),
)


class TeachingConfig(BaseModel, frozen=True, extra="forbid"):
    """How pairs are made: `[[kinds]]` of inputs with their shares, the size of the crops, the seed."""

    side: Annotated[int, Field(ge=16, le=1024)] = 40
    """Of the inputs, in pixels. A student sees them whole, with the same zeros around them as its teacher."""
    margin: Annotated[int, Field(ge=0, le=1024)] = 72
    """How much larger a crop is before it is degraded, on each side, in pixels of the photograph."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    kinds: Annotated[tuple[InputKind, ...], Field(min_length=1, max_length=32)] = DEFAULT_KINDS

    @model_validator(mode="after")
    def _have_names(self) -> Self:
        names = [kind.name for kind in self.kinds]
        if len(set(names)) < len(names):
            raise ValueError("two kinds of inputs have one name")
        return self

    def kind_of(self, batch: int) -> InputKind:
        """The kind of the inputs in a batch."""
        shares = np.array([kind.share for kind in self.kinds])
        place = chance(self.seed, "kind of inputs", batch).random() * shares.sum()
        return self.kinds[min(int(np.searchsorted(np.cumsum(shares), place, side="right")), len(shares) - 1)]


def teach(
    teacher: LoadedGenerator,
    engine: Engine,
    listing: Listing,
    folder: Path,
    config: TeachingConfig,
    *,
    pairs: int,
    resume: bool,
    workers: int = 0,
    say: Say,
) -> Generator[int]:
    """Make a store of so many pairs, or what is missing of it -> how many there are, after each batch.

    Memory does not grow with the store. Raises UsageError where teacher, pictures and folder do not fit, PictureError
    when pictures cannot be read or pairs not be written.
    """
    _check(teacher, listing, config)
    teaching = Teaching(
        teacher=teacher.name,
        sha256=teacher.sha256,
        license=teacher.license,
        scale=teacher.config.scale,
        side=config.side,
        inputs=config.model_dump(mode="json"),
    )
    with open_taught(folder, teaching, pairs=pairs, resume=resume) as store:
        done = store.count
        if done >= pairs:
            yield done
            return
        for made in _batches(teacher, engine, listing, config, first=done // BATCH, workers=workers, say=say):
            store.add(made[done % BATCH :][: pairs - done])
            done = store.count
            yield done
            if done >= pairs:
                return


def _check(teacher: LoadedGenerator, listing: Listing, config: TeachingConfig) -> None:
    known = teacher.config
    if (known.in_channels, known.out_channels) != (3, 3):
        raise UsageError(f"{teacher.name}: takes {known.in_channels} channels; a teacher has to be for RGB.")
    if config.side % known.multiple:
        raise UsageError(f"--side {config.side}: {teacher.name} needs a multiple of {known.multiple}.")
    if config.margin % known.scale:
        raise UsageError(f"margin = {config.margin}: expected a multiple of the scale, {known.scale}.")
    if listing.lq is not None:
        raise UsageError("A teacher is shown photographs, and these are pairs already.")


def _batches(
    teacher: LoadedGenerator,
    engine: Engine,
    listing: Listing,
    config: TeachingConfig,
    *,
    first: int,
    workers: int,
    say: Say,
) -> Iterator[list[Pair]]:
    """The pairs of batch `first`, and of all that follow."""
    scale = teacher.config.scale
    patch = config.side * scale + 2 * config.margin
    dataset = CropDataset(listing, DataConfig(patch=patch, batch=BATCH), seed=config.seed)
    heard = Heard()
    loader = make_loader(dataset, first_number=first * BATCH, batch=BATCH, workers=workers)
    for number, batch in enumerate(batches_of(loader), first):
        for problem in heard.new(batch["problem"]):
            say(problem)
        lq = degraded(to_unit(batch["gt"]), config, number, scale)
        outputs = engine.run(lq.numpy())
        yield list(zip(_levels(lq.numpy()), _levels(outputs), strict=True))


@torch.no_grad()
def degraded(gt: Tensor, config: TeachingConfig, batch: int, scale: int) -> Tensor:
    """The inputs of a batch of crops, (B, 3, K, K) -> (B, 3, p, p), RGB in [0, 1] in steps of a 255th."""
    rng = chance(config.seed, "degradation", batch)
    size = {"height": gt.shape[-2], "width": gt.shape[-1]}
    drawn = draw(config.kind_of(batch).degradation, pictures=len(gt), **size, scale=scale, rng=rng)
    made = apply(gt, drawn)
    place = config.margin // scale
    lq, _ = cut(made.lq, gt, top=place, left=place, patch=config.side * scale, scale=scale)
    return lq


def _levels(tiles: Tiles) -> list[np.ndarray]:
    """(B, 3, H, W) -> B times (H, W, 3) uint8, clipped and rounded."""
    whole = np.rint(tiles.clip(0, 1) * 255).astype(np.uint8)
    return [np.ascontiguousarray(each.transpose(1, 2, 0)) for each in whole]
