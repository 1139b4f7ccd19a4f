"""Generators and engines of a few lines, used instead of mocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from tessera.engines.engine import Engine, Tiles
from tessera.generators import GeneratorConfig
from tessera.generators.drawing import Map, Pen
from tessera.images.pixels import Pixels
from tessera.tiling.mosaic import to_planes
from tessera.weights.files import LoadedGenerator


class NearestConfig(GeneratorConfig, frozen=True, extra="forbid"):
    network: Literal["nearest"] = "nearest"
    input_multiple: int = 1

    @property
    def multiple(self) -> int:
        return self.input_multiple

    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        """A convolution that the network does not have, so that it costs something."""
        return pen.nearest(pen.conv("conv", picture, 3, kernel=1), self.scale)

    def build(self) -> nn.Module:
        return Nearest(self.scale, self.input_multiple)


class Nearest(nn.Module):
    """Repeats pixels: a pointwise generator, whose tiled and untiled results must be identical."""

    def __init__(self, scale: int, multiple: int) -> None:
        super().__init__()
        self.scale, self.multiple = scale, multiple

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] % self.multiple == 0
        assert x.shape[-2] % self.multiple == 0
        return x.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)


def loaded(network: nn.Module, config: GeneratorConfig, name: str = "stand-in") -> LoadedGenerator:
    return LoadedGenerator(
        config=config,
        network=network.eval().requires_grad_(False),
        name=name,
        source=None,
        sha256="0" * 64,
        dialect="tessera",
        wrapper="raw",
        metadata={},
        notes=(),
    )


def nearest(scale: int = 4, multiple: int = 1, channels: int = 3) -> LoadedGenerator:
    config = NearestConfig(scale=scale, input_multiple=multiple, in_channels=channels, out_channels=channels)
    return loaded(config.build(), config)


class FunctionEngine:
    """An engine built from a function of (tensor of tiles, number of earlier calls); `exact` is the fp32 one."""

    name = "stand-in"
    bytes_per_pixel = 100

    def __init__(self, run: Callable[[Tensor, int], Tensor], exact: FunctionEngine | None = None) -> None:
        self.precision = "fp32" if exact is None else "bf16"
        self._run, self._exact = run, exact
        self.shapes: list[tuple[int, ...]] = []

    def run(self, tiles: Tiles) -> Tiles:
        self.shapes.append(tuple(tiles.shape))
        return self._run(torch.from_numpy(tiles), len(self.shapes) - 1).contiguous().numpy()

    def exact(self) -> FunctionEngine:
        return self._exact or self


def ran(engine: Engine, tiles: Tensor) -> Tensor:
    """Run an engine on a tensor."""
    return torch.from_numpy(engine.run(tiles.numpy()))


def repeated(scale: int = 4) -> Callable[[Tensor, int], Tensor]:
    return lambda x, _: x.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def blurred(x: Tensor, radius: int, scale: int) -> Tensor:
    """A generator with a known receptive field: box blur with zero padding, then repeated pixels."""
    size = 2 * radius + 1
    soft = torch.nn.functional.avg_pool2d(x, size, 1, radius, count_include_pad=True)
    return soft.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def to_tensor(pixels: Pixels) -> Tensor:
    """(H, W, C) uint8 or uint16 -> (1, C, H, W) in [0, 1]."""
    return torch.from_numpy(to_planes(pixels))[None]
