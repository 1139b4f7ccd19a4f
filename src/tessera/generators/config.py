"""The base of all generator configurations.

A configuration is a frozen record of sizes. It comes from code, from a recipe or from the metadata of a file, so every
field is bounded. It draws its network (`draw`); the receptive field, the cost and the memory of the network are
computed from that drawing, without PyTorch.

Shapes: B pictures in a batch, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, Field

from tessera.generators.drawing import Map, Pen
from tessera.generators.layers import Layers, record_layers
from tessera.libraries import import_library

if TYPE_CHECKING:
    from torch import nn

ImageChannels = Annotated[int, Field(ge=1, le=16)]
Features = Annotated[int, Field(ge=1, le=1024)]
Blocks = Annotated[int, Field(ge=1, le=256)]
Scale = Annotated[int, Field(ge=1, le=16)]


def _require_odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError(f"a kernel of {kernel} would shift the picture by half a pixel: give an odd size")
    return kernel


OddKernel = Annotated[int, Field(ge=1, le=15), AfterValidator(_require_odd)]
Factor = Annotated[float, Field(ge=0, le=1)]


class GeneratorConfig(BaseModel, ABC, frozen=True, extra="forbid"):
    """Base of all generator configurations: (B, C, H, W) -> (B, C, s*H, s*W), RGB in [0, 1]."""

    network_class: ClassVar[str] = ""
    """The network's class as `module:Class`. It is a path because the class needs PyTorch and this record does not."""

    network: str
    in_channels: ImageChannels = 3
    out_channels: ImageChannels = 3
    scale: Scale = 4

    @abstractmethod
    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        """Pass every operation to a pen, from the picture to the result, and return the handle of the result.

        (B, C, H, W) -> (B, C, s*H, s*W). Raises EngineError where the layers are unknown.
        """

    def build(self) -> nn.Module:
        """Build the network with fresh weights, in training mode, on the default device."""
        network: Any = load_class(self.network_class)
        return network(self)

    def is_config_of(self, network: nn.Module) -> bool:
        """Tell whether a network was built from this configuration: same class, same sizes."""
        kind = type(network)
        return f"{kind.__module__}:{kind.__qualname__}" == self.network_class and vars(network).get("config") == self

    @property
    def multiple(self) -> int:
        """Height and width of the input must divide by this number."""
        return 1

    @property
    def layers(self) -> Layers:
        """The layers of the network in order. Raises EngineError where they are unknown."""
        return _record_layers(self)

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the weights, in the order of the network."""
        return self.layers.weight_shapes

    @property
    def receptive_radius(self) -> int:
        """The distance in input pixels, horizontally or vertically, up to which a change has an effect."""
        return self.layers.receptive_radius(self.scale, self.multiple)

    def multiply_adds(self, height: int, width: int) -> int:
        """Count the multiply-adds of all convolutions for an input of this size, without the biases.

        >>> from tessera.generators import RRDBNetConfig
        >>> RRDBNetConfig().multiply_adds(128, 128)
        293713477632
        """
        return self.layers.multiply_adds(height, width)


@functools.lru_cache(maxsize=64)
def _record_layers(config: GeneratorConfig) -> Layers:
    return record_layers(config)


def load_class(path: str) -> Any:
    """Import the class that `module:Class` names."""
    module, _, name = path.partition(":")
    return getattr(import_library(module), name)
