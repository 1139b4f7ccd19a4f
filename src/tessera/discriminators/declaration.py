"""The declaration of a discriminator, next to its network.

Recipes, weights files, recognition and attention maps read these declarations; `catalog.DISCRIMINATORS` lists them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from types import MappingProxyType
from typing import Any

from tessera.discriminators.config import DiscriminatorConfig
from tessera.generators.dialect import Dialect, Shapes


@dataclass(frozen=True)
class Discriminator:
    """One kind of discriminator.

    Args:
        name: Its name in recipes and in the metadata of weights files: the `network` of its configuration.
        config: Its configuration, which builds the network and knows what the network takes (`multiple`,
            `required_side`, `attention_scales`).
        dialects: The namings of its tensors, in the order in which a file is compared with them.
        summary: One line for lists of discriminators.
    """

    name: str
    config: type[DiscriminatorConfig]
    dialects: tuple[Dialect[Any], ...]
    summary: str

    @property
    def takes_any_size(self) -> bool:
        """Whether the network takes pictures of any size; otherwise `input_size` is built into it."""
        return "input_size" not in self.config.model_fields

    @property
    def has_attention(self) -> bool:
        """Whether the network has attention gates whose maps can be shown."""
        return self.config.model_validate({}).attention_scales > 0


@lru_cache(maxsize=32)
def own_names(config: DiscriminatorConfig) -> Mapping[str, str]:
    """The `names` of a dialect that keeps the network's own names."""
    return MappingProxyType({name: name for name in config.weight_shapes})


def compute_map_side(shapes: Shapes, linear: str, channels: int) -> int:
    """Side of the square map with this number of channels that a linear layer reads; 0 if the map is not square."""
    shape = shapes.get(linear, ())
    pixels = shape[1] // max(channels, 1) if len(shape) == 2 else 0
    return isqrt(pixels) if isqrt(pixels) ** 2 == pixels else 0
