"""Pairs for distillation: crops of photographs are degraded, and a teacher upscales them once, before any training.

The teacher runs with the fastest exact engine, instead of in every step of every run. Everything about pair number n
follows from the seed and n, so a resumed store is equal to an uninterrupted one.

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
from tessera.dataset.loading import SeenMessages, iterate_batches, make_loader, to_unit
from tessera.dataset.samples import CropDataset
from tessera.dataset.sources import Listing
from tessera.dataset.taught import Pair, Teaching, open_taught
from tessera.degrade import Degradation, MatlabBicubic, RealESRGANDegradation, apply, draw
from tessera.engines.engine import Engine, Tiles
from tessera.errors import UsageError
from tessera.train.batches import crop_pair
from tessera.train.seeding import derive_rng
from tessera.weights.loaded_generator import LoadedGenerator

BATCH = 8
"""Pairs that are degraded in one draw and added to the store together."""

ShowMessage = Callable[[str], None]


class InputKind(BaseModel, frozen=True, extra="forbid"):
    """One kind of degraded inputs."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    share: Annotated[float, Field(gt=0, le=1e6)]
    """Relative frequency among all kinds."""
    degradation: Degradation


def _build_mild_degradation() -> RealESRGANDegradation:
    """A photograph that was scaled down once and saved: a little blur, a little noise, JPEG of good quality."""
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
    InputKind(name="mild", share=0.35, degradation=_build_mild_degradation()),
    InputKind(name="second order", share=0.4, degradation=RealESRGANDegradation()),
)


class TeachingConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of a store: `[[kinds]]` of inputs with their shares, the size of the crops, the seed."""

    side: Annotated[int, Field(ge=16, le=1024)] = 40
    """Side of the inputs, in pixels. A student sees them whole, with the same zero padding as its teacher."""
    margin: Annotated[int, Field(ge=0, le=1024)] = 72
    """Margin around each crop while it is degraded, in pixels of the photograph."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    kinds: Annotated[tuple[InputKind, ...], Field(min_length=1, max_length=32)] = DEFAULT_KINDS

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [kind.name for kind in self.kinds]
        if len(set(names)) < len(names):
            raise ValueError("two kinds of inputs have the same name")
        return self

    def choose_kind(self, batch: int) -> InputKind:
        """Choose the kind of the inputs of a batch."""
        shares = np.array([kind.share for kind in self.kinds])
        position = derive_rng(self.seed, "kind of inputs", batch).random() * shares.sum()
        return self.kinds[min(int(np.searchsorted(np.cumsum(shares), position, side="right")), len(shares) - 1)]


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
    show_message: ShowMessage,
) -> Generator[int]:
    """Make a store of `pairs` pairs, or the missing part of it -> their number after each batch.

    Memory does not grow with the store. Raises UsageError if teacher, pictures and folder do not match, PictureError if
    pictures cannot be read or pairs not be written.
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
        batches = _make_batches(teacher, engine, listing, config, done // BATCH, workers, show_message)
        for batch in batches:
            store.add(batch[done % BATCH :][: pairs - done])
            done = store.count
            yield done
            if done >= pairs:
                return


def _check(teacher: LoadedGenerator, listing: Listing, config: TeachingConfig) -> None:
    known = teacher.config
    if (known.in_channels, known.out_channels) != (3, 3):
        raise UsageError(
            f"{teacher.name} has {known.in_channels} input and {known.out_channels} output channels; choose an RGB"
            " teacher."
        )
    if config.side % known.multiple:
        raise UsageError(
            f"expected a multiple of {known.multiple} for {teacher.name}, found {config.side}.", field="side"
        )
    if config.margin % known.scale:
        raise UsageError(f"expected a multiple of the scale, {known.scale}; found {config.margin}.", field="margin")
    if listing.lq is not None:
        raise UsageError("A teacher needs photographs, and these are pairs already.")


def _make_batches(
    teacher: LoadedGenerator,
    engine: Engine,
    listing: Listing,
    config: TeachingConfig,
    first: int,
    workers: int,
    show_message: ShowMessage,
) -> Iterator[list[Pair]]:
    """The pairs of batch number `first` and of all following batches."""
    scale = teacher.config.scale
    patch = config.side * scale + 2 * config.margin
    dataset = CropDataset(listing, DataConfig(patch=patch, batch=BATCH), seed=config.seed)
    seen = SeenMessages()
    loader = make_loader(dataset, first_number=first * BATCH, batch=BATCH, workers=workers)
    for number, batch in enumerate(iterate_batches(loader), first):
        for problem in seen.filter_new(batch["problem"]):
            show_message(problem)
        lq = degrade_crops(to_unit(batch["gt"]), config, number, scale)
        outputs = engine.run(lq.numpy())
        yield list(zip(_to_pictures(lq.numpy()), _to_pictures(outputs), strict=True))


@torch.no_grad()
def degrade_crops(gt: Tensor, config: TeachingConfig, batch: int, scale: int) -> Tensor:
    """Make the inputs of a batch: crops (B, 3, K, K) -> (B, 3, p, p), RGB in [0, 1], rounded to 255ths."""
    rng = derive_rng(config.seed, "degradation", batch)
    size = {"height": gt.shape[-2], "width": gt.shape[-1]}
    drawn = draw(config.choose_kind(batch).degradation, pictures=len(gt), **size, scale=scale, rng=rng)
    degraded = apply(gt, drawn)
    start = config.margin // scale
    lq, _ = crop_pair(degraded.lq, gt, top=start, left=start, patch=config.side * scale, scale=scale)
    return lq


def _to_pictures(tiles: Tiles) -> list[np.ndarray]:
    """(B, 3, H, W) -> B pictures (H, W, 3) uint8, clipped and rounded."""
    levels = np.rint(tiles.clip(0, 1) * 255).astype(np.uint8)
    return [np.ascontiguousarray(each.transpose(1, 2, 0)) for each in levels]
