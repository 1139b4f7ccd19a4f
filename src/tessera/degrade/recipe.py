"""How references become inputs: a degradation is chosen, what happens is drawn as a value, and the value is applied.

A draw can be printed, kept as JSON and applied again to the same pictures, with the same result in every bit on the
same machine. Shapes: B pictures, H height, W width, s the scale.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from tessera.degrade.realesrgan import RealESRGANDegradation, RealESRGANDraw, degrade, draw_realesrgan, only
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
"""Of a reference, in pixels."""
_DRAWS: TypeAdapter[BatchDraw] = TypeAdapter(Annotated[BatchDraw, Field(discriminator="kind")])


@dataclass(frozen=True)
class Degraded:
    """A batch after its degradation."""

    lq: Tensor
    """(B, 3, H//s, W//s) RGB in [0, 1], rounded to 255ths."""
    gt_sharp: Tensor | None
    """(B, 3, H, W) RGB in [0, 1]; None where the degradation does not sharpen."""


def draw(
    config: Degradation, *, pictures: int, height: int, width: int, scale: int, rng: np.random.Generator
) -> BatchDraw:
    """Draw what happens to a batch of `pictures` of this size. Raises UsageError when the numbers make no sense."""
    if pictures < 1:
        raise UsageError(f"A batch of {pictures} pictures cannot be degraded: expected 1 or more.")
    if not 1 <= scale <= 16:
        raise UsageError(f"The scale is {scale}: expected 1 to 16.")
    if min(height, width) < SMALLEST_SIDE:
        raise UsageError(f"Pictures of {width}x{height} are too small to be degraded: at least {SMALLEST_SIDE} a side.")
    if isinstance(config, RealESRGANDegradation):
        return draw_realesrgan(config, pictures=pictures, height=height, width=width, scale=scale, rng=rng)
    return ResamplingDraw(kind=config.kind, pictures=pictures, height=height, width=width, scale=scale)


def apply(gt: Tensor, draw: BatchDraw) -> Degraded:
    """Carry out a draw on pictures, (B, 3, H, W) RGB in [0, 1]; no other chance comes in, and `gt` stays as it is.

    Raises UsageError when the pictures are not those that the draw is for.
    """
    expected = (draw.pictures, 3, draw.height, draw.width)
    if tuple(gt.shape) != expected:
        raise UsageError(f"This draw is for pictures of the shape {expected}, found {tuple(gt.shape)}.")
    if not gt.is_floating_point():
        raise UsageError(f"Pictures to degrade are floating-point numbers in [0, 1], found {gt.dtype}.")
    gt = gt.float()
    if isinstance(draw, ResamplingDraw):
        return Degraded(shrink(gt, draw.kind, draw.scale), None)
    if gt.device.type != "cpu":
        return Degraded(*degrade(gt, draw))
    return _one_by_one(gt, draw)


def _one_by_one(gt: Tensor, draw: RealESRGANDraw) -> Degraded:
    """Each picture by itself, on one processor, several at a time: so each stays in its cache.

    A picture then comes out the same, to the bit, whatever else is in the batch and however many processors there are.
    """

    sharp = torch.empty_like(gt) if draw.sharpen else None

    def one(number: int) -> Tensor:
        this = slice(number, number + 1)
        return degrade(gt[this], only(draw, number), sharp=None if sharp is None else sharp[this])[0]

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(min(threads, draw.pictures), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        lq = torch.cat(list(pool.map(one, range(draw.pictures))))
    torch.set_num_threads(threads)  # each thread has its own number, and threads begun later that of the last call
    return Degraded(lq, sharp)


def to_json(draw: BatchDraw) -> str:
    """A draw as JSON, every number in full."""
    return _DRAWS.dump_json(draw).decode()


def from_json(text: str) -> BatchDraw:
    """The draw that `to_json` wrote. Raises UsageError when it is none."""
    try:
        return _DRAWS.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the text"
        raise UsageError(f"This is not a draw of a degradation: {place}: {first['msg']}.") from None
