"""Simulation of JPEG for a batch: chroma subsampling and quantized DCT.

As in the training of Real-ESRGAN, which differs from a JPEG file in three ways: the tables are transposed, the steps
are not rounded to integers, and pictures are padded to a multiple of 16 with black.

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

from tessera.degrade.ranges import Probability, check_order
from tessera.degrade.tables import CHROMA_STEPS, LUMA_STEPS

Quality = Annotated[float, Field(ge=1, le=99.5)]
"""At 100 the steps would be 0."""
Qualities = Annotated[tuple[Quality, Quality], AfterValidator(check_order)]


class Jpeg(BaseModel, frozen=True, extra="forbid"):
    """Qualities of one stage, drawn for each picture. Defaults: both stages of Real-ESRGAN."""

    probability: Probability = 1.0
    """Probability of JPEG, for the whole batch."""
    quality: Qualities = (30.0, 95.0)


_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_FROM_CHROMA = ((0.0, 1.402), (-0.344136, -0.714136), (1.772, 0.0))


def compute_step_factor(quality: float) -> float:
    """Compute the factor on the tables of the standard's annex K (libjpeg's rule, unrounded).

    >>> compute_step_factor(25), compute_step_factor(75)
    (2.0, 0.5)
    """
    return (5000 / quality if quality < 50 else 200 - 2 * quality) / 100


def compress(image: Tensor, qualities: Sequence[float]) -> Tensor:
    """Compress pictures, (B, 3, H, W) -> (B, 3, H, W) RGB in [0, 1], with one quality for each.

    Expects values in [0, 1] (DiffJPEG without its differentiable rounding, as Real-ESRGAN trains with). Chroma is down-
    and upsampled by the same products that transform it to frequencies and back.
    """
    count, _, height, width = image.shape
    filled = image
    if height % 16 or width % 16:
        filled = F.pad(image, (0, -width % 16, 0, -height % 16))
    tall, wide = filled.shape[-2:]
    cosines, halving, luma_steps, chroma_steps = (each.to(image) for each in _build_constants())
    factors = torch.tensor([compute_step_factor(quality) for quality in qualities], dtype=torch.float64)
    factors = factors.to(image).view(count, 1, 1, 1)
    pair = torch.block_diag(cosines, cosines)
    with torch.no_grad():
        planes = _convert_colors(image.new_tensor(_TO_YCC) * 255, filled.reshape(count, 3, -1))
        luma, chroma = planes[:, :1].sub_(128), planes[:, 1:]
        luma = _transform_blocks(luma.reshape(count, tall // 8, 8, wide), cosines, pair)
        chroma = _transform_blocks(chroma.reshape(count, tall // 8, 16, wide), halving, halving)
        luma, chroma = _quantize(luma, luma_steps * factors), _quantize(chroma, chroma_steps * factors)

        luma = cosines.T @ (luma.view(-1, 16) @ (pair / 255)).view(count, tall // 8, 8, wide)
        across = (chroma.view(-1, 8) @ (halving * (2 / 255))).view(count, tall // 8, 8, wide)
        chroma = (cosines.T @ across).view(count, 2, -1)
        tint = _convert_colors(image.new_tensor(_FROM_CHROMA), chroma).view(count, 3, tall // 2, 1, wide)
        rgb = luma.add_(128 / 255).view(count, 1, tall // 2, 2, wide) + tint
        return rgb.clamp_(0, 1).view(count, 3, tall, wide)[..., :height, :width].contiguous()


def _convert_colors(matrix: Tensor, planes: Tensor) -> Tensor:
    """Convert colors, (B, P, N) -> (B, Q, N); one product per picture is faster than a batch of them."""
    out = planes.new_empty(planes.shape[0], matrix.shape[0], planes.shape[2])
    for picture, mixed in zip(planes, out, strict=True):
        torch.mm(matrix, picture, out=mixed)
    return out


def _transform_blocks(rows: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Transform blocks, in place of the pixels: (B, N, 8 or 16, W) -> (B, N, 8, W or W/2)."""
    done = down @ rows
    return (done.view(-1, 16) @ across.T).view(*done.shape[:3], -1)


def _quantize(frequencies: Tensor, steps: Tensor) -> Tensor:
    """Round to multiples of steps, in place: (B, N, 8, W) and steps (B, 1, 8, 8)."""
    along = steps.repeat(1, 1, 1, frequencies.shape[-1] // 8)
    return frequencies.div_(along).round_().mul_(along)


@functools.cache
def _build_constants() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cosines (8 frequencies, 8 positions), cosines of means of two (8, 16), and both tables (8, 8), transposed."""
    frequency, place = np.mgrid[0:8, 0:8].astype(np.float64)
    cosines = np.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    cosines[0] /= math.sqrt(2)
    tables = (np.array(table, np.float64).reshape(8, 8).T.copy() for table in (LUMA_STEPS, CHROMA_STEPS))
    luma, chroma = map(torch.from_numpy, tables)
    return torch.from_numpy(cosines), torch.from_numpy(cosines.repeat(2, axis=1) / 2), luma, chroma
