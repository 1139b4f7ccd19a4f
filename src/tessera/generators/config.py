"""What every generator's configuration has in common, and the arithmetic that follows from it.

A configuration is a frozen record of whole numbers. It comes from code, from a recipe or from the metadata of a file
that somebody else wrote, so every field is bounded. A configuration lists its layers in order (`steps`), and the reach
of the network, its cost and its smallest input are computed from that list, not measured.

Shapes: B pictures in a batch, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from torch import nn

ImageChannels = Annotated[int, Field(ge=1, le=16)]
Features = Annotated[int, Field(ge=1, le=1024)]
Blocks = Annotated[int, Field(ge=1, le=256)]
Scale = Annotated[int, Field(ge=1, le=16)]


class Conv(NamedTuple):
    """A square convolution with stride 1, padded so that height and width stay."""

    inputs: int
    outputs: int
    kernel: int = 3


class Enlarge(NamedTuple):
    """Nearest-neighbor enlargement or a pixel shuffle: one pixel becomes factor x factor."""

    factor: int


class Unshuffle(NamedTuple):
    """A pixel unshuffle: factor x factor pixels become the channels of one."""

    factor: int


Step = Conv | Enlarge | Unshuffle


class GeneratorConfig(BaseModel, ABC, frozen=True, extra="forbid"):
    """Base of all generator configurations: (B, C, H, W) -> (B, C, s*H, s*W), RGB in [0, 1]."""

    network: str
    in_channels: ImageChannels = 3
    out_channels: ImageChannels = 3
    scale: Scale = 4

    @abstractmethod
    def steps(self) -> Iterator[Step]:
        """Yield the longest chain of layers from input to output; dense and skip connections are shorter."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Make the network with fresh weights, in training mode, on the default device."""

    @property
    def multiple(self) -> int:
        """Height and width of the input must divide by this number."""
        return 1

    @property
    def receptive_radius(self) -> int:
        """How many input pixels away a change can still be felt, horizontally or vertically.

        Follows the layers backwards from every phase of an output pixel, so it is exact for any chain of steps.
        """
        steps = list(self.steps())
        phases = self.scale * self.multiple
        reach = 0
        for phase in range(phases):
            low = high = phase
            for step in reversed(steps):
                match step:
                    case Conv(kernel=kernel):
                        low, high = low - kernel // 2, high + kernel // 2
                    case Enlarge(factor=factor):
                        low, high = low // factor, high // factor
                    case Unshuffle(factor=factor):
                        low, high = low * factor, high * factor + factor - 1
            here = phase // self.scale
            reach = max(reach, here - low, high - here)
        return reach

    def multiply_adds(self, height: int, width: int) -> int:
        """Count the multiply-adds of all convolutions for an input of this size, without the biases.

        >>> from tessera.generators import RRDBNetConfig
        >>> RRDBNetConfig().multiply_adds(128, 128)
        293713477632
        """
        zoom = Fraction(1)
        per_pixel = Fraction(0)
        for step in self.steps():
            match step:
                case Conv(inputs=inputs, outputs=outputs, kernel=kernel):
                    per_pixel += inputs * outputs * kernel**2 * zoom**2
                case Enlarge(factor=factor):
                    zoom *= factor
                case Unshuffle(factor=factor):
                    zoom /= factor
        return int(per_pixel * height * width)


def rrdb_steps(features: int, growth: int, blocks: int, last_kernel: int = 3) -> Iterator[Step]:
    """Yield the convolutions of a trunk of residual-in-residual dense blocks (three dense blocks of five each)."""
    for _ in range(blocks * 3):
        for earlier in range(4):
            yield Conv(features + earlier * growth, growth)
        yield Conv(features + 4 * growth, features, last_kernel)
