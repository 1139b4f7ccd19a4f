"""The base of all discriminator configurations.

A configuration is a frozen record. It comes from code, from a recipe or from the metadata of a file of unknown origin,
so every field is bounded.

Shapes: B pictures in a batch, C channels, H rows, W columns; h, w those of a map of logits.
"""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, Field

from tessera.generators.config import load_class
from tessera.libraries import import_library

if TYPE_CHECKING:
    from torch import nn

ImageChannels = Annotated[int, Field(ge=1, le=16)]
Features = Annotated[int, Field(ge=1, le=512)]
InitScale = Annotated[float, Field(gt=0.0, le=10.0)]

SLOPE = 0.2
"""Slope of all leaky ReLUs in the discriminators of the family."""


class DiscriminatorConfig(BaseModel, ABC, frozen=True, extra="forbid"):
    """Base of all discriminator configurations: (B, C, H, W), RGB in [0, 1] -> a tuple of logits, full size first.

    The network returns one tensor of logits per scale: (B, 1, h, w) per pixel or patch, or (B, 1) per picture.
    """

    network_class: ClassVar[str] = ""
    """The network's class as `module:Class`. It is a path because the class needs PyTorch and this record does not."""

    network: str
    in_channels: ImageChannels = 3
    features: Features = 64

    def build(self) -> nn.Module:
        """Build the network with random weights, in training mode, on the default device."""
        network: Any = load_class(self.network_class)
        return network(self)

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the weights, in the order of the network; built with PyTorch, without memory for them."""
        torch = import_library("torch")
        with torch.device("meta"):
            return {name: tuple(tensor.shape) for name, tensor in self.build().state_dict().items()}

    @property
    def multiple(self) -> int:
        """The network pads sides to a multiple of this number and crops its logits."""
        return 1

    @property
    def required_side(self) -> int | None:
        """The height and width that the network requires; None for any size."""
        return None

    @property
    def attention_scales(self) -> int:
        """Number of scales at which the network has attention gates (three at each); 0 without gates."""
        return 0
