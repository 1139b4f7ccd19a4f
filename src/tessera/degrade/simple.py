"""Plain downscaling, as in the classical data sets of super-resolution, with each system's own kernel.

Shapes: B pictures, H height, W width, s the scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel
from torch import Tensor

from tessera.images.resize import resize

ResamplingKind = Literal["matlab-bicubic", "pil-bicubic", "cv2-cubic", "area"]


class MatlabBicubic(BaseModel, frozen=True, extra="forbid"):
    """MATLAB's imresize: bicubic with antialiasing. The standard of papers, including ESRGAN."""

    kind: Literal["matlab-bicubic"] = "matlab-bicubic"


class PilBicubic(BaseModel, frozen=True, extra="forbid"):
    """Pillow's bicubic: with antialiasing, truncated at the borders (ESRGAN-Pytorch, PyTorch-GAN)."""

    kind: Literal["pil-bicubic"] = "pil-bicubic"


class Cv2Cubic(BaseModel, frozen=True, extra="forbid"):
    """OpenCV's INTER_CUBIC: a = -0.75, without antialiasing (esrdgan)."""

    kind: Literal["cv2-cubic"] = "cv2-cubic"


class Area(BaseModel, frozen=True, extra="forbid"):
    """Mean of the covered pixels: OpenCV's INTER_AREA at integer scales."""

    kind: Literal["area"] = "area"


@dataclass(frozen=True, kw_only=True)
class ResamplingDraw:
    """A draw without randomness: the kernel, and the pictures it is for."""

    kind: ResamplingKind
    pictures: int
    height: int
    width: int
    scale: int


def to_8_bits(image: Tensor) -> Tensor:
    """Clip to [0, 1] and round to 255ths."""
    return (image * 255).round_().clamp_(0, 255).div_(255)


def shrink(gt: Tensor, kind: ResamplingKind, scale: int) -> Tensor:
    """Downscale pictures by an integer, (B, 3, H, W) -> (B, 3, H//s, W//s), RGB in [0, 1] rounded to 255ths.

    Rows and columns beyond a multiple of the scale are cropped at the bottom and right first.
    """
    height, width = gt.shape[-2] // scale, gt.shape[-1] // scale
    gt = gt[..., : height * scale, : width * scale]
    with torch.no_grad():
        match kind:
            case "matlab-bicubic":
                return to_8_bits(resize(gt, size=(height, width)))
            case "pil-bicubic":  # Pillow rounds to 8 bits between its two passes, horizontal first
                across = F.interpolate(gt, size=(gt.shape[-2], width), mode="bicubic", antialias=True)
                return to_8_bits(F.interpolate(to_8_bits(across), size=(height, width), mode="bicubic", antialias=True))
            case "cv2-cubic":
                return to_8_bits(F.interpolate(gt, size=(height, width), mode="bicubic"))
            case "area":
                return to_8_bits(F.avg_pool2d(gt, scale))
