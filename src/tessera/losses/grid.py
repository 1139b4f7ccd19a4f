"""The grid that a generator lays over its pictures when its last step is a pixel shuffle, and a loss against it.

Such a generator makes the s x s pixels of each input pixel by filters of their own, and nothing keeps these from
having each its own level or its own share of an edge: a pattern that repeats every s pixels (Odena et al. 2016,
"Deconvolution and checkerboard artifacts"; first values without it: Aitken et al. 2017). How much of it
adversarial training left in one of our networks is in docs/explanation/own-models.md. Photographs have no more power at
these frequencies than next to them.

Shapes: B pictures, C channels, H and W their sides, s the scale; RGB in [0, 1].
"""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import Tensor

from tessera.errors import UsageError
from tessera.losses.pixel import Weight, at_least_single, check_same_shape


class GridConfig(BaseModel, frozen=True, extra="forbid"):
    """The term of a generator's loss that looks for a grid. It is our own; no published system has it."""

    weight: Weight = 1.0
    window: Annotated[int, Field(ge=1, le=1024)] = 8
    """Side of the windows, in input pixels."""


def grid_loss(sr: Tensor, gt: Tensor, scale: int, config: GridConfig) -> Tensor:
    """How unlike the s x s places of the grid are in their mean error: (B, C, H, W) twice -> () in fp32, or fp64.

    In each window (they overlap by half; a rest at the right and the bottom is left out), errors are averaged over all
    pixels with the same place in the grid; the loss is the mean absolute difference of these s * s averages from their
    own mean. So it is an L1 loss of bands around the frequencies k / s, k from 1 to s - 1. A wrong brightness is not
    seen at all, and other errors little: one on a single line counts 1 / window of a comb, a slope of a per pixel
    a * s / 4 (even s). Raises UsageError for pictures of different shapes, sides that do not divide by the scale, and
    sides below a window.

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
            f"The grid loss needs sides that divide by {scale} and are {scale * config.window} pixels at least, found"
            f" {tuple(sr.shape[-2:])}."
        )
    errors = F.pixel_unshuffle(at_least_single(sr) - at_least_single(gt), scale)
    means = F.avg_pool2d(errors, config.window, stride=max(1, config.window // 2)).unflatten(1, (-1, scale * scale))
    return config.weight * (means - means.mean(dim=2, keepdim=True)).abs().mean()
