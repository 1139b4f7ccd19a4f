"""Pixel losses between results and ground truth.

Shapes: B pictures, C channels, H height, W width; RGB in [0, 1].
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import Tensor

from tessera.errors import UsageError

Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
CHARBONNIER_EPS = 1e-12
"""Added under the root; BasicSR's value."""


class PixelConfig(BaseModel, frozen=True, extra="forbid"):
    """Pixel loss of the generator.

    Published weights: 1 if it is the only loss (RRDB_PSNR, Real-ESRNet) and in Real-ESRGAN, A-ESRGAN and
    ESRGAN-Pytorch; 0.01 in ESRGAN, PyTorch-GAN and esrdgan. All of them use L1.
    """

    criterion: Literal["l1", "mse", "charbonnier"] = "l1"
    weight: Weight = 1.0


def pixel_loss(sr: Tensor, gt: Tensor, config: PixelConfig) -> Tensor:
    """Compute the weighted mean difference over all values, (B, C, H, W) twice -> () in fp32, fp64 for fp64 pictures.

    Raises UsageError for pictures of different shapes, which PyTorch would broadcast.
    """
    check_same_shape(sr, gt, "The pixel loss")
    sr, gt = to_single(sr), to_single(gt)
    match config.criterion:
        case "l1":
            loss = F.l1_loss(sr, gt)
        case "mse":
            loss = F.mse_loss(sr, gt)
        case "charbonnier":
            loss = charbonnier(sr, gt)
    return config.weight * loss


def charbonnier(sr: Tensor, gt: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + 1e-12), which is L1 with a derivative at 0 (Lai et al. 2017): (B, C, H, W) twice -> ().

    >>> charbonnier(torch.tensor([3.0, -4.0]), torch.zeros(2))
    tensor(3.5000)
    """
    return torch.sqrt((sr - gt) ** 2 + CHARBONNIER_EPS).mean()


def to_single(values: Tensor) -> Tensor:
    """Convert values to fp32, unless they are fp64: sums over a picture have too many digits for half precision."""
    return values if values.dtype == torch.float64 else values.float()


def check_same_shape(one: Tensor, other: Tensor, what: str) -> None:
    """Raise UsageError if the shapes of two tensors differ."""
    if one.shape != other.shape:
        raise UsageError(f"{what}: expected equal shapes, found {tuple(one.shape)} and {tuple(other.shape)}.")
