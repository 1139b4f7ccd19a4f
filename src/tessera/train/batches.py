"""Training batches from crops: degraded, cut, pooled. Every random choice follows from the batch number.

Shapes: B crops, K side of the crops that are read, P side of the training crops, p = P / s at low resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from tessera.degrade import BatchDraw, apply, draw, sharpen
from tessera.train.pool import PairPool
from tessera.train.recipe import Recipe
from tessera.train.seeding import Purpose, derive_rng
from tessera.train.tricks import add_noise


@dataclass(frozen=True)
class TrainingBatch:
    """One training batch."""

    lq: Tensor
    """(B, 3, p, p) in [0, 1]"""
    gt: Tensor
    """(B, 3, P, P) in [0, 1]"""
    sharp: Tensor | None
    """The unsharp-masked ground truth, (B, 3, P, P), if a loss uses it."""
    drawn: BatchDraw | None = None
    """How the crops of this number were degraded; with a pool, the batch has crops of other numbers."""


def prepare_batch(
    recipe: Recipe, gt: Tensor, lq: Tensor | None, pool: PairPool, number: int, process: int
) -> TrainingBatch:
    """Build a training batch from crops gt (B, 3, K, K) and, for pairs, lq (B, 3, p, p), in [0, 1] on the device.

    `number` is the index of the batch in the run; the same crops and number give the same batch.
    """

    def rng(purpose: Purpose) -> np.random.Generator:
        return derive_rng(recipe.seed, purpose, number, process=process)

    wanted, drawn = recipe.sharpen, None
    if lq is None:
        lq, gt, drawn = _degrade(recipe, gt, rng)
        if recipe.pool:
            lq, gt = pool.exchange((lq, gt), rng("pool"))
    any_sharp = wanted.pixel or wanted.perceptual or wanted.adversarial
    sharp = sharpen(gt) if any_sharp and not wanted.before_pool else None
    return TrainingBatch(add_noise(lq, recipe.tricks.lq_noise, rng("lq noise")), gt, sharp, drawn)


def _degrade(
    recipe: Recipe, gt: Tensor, rng: Callable[[Purpose], np.random.Generator]
) -> tuple[Tensor, Tensor, BatchDraw]:
    """Degrade and cut crops: (B, 3, K, K) -> lq (B, 3, p, p) and gt (B, 3, P, P) from one position; and the draw."""
    scale = recipe.generator.scale
    height, width = gt.shape[-2:]
    drawn = draw(recipe.degradation, pictures=len(gt), height=height, width=width, scale=scale, rng=rng("degradation"))
    degraded = apply(gt, drawn)
    truth = (sharpen(gt) if degraded.gt_sharp is None else degraded.gt_sharp) if recipe.sharpen.before_pool else gt
    free = (height - recipe.data.patch) // scale
    if not free:
        return degraded.lq, truth, drawn
    if recipe.cut.place == "random":
        top, left = (int(place) for place in rng("crop").integers(0, free + 1, 2))
    else:
        top = left = free // 2
    return *crop_pair(degraded.lq, truth, top=top, left=left, patch=recipe.data.patch, scale=scale), drawn


def crop_pair(lq: Tensor, gt: Tensor, *, top: int, left: int, patch: int, scale: int) -> tuple[Tensor, Tensor]:
    """Cut matching crops of `patch` ground-truth pixels; `top` and `left` in low-resolution pixels.

    >>> import torch
    >>> lq, gt = torch.arange(36.).view(1, 1, 6, 6), torch.zeros(1, 1, 12, 12)
    >>> lq, gt = crop_pair(lq, gt, top=1, left=2, patch=4, scale=2)
    >>> lq.flatten().tolist(), tuple(gt.shape)
    ([8.0, 9.0, 14.0, 15.0], (1, 1, 4, 4))
    """
    side = patch // scale
    small = lq[..., top : top + side, left : left + side]
    large = gt[..., top * scale : top * scale + patch, left * scale : left * scale + patch]
    return small.contiguous(), large.contiguous()
