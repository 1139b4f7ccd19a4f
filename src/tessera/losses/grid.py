"""A loss against the grid pattern that generators with a final pixel shuffle produce.

Such a generator computes the s x s pixels of each input pixel with separate filters, which can differ in level or in
their response to an edge: a pattern that repeats every s pixels (Odena et al. 2016, "Deconvolution and checkerboard
artifacts"; initialization without it: Aitken et al. 2017). docs/explanation/own-models.md has the amount that
adversarial training left in one of Tessera's networks. Photographs have no more power at these frequencies than next to
them.

Shapes: B pictures, C channels, H and W their sides, s the scale; RGB in [0, 1].
"""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import Tensor

from tessera.errors import UsageError
from tessera.losses.pixel import Weight, check_same_shape, to_single


class GridConfig(BaseModel, frozen=True, extra="forbid"):
    """Grid loss of the generator. Developed for Tessera; no published system has it."""

    weight: Weight = 1.0
    window: Annotated[int, Field(ge=1, le=1024)] = 8
    """Side of the windows, in input pixels."""


def grid_loss(sr: Tensor, gt: Tensor, scale: int, config: GridConfig) -> Tensor:
    """Compare the mean errors of the s x s phases of the grid: (B, C, H, W) twice -> () in fp32, or fp64.

    In each window (they overlap by half; a remainder at the right and bottom is ignored), errors are averaged over all
    pixels of the same phase; the loss is the mean absolute difference of these s * s averages from their mean. So it is
    an L1 loss of bands around the frequencies k / s, k from 1 to s - 1. It ignores a constant brightness error and
    nearly ignores others: an error on a single line counts 1 / window of a comb, a slope of a per pixel a * s / 4 (even
    s). Raises UsageError for pictures of different shapes, sides that are not multiples of the scale, and sides below a
    window.

    A comb that lifts a quarter of the pixels by 1/4 leaves that quarter 3/16 above the mean and the others 1/16 below:

    >>> import torch
    >>> gt = torch.full((1, 3, 32, 32), 0.5)
    >>> float(grid_loss(gt + 0.25, gt, 4, GridConfig()))
    0.0
    >>> combed = gt.clone()
    >>> combed[..., ::4] += 0.25
    >>> float(grid_loss(combed, gt, 4, GridConfig()))
    0.09375
    """
    check_same_shape(sr, gt, "The grid loss")
    if sr.shape[-1] % scale or sr.shape[-2] % scale or min(sr.shape[-2:]) < scale * config.window:
        raise UsageError(
            f"The grid loss needs sides that are multiples of {scale} and at least {scale * config.window} pixels,"
            f" found {tuple(sr.shape[-2:])}."
        )
    errors = F.pixel_unshuffle(to_single(sr) - to_single(gt), scale)
    means = F.avg_pool2d(errors, config.window, stride=max(1, config.window // 2)).unflatten(1, (-1, scale * scale))
    return config.weight * (means - means.mean(dim=2, keepdim=True)).abs().mean()
