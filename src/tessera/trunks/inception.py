"""Inception v3 as used by the Fréchet inception distance.

Shapes: B pictures, C channels of a map, H height, W width; h, w those of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tessera.trunks.trunk import MINUS_ONE_TO_ONE, Normalization, Trunk

INCEPTION_CLASSES = 1008
_INCEPTION_EPS = 0.001


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalization, ReLU: (B, C, H, W) -> (B, C', h, w)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, padding: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=_INCEPTION_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in order."""
        return torch.relu(self.bn(self.conv(x)))


@dataclass(frozen=True)
class _Step:
    """One convolution of a branch; a strided one has no padding."""

    name: str
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


_Branch = tuple[nn.Module | None, tuple[tuple[_Step, ...], ...]]
"""An optional pool, then the steps after it; steps in one tuple read the same map and are concatenated."""


class Mixed(nn.Module):
    """Branches that read the same map and are concatenated (Szegedy 2015): (B, C, H, W) -> (B, C', h, w)."""

    def __init__(self, inputs: int, branches: Sequence[_Branch]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.Identity() if pool is None else pool for pool, _ in branches)
        self._levels = tuple(levels for _, levels in branches)
        for levels in self._levels:
            channels = inputs
            for level in levels:
                for step in level:
                    height, width = step.kernel
                    padding = (height // 2, width // 2) if step.stride == 1 else (0, 0)
                    self.add_module(step.name, ConvNorm(channels, step.outputs, step.kernel, step.stride, padding))
                channels = level[0].outputs

    def forward(self, x: Tensor) -> Tensor:
        """Run every branch."""
        ends: list[Tensor] = []
        for pool, levels in zip(self.pools, self._levels, strict=True):
            maps: list[Tensor] = [pool(x)]
            for level in levels:
                maps = [self.get_submodule(step.name)(maps[0]) for step in level]
            ends += maps
        return torch.cat(ends, dim=1)


class _SpatialMean(nn.Module):
    """The mean over all positions: (B, C, h, w) -> (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Take the mean."""
        return x.mean(dim=(2, 3))


def _conv_branch(*steps: _Step) -> _Branch:
    return None, tuple((step,) for step in steps)


def _pool_branch(outputs: int, *, largest: bool = False) -> _Branch:
    # The published network averages over positions inside the picture only, and has a max pool in its last block.
    pool = nn.MaxPool2d(3, 1, 1) if largest else nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return pool, ((_Step("branch_pool", outputs),),)


def _build_reduction_branch() -> _Branch:
    return nn.MaxPool2d(3, 2), ()


def _build_mixed_5(inputs: int, pooled: int) -> Mixed:
    double, five = "branch3x3dbl", "branch5x5"
    return Mixed(
        inputs,
        (
            _conv_branch(_Step("branch1x1", 64)),
            _conv_branch(_Step(f"{five}_1", 48), _Step(f"{five}_2", 64, (5, 5))),
            _conv_branch(_Step(f"{double}_1", 64), _Step(f"{double}_2", 96, (3, 3)), _Step(f"{double}_3", 96, (3, 3))),
            _pool_branch(pooled),
        ),
    )


def _build_mixed_6a(inputs: int) -> Mixed:
    double = "branch3x3dbl"
    return Mixed(
        inputs,
        (
            _conv_branch(_Step("branch3x3", 384, (3, 3), 2)),
            _conv_branch(
                _Step(f"{double}_1", 64), _Step(f"{double}_2", 96, (3, 3)), _Step(f"{double}_3", 96, (3, 3), 2)
            ),
            _build_reduction_branch(),
        ),
    )


def _build_mixed_6(inputs: int, inner: int) -> Mixed:
    across, down = (1, 7), (7, 1)
    single, double = "branch7x7", "branch7x7dbl"
    return Mixed(
        inputs,
        (
            _conv_branch(_Step("branch1x1", 192)),
            _conv_branch(
                _Step(f"{single}_1", inner), _Step(f"{single}_2", inner, across), _Step(f"{single}_3", 192, down)
            ),
            _conv_branch(
                _Step(f"{double}_1", inner),
                _Step(f"{double}_2", inner, down),
                _Step(f"{double}_3", inner, across),
                _Step(f"{double}_4", inner, down),
                _Step(f"{double}_5", 192, across),
            ),
            _pool_branch(192),
        ),
    )


def _build_mixed_7a(inputs: int) -> Mixed:
    long = "branch7x7x3"
    return Mixed(
        inputs,
        (
            _conv_branch(_Step("branch3x3_1", 192), _Step("branch3x3_2", 320, (3, 3), 2)),
            _conv_branch(
                _Step(f"{long}_1", 192),
                _Step(f"{long}_2", 192, (1, 7)),
                _Step(f"{long}_3", 192, (7, 1)),
                _Step(f"{long}_4", 192, (3, 3), 2),
            ),
            _build_reduction_branch(),
        ),
    )


def _build_mixed_7(inputs: int, *, largest: bool) -> Mixed:
    def fork(name: str) -> tuple[_Step, ...]:
        return _Step(f"{name}a", 384, (1, 3)), _Step(f"{name}b", 384, (3, 1))

    double = "branch3x3dbl"
    return Mixed(
        inputs,
        (
            _conv_branch(_Step("branch1x1", 320)),
            (None, ((_Step("branch3x3_1", 384),), fork("branch3x3_2"))),
            (None, ((_Step(f"{double}_1", 448),), (_Step(f"{double}_2", 384, (3, 3)),), fork(f"{double}_3"))),
            _pool_branch(192, largest=largest),
        ),
    )


def inception(normalization: Normalization = MINUS_ONE_TO_ONE) -> Trunk:
    """Inception v3 as FID uses it, for pictures of 299x299: `pool3` gives (B, 2048), `fc` (B, 1008) before softmax.

    The layout is torchvision's; the weights are those that TensorFlow published on 2015-12-05, in which average pools
    exclude the padding and Mixed_7c has a max pool (Heusel 2017; Seitzer's port).
    """
    parts: list[tuple[str, nn.Module]] = [
        ("Conv2d_1a_3x3", ConvNorm(3, 32, (3, 3), 2)),
        ("Conv2d_2a_3x3", ConvNorm(32, 32, (3, 3))),
        ("Conv2d_2b_3x3", ConvNorm(32, 64, (3, 3), padding=(1, 1))),
        ("pool1", nn.MaxPool2d(3, 2)),
        ("Conv2d_3b_1x1", ConvNorm(64, 80, (1, 1))),
        ("Conv2d_4a_3x3", ConvNorm(80, 192, (3, 3))),
        ("pool2", nn.MaxPool2d(3, 2)),
        ("Mixed_5b", _build_mixed_5(192, 32)),
        ("Mixed_5c", _build_mixed_5(256, 64)),
        ("Mixed_5d", _build_mixed_5(288, 64)),
        ("Mixed_6a", _build_mixed_6a(288)),
        ("Mixed_6b", _build_mixed_6(768, 128)),
        ("Mixed_6c", _build_mixed_6(768, 160)),
        ("Mixed_6d", _build_mixed_6(768, 160)),
        ("Mixed_6e", _build_mixed_6(768, 192)),
        ("Mixed_7a", _build_mixed_7a(768)),
        ("Mixed_7b", _build_mixed_7(1280, largest=False)),
        ("Mixed_7c", _build_mixed_7(2048, largest=True)),
        ("pool3", _SpatialMean()),
        ("fc", nn.Linear(2048, INCEPTION_CLASSES)),
    ]
    return Trunk(parts, normalization, numbered=False)
