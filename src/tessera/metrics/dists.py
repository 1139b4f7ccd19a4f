"""DISTS: similarity of structure and texture in the feature maps of VGG16.

Ding, Ma, Wang, Simoncelli 2020, with the published weights. Shapes: B pictures, C channels of a map, H
height, W width.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.errors import UsageError, WeightsError
from tessera.metrics.metric import Accumulator, Frame, Start
from tessera.metrics.whole import check_pair, measure_whole
from tessera.trunks import Trunk, fetch_published, load_trunk, read_tensors, take_tensors
from tessera.weights.published import RemoteFile

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
CHANNELS = (3, 64, 128, 256, 512, 512)
"""Channels of the picture and of the five maps."""
_C1 = _C2 = 1e-6
_POOL_EPS = 1e-12

WEIGHTS = RemoteFile(
    "DISTS_weights-f5e65c96.pth",
    (
        "https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/DISTS_weights-f5e65c96.pth",
        "https://raw.githubusercontent.com/dingkeyan93/DISTS/master/DISTS_pytorch/weights.pt",
    ),
    12_288,
    frozenset({"f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"}),
)
WEIGHTS_LICENSE = "MIT"


@dataclass(frozen=True)
class DistsModel:
    """VGG16 and the channel weights of texture (`alpha`) and structure (`beta`), (1475,) each."""

    trunk: Trunk
    alpha: Tensor
    beta: Tensor

    @staticmethod
    def load(
        *,
        trunk: str | os.PathLike[str] | None = None,
        weights: str | os.PathLike[str] | None = None,
        offline: bool = False,
    ) -> DistsModel:
        """Load the published model; `trunk` and `weights` name files to use instead.

        Raises the errors of `trunks.load_trunk`.
        """
        path = fetch_published("dists", WEIGHTS, WEIGHTS_LICENSE, offline=offline) if weights is None else Path(weights)
        alpha, beta = read_weights(path)
        return DistsModel(load_trunk(trunk or "vgg16", offline=offline), alpha, beta)

    def to(self, device: torch.device | str) -> DistsModel:
        """Move the model to another device."""
        return DistsModel(self.trunk.to(device), self.alpha.to(device), self.beta.to(device))


def read_weights(path: Path) -> tuple[Tensor, Tensor]:
    """Read alpha and beta, (1475,) each, from a file in the published layout. Raises WeightsError."""
    shape = (1, sum(CHANNELS), 1, 1)
    taken = take_tensors(path, read_tensors(path), {"alpha": shape, "beta": shape}, "DISTS")
    alpha, beta = taken["alpha"].flatten(), taken["beta"].flatten()
    if not float(alpha.sum() + beta.sum()) > 0:
        raise WeightsError(f"{path}: expected weights with a sum above 0, found 0 or less. Download the file again.")
    return alpha, beta


def dists(sr: Tensor, gt: Tensor, model: DistsModel, *, shorter_side: int | None = None) -> Tensor:
    """Distance of RGB in [0, 1], (B, 3, H, W) twice -> (B,) float64; 0 is equal, about 1 the maximum.

    For the picture and five maps, similarity of the means (texture) and of the correlation (structure), as in SSIM but
    over the whole map, weighted per channel (Ding 2020, equations 4 to 6). Every max pool of VGG16 is replaced by an L2
    pool with a Hann window (section II-A). With `shorter_side`, larger pictures are downsampled first; the published
    scores use 256. Differentiable in both pictures. Raises UsageError for pictures of different size.
    """
    check_pair(sr, gt, 1, "DISTS")
    if shorter_side is not None:
        sr, gt = _downsample(sr, shorter_side), _downsample(gt, shorter_side)
    maps_sr, maps_gt = (
        (picture, *model.trunk(model.trunk.normalization.apply(picture), LAYERS, pool=l2_pool).values())
        for picture in (sr, gt)
    )
    share = (model.alpha.double().sum() + model.beta.double().sum()).to(sr.device)
    alphas, betas = (weights.double().to(sr.device).split(CHANNELS) for weights in (model.alpha, model.beta))
    total = torch.zeros(len(sr), dtype=torch.float64, device=sr.device)
    for x, y, alpha, beta in zip(maps_sr, maps_gt, alphas, betas, strict=True):
        texture, structure = _similarities(x, y)
        # Equal to 1 minus the weighted similarities; in this order equal pictures give exactly 0.
        total = total + ((1 - texture) * alpha + (1 - structure) * beta).sum(dim=1) / share
    return total


def start_dists(model: DistsModel) -> Start:
    """Start DISTS on whole pictures, at their native size."""

    def start(_: Frame) -> Accumulator:
        return measure_whole(lambda sr, gt: float(dists(sr, gt, model)))

    return start


def l2_pool(maps: Tensor) -> Tensor:
    """L2 pooling with a 3x3 Hann window and stride 2: (B, C, h, w) -> (B, C, (h+1)/2, (w+1)/2)."""
    row = torch.tensor((0.25, 0.5, 0.25)).to(maps)
    window = (row[:, None] * row).expand(maps.shape[1], 1, 3, 3)
    return (F.conv2d(maps * maps, window, stride=2, padding=1, groups=maps.shape[1]) + _POOL_EPS).sqrt()


def _similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Similarities of texture and structure: (B, C, h, w) twice -> (B, C) twice, float64."""

    def mean(maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3), dtype=torch.float64)

    mean_x, mean_y = mean(x), mean(y)
    texture = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    # Centered first: a mean of products minus a product of means loses the digits of nearly constant maps.
    around_x, around_y = (maps - m.to(maps)[..., None, None] for maps, m in ((x, mean_x), (y, mean_y)))
    common = mean(around_x * around_y)
    structure = (2 * common + _C2) / (mean(around_x * around_x) + mean(around_y * around_y) + _C2)
    return texture, structure


def _downsample(picture: Tensor, shorter_side: int) -> Tensor:
    """Downsample as the published script: bilinear with antialiasing, the longer side in proportion, rounded down."""
    if shorter_side < 1:
        raise UsageError(f"shorter_side: expected 1 or more, found {shorter_side}.")
    height, width = picture.shape[-2:]
    now = min(height, width)
    if now <= shorter_side:
        return picture
    size = [shorter_side * height // now, shorter_side * width // now]
    return F.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=True)
