"""What JPEG takes from a picture, for a batch at once: colours at half resolution, 8x8 cosines in coarse steps.

As the training of Real-ESRGAN has it, which differs from a JPEG file in three ways: the tables lie on their side, the
steps are not rounded to whole numbers, and a picture is filled up to a multiple of 16 with black, not with its edge.
Shapes: B pictures, H height, W width; N blocks of 8x8.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import AfterValidator, BaseModel, Field
from torch import Tensor

from tessera.degrade.ranges import Probability, ordered
from tessera.degrade.tables import CHROMA_STEPS, LUMA_STEPS

Quality = Annotated[float, Field(ge=1, le=99.5)]
"""100 would mean steps of nothing."""
Qualities = Annotated[tuple[Quality, Quality], AfterValidator(ordered)]


class Jpeg(BaseModel, frozen=True, extra="forbid"):
    """Which qualities one stage draws, for each picture its own. Defaults: both stages of Real-ESRGAN."""

    probability: Probability = 1.0
    """Of there being JPEG at all, for the whole batch."""
    quality: Qualities = (30.0, 95.0)


_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_FROM_CHROMA = ((0.0, 1.402), (-0.344136, -0.714136), (1.772, 0.0))


def step_factor(quality: float) -> float:
    """How much coarser than the tables of the standard's annex K the steps are (libjpeg's rule, unrounded).

    >>> step_factor(25), step_factor(75)
    (2.0, 0.5)
    """
    return (5000 / quality if quality < 50 else 200 - 2 * quality) / 100


def compress(image: Tensor, qualities: Sequence[float]) -> Tensor:
    """What is left of pictures after JPEG, (B, 3, H, W) -> (B, 3, H, W) RGB in [0, 1], a quality for each.

    Expects values in [0, 1] (DiffJPEG without its rounding tricks, as Real-ESRGAN trains with).
    """
    count, _, height, width = image.shape
    filled = F.pad(image, (0, -width % 16, 0, -height % 16))
    tall, wide = filled.shape[-2:]
    factors = torch.tensor([step_factor(quality) for quality in qualities], dtype=torch.float64)
    basis, luma_steps, chroma_steps = (each.to(image) for each in _constants())
    factors = factors.to(image).view(count, 1, 1)
    with torch.no_grad():
        planes = (image.new_tensor(_TO_YCC) * 255) @ filled.reshape(count, 3, -1)
        luma = planes[:, 0].view(count, 1, tall, wide)
        chroma = F.avg_pool2d(planes[:, 1:].reshape(count, 2, tall, wide), 2)
        luma = _quantised(luma, basis, luma_steps * factors, 128.0)
        chroma = _quantised(chroma, basis, chroma_steps * factors, 0.0)
        tint = (image.new_tensor(_FROM_CHROMA) @ chroma.view(count, 2, -1)).view(count, 3, tall // 2, 1, wide // 2, 1)
        rgb = luma.view(count, 1, tall // 2, 2, wide // 2, 2) + tint
        return rgb.clamp_(0, 255).div_(255).view(count, 3, tall, wide)[..., :height, :width].contiguous()


def _quantised(planes: Tensor, basis: Tensor, steps: Tensor, middle: float) -> Tensor:
    """Planes as their cosines' nearest steps say: (B, P, H, W) -> (B, P, H, W); steps (B, 1, 64)."""
    count, channels, height, width = planes.shape
    blocks = (
        planes.view(count, channels, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5).reshape(count, -1, 64)
    )
    cosines = (blocks - middle) @ basis
    cosines.div_(steps).round_().mul_(steps)
    blocks = (cosines @ basis.T).add_(middle)
    whole = blocks.view(count, channels, height // 8, width // 8, 8, 8).permute(0, 1, 2, 4, 3, 5)
    return whole.reshape(count, channels, height, width)


@functools.cache
def _constants() -> tuple[Tensor, Tensor, Tensor]:
    """The cosines of a block as a matrix (64, 64), pixels to frequencies, and both tables (64,), on their side."""
    frequency, place = np.mgrid[0:8, 0:8].astype(np.float64)
    line = np.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    line[0] /= math.sqrt(2)
    steps = (np.array(table, np.float64).reshape(8, 8).T.ravel() for table in (LUMA_STEPS, CHROMA_STEPS))
    luma, chroma = map(torch.from_numpy, steps)
    return torch.from_numpy(np.kron(line, line).T.copy()), luma, chroma
