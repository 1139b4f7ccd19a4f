"""LPIPS: distance of two pictures in the feature maps of a trained network.

Zhang, Isola, Efros, Shechtman, Wang 2018, version 0.1, with the published linear weights. Shapes: B
pictures, C channels of a map, H height, W width.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from tessera.errors import UsageError
from tessera.metrics.metric import Accumulator, Frame, Start
from tessera.metrics.whole import check_pair, measure_whole
from tessera.trunks import Trunk, fetch_published, load_trunk, read_tensors, take_tensors
from tessera.weights.published import RemoteFile

Net = Literal["alex", "vgg", "squeeze"]

# For a picture in [-1, 1]; close to ImageNet's statistics but not equal (the published ScalingLayer).
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPS = 1e-10


@dataclass(frozen=True, kw_only=True)
class LpipsNet:
    """One of the three variants: its trunk, the maps with their channels, and the file of its heads."""

    name: Net
    trunk: str
    layers: tuple[tuple[str, int], ...]
    smallest_side: int
    heads: RemoteFile


def _heads(net: Net, size: int, sha256: str) -> RemoteFile:
    name = f"LPIPS_v0.1_{net}-{sha256[:8]}.pth"
    return RemoteFile(
        name,
        (
            f"https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/{net}.pth",
            f"https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/{name}",
        ),
        size,
        frozenset({sha256}),
    )


HEADS_LICENSE = "BSD-2-Clause"
LPIPS_NETS: tuple[LpipsNet, ...] = (
    LpipsNet(
        name="alex",
        trunk="alexnet",
        layers=(("relu1", 64), ("relu2", 192), ("relu3", 384), ("relu4", 256), ("relu5", 256)),
        smallest_side=31,
        heads=_heads("alex", 6_009, "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
    ),
    LpipsNet(
        name="vgg",
        trunk="vgg16",
        layers=(("relu1_2", 64), ("relu2_2", 128), ("relu3_3", 256), ("relu4_3", 512), ("relu5_3", 512)),
        smallest_side=16,
        heads=_heads("vgg", 7_289, "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
    ),
    LpipsNet(
        name="squeeze",
        trunk="squeezenet1_1",
        layers=(
            *(("relu1", 64), ("fire3", 128), ("fire5", 256)),
            *(("fire6", 384), ("fire7", 384), ("fire8", 512), ("fire9", 512)),
        ),
        smallest_side=17,
        heads=_heads("squeeze", 10_811, "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76"),
    ),
)


@dataclass(frozen=True)
class LpipsModel:
    """A trunk and its channel weights: heads of shape (C,), one per layer."""

    net: LpipsNet
    trunk: Trunk
    heads: tuple[Tensor, ...]

    @staticmethod
    def load(
        net: Net,
        *,
        trunk: str | os.PathLike[str] | None = None,
        heads: str | os.PathLike[str] | None = None,
        offline: bool = False,
    ) -> LpipsModel:
        """Load a variant of LPIPS; `trunk` and `heads` name files to use instead of the published ones.

        Raises UsageError for an unknown variant, and the errors of `trunks.load_trunk`.
        """
        chosen = find_net(net)
        path = (
            fetch_published(f"lpips-{chosen.name}", chosen.heads, HEADS_LICENSE, offline=offline)
            if heads is None
            else Path(heads)
        )
        weights = read_heads(path, chosen)
        return LpipsModel(chosen, load_trunk(trunk or chosen.trunk, offline=offline), weights)

    def to(self, device: torch.device | str) -> LpipsModel:
        """Move the model to another device."""
        return LpipsModel(self.net, self.trunk.to(device), tuple(head.to(device) for head in self.heads))


def find_net(net: str) -> LpipsNet:
    """Find a variant by name. Raises UsageError for an unknown one."""
    found = next((each for each in LPIPS_NETS if each.name == net), None)
    if found is None:
        raise UsageError(f"LPIPS: expected one of {', '.join(each.name for each in LPIPS_NETS)}, found {net!r}.")
    return found


def read_heads(path: Path, net: LpipsNet) -> tuple[Tensor, ...]:
    """Read the channel weights, (C,) per layer, from a file in the published layout. Raises WeightsError."""
    shapes = {f"lin{number}.model.1.weight": (1, channels, 1, 1) for number, (_, channels) in enumerate(net.layers)}
    taken = take_tensors(path, read_tensors(path), shapes, f"the heads of LPIPS ({net.name})")
    return tuple(taken[name].flatten() for name in shapes)


def lpips(sr: Tensor, gt: Tensor, model: LpipsModel) -> Tensor:
    """Perceptual distance of RGB in [0, 1], (B, 3, H, W) twice -> (B,) float64; 0 is equal, lower is better.

    Photographs score between 0 and about 1. Maps are normalized to unit length over channels; squared differences are
    weighted by the heads and averaged over positions (Zhang 2018, equation 1). Differentiable in both pictures.
    Raises UsageError for pictures of different sizes or below the smallest size.
    """
    check_pair(sr, gt, model.net.smallest_side, f"LPIPS ({model.net.name})")
    layers = [name for name, _ in model.net.layers]
    maps_sr, maps_gt = (model.trunk(_normalize_input(picture), layers) for picture in (sr, gt))
    total = torch.zeros(len(sr), dtype=torch.float64, device=sr.device)
    for name, head in zip(layers, model.heads, strict=True):
        squares = (_normalize_channels(maps_sr[name]) - _normalize_channels(maps_gt[name])) ** 2
        total = total + (squares * head.to(squares).view(-1, 1, 1)).sum(dim=1).mean(dim=(1, 2), dtype=torch.float64)
    return total


def start_lpips(model: LpipsModel) -> Start:
    """Start LPIPS on whole pictures."""

    def start(_: Frame) -> Accumulator:
        return measure_whole(lambda sr, gt: float(lpips(sr, gt, model)))

    return start


def _normalize_input(picture: Tensor) -> Tensor:
    shift, scale = (torch.tensor(values).to(picture).view(3, 1, 1) for values in (_SHIFT, _SCALE))
    return (2 * picture - 1 - shift) / scale


def _normalize_channels(maps: Tensor) -> Tensor:
    """Normalize the channel vectors to unit length; zero vectors stay zero."""
    square = (maps * maps).sum(dim=1, keepdim=True)
    # The gradient of the square root at 0 is infinite, and times 0 it is NaN.
    is_zero = square == 0
    return maps / (torch.where(is_zero, 1.0, square).sqrt() * ~is_zero + _EPS)
