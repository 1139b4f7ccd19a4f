"""The grid that a generator lays over its pictures when its last step is a pixel shuffle, and a loss against it.

Such a generator makes the s x s pixels of each input pixel by filters of their own, and nothing keeps these from
having each its own level or its own share of an edge: a pattern that repeats every s pixels, which adversarial losses
leave or even like (Odena et al. 2016, "Deconvolution and checkerboard artifacts"; Aitken et al. 2017 for the first
values). Natural pictures have no more there than at other frequencies.

Shapes: B pictures, C channels, H and W their sides, s the scale.
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
    """Side of the places that are looked at, in input pixels."""


def grid_loss(sr: Tensor, gt: Tensor, scale: int, config: GridConfig) -> Tensor:
    """How unlike the s x s places of the grid are in their mean error, (B, C, H, W) twice -> () in fp32.

    In each window (they overlap by half), errors are averaged over all pixels with the same place in the grid; the
    loss is the mean absolute difference of these s * s averages from their own mean. That is an L1 loss of narrow bands
    around the frequencies k / s, and of no other: texture, sharp edges and a wrong brightness pass. Raises UsageError
    for pictures of different shapes, sides that do not divide by the scale, and sides below a window.

    >>> import torch
    >>> gt = torch.rand(1, 3, 32, 32)
    >>> float(grid_loss(gt + 0.25, gt, 4, GridConfig())) < 1e-6
    True
    >>> combed = gt.clone()
    >>> combed[..., ::4] += 0.25
    >>> round(float(grid_loss(combed, gt, 4, GridConfig())), 4)  # a quarter is 3/16 above the mean, the others 1/16 below
    0.0938
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
