"""Degradation of ground truth to inputs: chosen, drawn as a value, and applied as a pure function.

A draw can be printed, stored as JSON and applied again to the same pictures, with a bit-identical result on the same
machine.

Shapes: B pictures, H height, W width, s the scale.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from tessera.degrade.realesrgan import RealESRGANDegradation, RealESRGANDraw, degrade, draw_realesrgan, select_picture
from tessera.degrade.simple import Area, Cv2Cubic, MatlabBicubic, PilBicubic, ResamplingDraw, shrink
from tessera.errors import UsageError

Degradation = Annotated[
    MatlabBicubic | PilBicubic | Cv2Cubic | Area | RealESRGANDegradation, Field(discriminator="kind")
]
KINDS: tuple[type[MatlabBicubic | PilBicubic | Cv2Cubic | Area | RealESRGANDegradation], ...] = (
    *(MatlabBicubic, PilBicubic, Cv2Cubic, Area, RealESRGANDegradation),
)
BatchDraw = ResamplingDraw | RealESRGANDraw
SMALLEST_SIDE = 32
"""Smallest side of the ground truth, in pixels."""
_DRAWS: TypeAdapter[BatchDraw] = TypeAdapter(Annotated[BatchDraw, Field(discriminator="kind")])


@dataclass(frozen=True)
class Degraded:
    """A degraded batch."""

    lq: Tensor
    """(B, 3, H//s, W//s) RGB in [0, 1], rounded to 255ths."""
    gt_sharp: Tensor | None
    """(B, 3, H, W) RGB in [0, 1]; None if the degradation does not sharpen."""


def draw(
    config: Degradation, *, pictures: int, height: int, width: int, scale: int, rng: np.random.Generator
) -> BatchDraw:
    """Draw the degradation of a batch of `pictures` of this size. Raises UsageError for invalid numbers."""
    if pictures < 1:
        raise UsageError(f"Expected a batch of 1 or more pictures, found {pictures}.")
    if not 1 <= scale <= 16:
        raise UsageError(f"scale: expected 1 to 16, found {scale}.")
    if min(height, width) < SMALLEST_SIDE:
        raise UsageError(
            f"Expected pictures of at least {SMALLEST_SIDE} pixels a side to degrade, found {width}x{height}."
        )
    if isinstance(config, RealESRGANDegradation):
        return draw_realesrgan(config, pictures=pictures, height=height, width=width, scale=scale, rng=rng)
    return ResamplingDraw(kind=config.kind, pictures=pictures, height=height, width=width, scale=scale)


def apply(gt: Tensor, draw: BatchDraw) -> Degraded:
    """Apply a draw to pictures, (B, 3, H, W) RGB in [0, 1], without further randomness; `gt` does not change.

    Raises UsageError if the draw is for other pictures.
    """
    expected = (draw.pictures, 3, draw.height, draw.width)
    if tuple(gt.shape) != expected:
        raise UsageError(f"This draw is for pictures of the shape {expected}, found {tuple(gt.shape)}.")
    if not gt.is_floating_point():
        raise UsageError(f"Expected pictures as floating-point values in [0, 1], found {gt.dtype}.")
    gt = gt.float()
    if isinstance(draw, ResamplingDraw):
        return Degraded(shrink(gt, draw.kind, draw.scale), None)
    if gt.device.type != "cpu":
        return Degraded(*degrade(gt, draw))
    return _degrade_singly(gt, draw)


def _degrade_singly(gt: Tensor, draw: RealESRGANDraw) -> Degraded:
    """Degrade several pictures at a time, each on one core, so that it stays in that core's cache.

    The result of a picture is bit-identical whatever else is in the batch and however many cores there are.
    """

    sharp = torch.empty_like(gt) if draw.sharpen else None

    def degrade_one(number: int) -> Tensor:
        this = slice(number, number + 1)
        return degrade(gt[this], select_picture(draw, number), sharp=None if sharp is None else sharp[this])[0]

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(min(threads, draw.pictures), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        lq = torch.cat(list(pool.map(degrade_one, range(draw.pictures))))
    torch.set_num_threads(threads)  # per thread; threads started later inherit the last value
    return Degraded(lq, sharp)


def to_json(draw: BatchDraw) -> str:
    """Format a draw as JSON, with all digits."""
    return _DRAWS.dump_json(draw).decode()


def from_json(text: str) -> BatchDraw:
    """Parse a draw that `to_json` wrote. Raises UsageError for anything else."""
    try:
        return _DRAWS.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the text"
        raise UsageError(f"This is not a draw of a degradation: {place}: {first['msg']}.") from None
