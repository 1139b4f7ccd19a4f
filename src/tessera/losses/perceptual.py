"""Perceptual and style losses: distances of the feature maps of a trained network, and of their Gram matrices.

Maps are taken before their activation if the layer is a `conv` (ESRGAN, section 3.3). The trunk runs in the surrounding
precision (bf16 or fp16 under autocast). The normalization before it, the differences and the Gram matrices are always
fp32, because half precision loses the difference of two similar maps.

Shapes: B pictures, C channels of a map, H height, W width; h, w those of a map.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, model_validator
from torch import Tensor, nn

from tessera.errors import UnknownModelError, UsageError
from tessera.losses.pixel import Weight, check_same_shape, to_single
from tessera.trunks import TRUNKS, Trunk, load_trunk

Criterion = Literal["l1", "l2", "fro"]

ESRGAN_LAYERS = {"conv5_4": 1.0}
"""ESRGAN, PyTorch-GAN, ESRGAN-Pytorch, esrdgan."""
REAL_ESRGAN_LAYERS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}
"""Real-ESRGAN, A-ESRGAN."""
PERCEPTUAL_TRUNKS = ("vgg19", "vgg16", "vgg19-distilled", "hed-vgg16")
"""Names in `trunks.TRUNKS`, which has their sources and licenses."""


class PerceptualConfig(BaseModel, frozen=True, extra="forbid"):
    """Perceptual and style losses of the generator.

    `layers` have these weights. `normalize` False skips the trunk's normalization, for pictures that are already
    normalized (PyTorch-GAN); `range_norm` first maps [-1, 1] to [0, 1]. `joined` treats all layers as one vector
    (esrdgan), so a large map has more weight than a small one.

    Published perceptual weights: 1, in esrdgan 0.1; the style weight is 0 everywhere.
    """

    trunk: Annotated[str, Field(min_length=1, max_length=4096)] = "vgg19"
    layers: Annotated[dict[str, Weight], Field(min_length=1, max_length=64)] = ESRGAN_LAYERS
    criterion: Criterion = "l1"
    weight: Weight = 1.0
    style_weight: Weight = 0.0
    normalize: bool = True
    range_norm: bool = False
    joined: bool = False

    @model_validator(mode="before")
    @classmethod
    def _accept_old_spelling(cls, values: Any) -> Any:
        """Accept the old spelling of a key, in runs and recipes before 0.2."""
        if isinstance(values, dict) and "normalise" in values and "normalize" not in values:
            known = cast("dict[str, Any]", values)
            return {("normalize" if key == "normalise" else key): value for key, value in known.items()}
        return values

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        if self.joined and set(self.layers.values()) != {1.0}:
            raise ValueError("joined layers are one vector, so each weight must be 1")
        if self.range_norm and not self.normalize:
            raise ValueError("range_norm maps pictures to [0, 1] for the normalization, and normalize is off")
        return self


@dataclass(frozen=True)
class PerceptualTerms:
    """Both losses with their weights, () each; a loss with weight 0 is 0 and was not computed."""

    perceptual: Tensor
    style: Tensor


class PerceptualLoss(nn.Module):
    """The distance of results from the ground truth in the maps of a frozen trunk (Johnson et al. 2016; ESRGAN, 3.3).

    (B, 3, H, W) in [0, 1] twice -> () twice

    Per layer: mean of absolute differences (l1), of squares (l2), or the root of the sum of squares over the whole
    batch (fro, not normalized). Style compares Gram matrices F F^T / (C h w) (Gatys et al. 2016) by the same criterion.
    Reductions and layers are those of BasicSR. Gradients flow to the first picture only; the trunk stays in eval mode
    and is frozen.

    Raises UsageError for layers that the trunk lacks, for pictures too small for these layers, and for two pictures of
    different shapes.
    """

    def __init__(self, trunk: Trunk, config: PerceptualConfig) -> None:
        super().__init__()
        check_layers(trunk, config)
        self.config = config
        self.trunk = trunk.eval().requires_grad_(False)
        self._layers = tuple(config.layers)
        self._smallest_side = trunk.smallest_side(self._layers)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, sr: Tensor, gt: Tensor) -> PerceptualTerms:
        """Compare results with the truth."""
        check_same_shape(sr, gt, "The perceptual loss")
        if min(sr.shape[-2:]) < self._smallest_side:
            raise UsageError(
                f"The layers {', '.join(self._layers)} of this trunk need pictures of {self._smallest_side} pixels a "
                f"side, found {tuple(sr.shape[-2:])}."
            )
        config = self.config
        zero = torch.zeros((), device=sr.device)
        if config.weight == 0 and config.style_weight == 0:
            return PerceptualTerms(zero, zero)
        with torch.no_grad():
            of_gt = self._compute_maps(gt)
        of_sr = self._compute_maps(sr)
        with torch.autocast(sr.device.type, enabled=False):
            perceptual = config.weight * self._compute_distance(of_sr, of_gt) if config.weight else zero
            style = config.style_weight * self._compute_style(of_sr, of_gt) if config.style_weight else zero
        return PerceptualTerms(perceptual, style)

    def _compute_maps(self, picture: Tensor) -> list[Tensor]:
        weights = next(self.trunk.parameters())
        picture = to_single(picture).to(weights.dtype)
        if self.config.range_norm:
            picture = (picture + 1) / 2
        if self.config.normalize:
            picture = self.trunk.normalization.apply(picture)
        return list(self.trunk(picture, self._layers).values())

    def _compute_distance(self, of_sr: Sequence[Tensor], of_gt: Sequence[Tensor]) -> Tensor:
        if self.config.joined:
            x, y = (torch.cat([to_single(maps).flatten(1) for maps in each], dim=1) for each in (of_sr, of_gt))
            return distance(x, y, self.config.criterion)
        return self._sum_weighted([distance(x, y, self.config.criterion) for x, y in zip(of_sr, of_gt, strict=True)])

    def _compute_style(self, of_sr: Sequence[Tensor], of_gt: Sequence[Tensor]) -> Tensor:
        pairs = zip(of_sr, of_gt, strict=True)
        return self._sum_weighted([distance(gram(x), gram(y), self.config.criterion) for x, y in pairs])

    def _sum_weighted(self, losses: Sequence[Tensor]) -> Tensor:
        weights = self.config.layers.values()
        return torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()


def distance(x: Tensor, y: Tensor, criterion: Criterion) -> Tensor:
    """Compare two maps in fp32, any shape twice -> (): mean absolute, mean squared, or root of the sum of squares."""
    x, y = to_single(x), to_single(y)
    match criterion:
        case "l1":
            return F.l1_loss(x, y)
        case "l2":
            return F.mse_loss(x, y)
        case "fro":
            return torch.linalg.vector_norm(x - y)


def gram(maps: Tensor) -> Tensor:
    """Compute Gram matrices, (B, C, h, w) -> (B, C, C) in fp32: F F^T / (C h w).

    >>> gram(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])).tolist()
    [[[1.25, 0.75], [0.75, 2.25]]]
    """
    flat = to_single(maps).flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


# -------------------------------------------------------------------------------------------------------------- trunks


def load_perceptual_trunk(name_or_path: str | os.PathLike[str], *, offline: bool = False) -> Trunk:
    """Load one of PERCEPTUAL_TRUNKS by name, or a file, which is recognized by its keys.

    All take RGB in [0, 1] and normalize it themselves:

    - `vgg19`, `vgg16`: ImageNet, as in published losses.
    - `vgg19-distilled`: a quarter of the channels, distilled from VGG19 (3.9 MB). It ends at relu5_1, so the layers are
      {conv1_2, conv2_2, conv3_4, conv4_4, conv5_1}.
    - `hed-vgg16`: VGG16 fine-tuned on edges (59 MB). {conv1_2, conv2_2, conv3_3, conv4_3, conv5_3}.

    Distances of the last two have other magnitudes: weights that were tuned with VGG19 do not carry over.

    Raises UnknownModelError for another name, and what `trunks.load_trunk` raises.
    """
    text = os.fspath(name_or_path)
    known = text.strip().casefold()
    if known in {trunk.name for trunk in TRUNKS} - set(PERCEPTUAL_TRUNKS) and not Path(text).is_file():
        raise UnknownModelError(
            f"{text!r} is not a trunk for a perceptual loss; use {', '.join(PERCEPTUAL_TRUNKS)}, or the path of a file."
        )
    return load_trunk(name_or_path, offline=offline)


def check_layers(trunk: Trunk, config: PerceptualConfig) -> None:
    """Raise UsageError if the trunk lacks a layer, and suggest layers that it has."""
    missing = [name for name in config.layers if name not in trunk.layers]
    if not missing:
        return
    try:
        instead = substitute_layers(config.layers, trunk)
        advice = f"Use layers = {instead} instead; the distances then differ from published ones."
    except UsageError:
        advice = f"It has {', '.join(trunk.layers)}."
    raise UsageError(
        f"The trunk {config.trunk!r} has no layer {' and no layer '.join(map(repr, missing))}; the deepest it has is "
        f"{trunk.layers[-1]}. {advice}"
    )


def substitute_layers(layers: Mapping[str, float], trunk: Trunk) -> dict[str, float]:
    """Map VGG layers to the trunk's own, or the nearest earlier ones in the block; weights of equal targets add up.

    Layers are never replaced silently: the caller writes them into the configuration. Raises UsageError if a block is
    missing.
    """
    chosen: dict[str, float] = {}
    for name, weight in layers.items():
        own = _find_nearest(name, trunk)
        chosen[own] = chosen.get(own, 0.0) + weight
    return chosen


def _find_nearest(name: str, trunk: Trunk) -> str:
    if name in trunk.layers:
        return name
    match = re.fullmatch(r"(conv|relu)([1-9])_([1-9])", name)
    if match is not None:
        before = (f"{match[1]}{match[2]}_{number}" for number in range(int(match[3]) - 1, 0, -1))
        found = next((each for each in before if each in trunk.layers), None)
        if found is not None:
            return found
    raise UsageError(f"This trunk has no counterpart of {name!r}; it has {', '.join(trunk.layers)}.")
