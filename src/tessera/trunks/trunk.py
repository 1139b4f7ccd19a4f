"""A chain of named layers, and the normalization of its input.

Shapes: B pictures, C channels of a map, H height, W width; h, w those of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tessera.errors import UsageError


@dataclass(frozen=True)
class Normalization:
    """Input normalization of a trunk: (picture in [0, 1] - mean) / standard deviation, per RGB channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def apply(self, batch: Tensor) -> Tensor:
        """Normalize (B, 3, H, W) in [0, 1] -> the same shape, in the trunk's range."""
        mean, std = (torch.tensor(values).to(batch).view(3, 1, 1) for values in (self.mean, self.std))
        return (batch - mean) / std


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MINUS_ONE_TO_ONE = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CAFFE = Normalization((122.67892 / 255, 116.66877 / 255, 104.00699 / 255), (1 / 255, 1 / 255, 1 / 255))
"""Networks trained in Caffe: 0 to 255 minus ImageNet's mean. (BGR order is in their first convolution.)"""
NO_NORMALIZATION = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Trunk(nn.Module):
    """A chain of named layers.

    (B, 3, H, W), normalized with `normalization` -> one map (B, C, h, w) per requested layer
    """

    def __init__(
        self,
        parts: Sequence[tuple[str, nn.Module]],
        normalization: Normalization,
        *,
        numbered: bool = True,
        mixing: bool = False,
    ) -> None:
        """Build from parts in order: `numbered` ones under `features` as in torchvision, others under their names.

        With `mixing` a 1x1 convolution (`conv0`) first converts RGB to the range and order of the first part.
        """
        super().__init__()
        self.normalization = normalization
        self.layers = tuple(name for name, _ in parts)
        self.conv0 = nn.Conv2d(3, 3, 1) if mixing else nn.Identity()
        if numbered:
            self.features = nn.Sequential(*(module for _, module in parts))
            self._module_names = tuple(f"features.{index}" for index in range(len(parts)))
        else:
            for name, module in parts:
                self.add_module(name, module)
            self._module_names = self.layers

    def forward(
        self, batch: Tensor, layers: Sequence[str], pool: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the maps of these layers in the requested order; `pool` replaces every max pool.

        Raises UsageError for an unknown layer.
        """
        self.check_layers(layers)
        # Only requested maps are stored; layers after the last of them are skipped.
        found: dict[str, Tensor] = {}
        x = self.conv0(batch)
        for name, module_name in zip(self.layers, self._module_names, strict=True):
            if len(found) == len(set(layers)):
                break
            module = self.get_submodule(module_name)
            x = pool(x) if pool is not None and isinstance(module, nn.MaxPool2d) else module(x)
            if name in layers:
                found[name] = x
        return {name: found[name] for name in layers}

    def check_layers(self, layers: Sequence[str]) -> None:
        """Raise UsageError, with the list of layers, if one of these is unknown."""
        unknown = [name for name in layers if name not in self.layers]
        if unknown:
            raise UsageError(
                f"Unknown layer: {', '.join(map(repr, unknown))}; expected one of {', '.join(self.layers)}."
            )

    def smallest_side(self, layers: Sequence[str]) -> int:
        """Smallest side of a picture in pixels for which the deepest of these VGG layers has at least one value."""
        deepest = max(map(self.layers.index, layers))
        modules = [self.get_submodule(module_name) for module_name in self._module_names[: deepest + 1]]
        halvings = sum(isinstance(module, nn.MaxPool2d) for module in modules)
        # Reflection padding needs a second pixel.
        mirrored = any(isinstance(module, nn.Conv2d) and module.padding_mode == "reflect" for module in modules)
        return (2 if mirrored else 1) * 2**halvings
