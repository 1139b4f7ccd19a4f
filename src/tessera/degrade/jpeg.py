"""What JPEG takes from a picture, for a batch at once: colors at half resolution, 8x8 cosines in coarse steps.

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

    Expects values in [0, 1] (DiffJPEG without its rounding tricks, as Real-ESRGAN trains with). Colors are halved and
    doubled by the same products that take them to their frequencies and back.
    """
    count, _, height, width = image.shape
    filled = image
    if height % 16 or width % 16:
        filled = F.pad(image, (0, -width % 16, 0, -height % 16))
    tall, wide = filled.shape[-2:]
    cosines, halving, luma_steps, chroma_steps = (each.to(image) for each in _constants())
    factors = torch.tensor([step_factor(quality) for quality in qualities], dtype=torch.float64)
    factors = factors.to(image).view(count, 1, 1, 1)
    pair = torch.block_diag(cosines, cosines)
    with torch.no_grad():
        planes = _mixed(image.new_tensor(_TO_YCC) * 255, filled.reshape(count, 3, -1))
        luma, chroma = planes[:, :1].sub_(128), planes[:, 1:]
        luma = _frequencies(luma.reshape(count, tall // 8, 8, wide), cosines, pair)
        chroma = _frequencies(chroma.reshape(count, tall // 8, 16, wide), halving, halving)
        luma, chroma = _rounded(luma, luma_steps * factors), _rounded(chroma, chroma_steps * factors)

        luma = cosines.T @ (luma.view(-1, 16) @ (pair / 255)).view(count, tall // 8, 8, wide)
        across = (chroma.view(-1, 8) @ (halving * (2 / 255))).view(count, tall // 8, 8, wide)
        chroma = (cosines.T @ across).view(count, 2, -1)
        tint = _mixed(image.new_tensor(_FROM_CHROMA), chroma).view(count, 3, tall // 2, 1, wide)
        rgb = luma.add_(128 / 255).view(count, 1, tall // 2, 2, wide) + tint
        return rgb.clamp_(0, 1).view(count, 3, tall, wide)[..., :height, :width].contiguous()


def _mixed(matrix: Tensor, planes: Tensor) -> Tensor:
    """Other colors from these, (B, P, N) -> (B, Q, N); one product a picture is faster than a batch of them."""
    out = planes.new_empty(planes.shape[0], matrix.shape[0], planes.shape[2])
    for picture, mixed in zip(planes, out, strict=True):
        torch.mm(matrix, picture, out=mixed)
    return out


def _frequencies(rows: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """The cosines of blocks, frequencies where the pixels were: (B, N, 8 or 16, W) -> (B, N, 8, W or W/2)."""
    done = down @ rows
    return (done.view(-1, 16) @ across.T).view(*done.shape[:3], -1)


def _rounded(frequencies: Tensor, steps: Tensor) -> Tensor:
    """In whole steps, in place: (B, N, 8, W) and steps (B, 1, 8, 8)."""
    along = steps.repeat(1, 1, 1, frequencies.shape[-1] // 8)
    return frequencies.div_(along).round_().mul_(along)


@functools.cache
def _constants() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cosines (8 frequencies, 8 places), cosines of the means of two (8, 16), and both tables (8, 8), on their side."""
    frequency, place = np.mgrid[0:8, 0:8].astype(np.float64)
    cosines = np.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    cosines[0] /= math.sqrt(2)
    tables = (np.array(table, np.float64).reshape(8, 8).T.copy() for table in (LUMA_STEPS, CHROMA_STEPS))
    luma, chroma = map(torch.from_numpy, tables)
    return torch.from_numpy(cosines), torch.from_numpy(cosines.repeat(2, axis=1) / 2), luma, chroma
