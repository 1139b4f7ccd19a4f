"""How much a model loses: PSNR and SSIM to the truth, before and after, on the same pictures.

Shapes: C channels, H rows, W columns of the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tessera.deploy.held_out import Pair
from tessera.evaluate.levels import select_channels
from tessera.evaluate.protocol import Protocol
from tessera.metrics.psnr import psnr
from tessera.metrics.ssim import SMALLEST_SIDE, ssim

Run = Callable[[Tensor], Tensor]
MOST_DB = 10 * math.log10(12 * 255**2)
"""58.9 dB, what rounding to levels of 255 leaves of anything: results above it are equally good. Without that a flat
picture, which a model gives back exactly, would decide alone."""
MOST_SSIM = 0.02
"""The most SSIM that int8 may cost."""


@dataclass(frozen=True)
class Score:
    """Scores of one result against the ground truth."""

    psnr_db: float
    ssim: float


@dataclass(frozen=True)
class Drop:
    """What is lost, as means over pictures; positive is worse than the original."""

    pictures: int
    psnr_db: float
    ssim: float
    original: Score
    reduced: Score
    fidelity_db: float
    """PSNR between both results, over all pictures, R, G and B."""

    def fits(self, most_db: float, most_ssim: float = MOST_SSIM) -> bool:
        """Whether the loss is within a budget."""
        return self.psnr_db <= most_db and self.ssim <= most_ssim


def measure_drop(pairs: Sequence[Pair], originals: Sequence[Tensor], run: Run, protocol: Protocol) -> Drop:
    """Score the results of `run` and of the original model against the ground truth."""
    scores: list[tuple[Score, Score]] = []
    error = 0.0
    for pair, original in zip(pairs, originals, strict=True):
        ours = run(pair.lq)
        crop = protocol.get_crop(pair.gt.shape[2] // pair.lq.shape[2])
        scores.append((score_result(original, pair.gt, protocol, crop), score_result(ours, pair.gt, protocol, crop)))
        error += float((_round_to_levels(ours) - _round_to_levels(original)).square().mean())
    before, after = (
        Score(*(float(np.mean(column)) for column in zip(*((each.psnr_db, each.ssim) for each in side), strict=True)))
        for side in zip(*scores, strict=True)
    )
    error /= len(pairs)
    return Drop(
        pictures=len(pairs),
        psnr_db=before.psnr_db - after.psnr_db,
        ssim=before.ssim - after.ssim,
        original=before,
        reduced=after,
        fidelity_db=math.inf if error == 0 else 10 * math.log10(255**2 / error),
    )


def score_result(result: Tensor, truth: Tensor, protocol: Protocol, crop: int) -> Score:
    """PSNR (at most `MOST_DB`) and SSIM of a result to the truth, both (1, C, H, W) in [0, 1].

    `crop` pixels of each side are left out.
    """
    sides = [
        select_channels(_round_to_levels(each)[0].expand(3, -1, -1).double().numpy(), protocol.channels)
        for each in (result, truth)
    ]
    if crop and min(truth.shape[2:]) > 2 * crop + SMALLEST_SIDE:
        sides = [each[:, crop:-crop, crop:-crop] for each in sides]
    one, other = (each[None] for each in sides)
    return Score(min(float(psnr(one, other, data_range=255)[0]), MOST_DB), float(ssim(one, other, data_range=255)[0]))


def _round_to_levels(values: Tensor) -> Tensor:
    return torch.round(values.clamp(0, 1) * 255)
