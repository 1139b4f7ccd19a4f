"""A network with whole numbers: which layers have them, which numbers, and how to run it in PyTorch as runtimes do.

A layer in int8 reads the whole numbers q - zero of its input, multiplies them with whole weights, and scales the sums
of each output channel; scales of input channels are part of the weights. Sums of the trunk are never rounded. What
lies between two layers is rounded once, where it is made, for all that read it.

Shapes: B pictures, C channels, H rows, W columns, O output channels, K the kernel's height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tessera.deploy.drawing import Drawing, Made
from tessera.deploy.ranges import LEVELS, Quantizer
from tessera.generators import GeneratorConfig

Value = TypeVar("Value")
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Int8Layer:
    """A convolution in whole numbers: sum of weight * (q - zero), times scale, plus bias."""

    weight: NDArray[np.int8]
    """(O, C, K, K)"""
    scale: NDArray[np.float32]
    """(O,)"""
    bias: NDArray[np.float32]
    """(O,)"""

    @property
    def kernel(self) -> NDArray[np.float32]:
        """What the whole weights stand for: (O, C, K, K)."""
        return self.weight.astype(np.float32) * self.scale[:, None, None, None]


@dataclass(frozen=True)
class Int8Network:
    """Everything that a writer needs: the drawing, numbers of all layers in fp32, and those of the layers in int8."""

    config: GeneratorConfig
    drawing: Drawing
    arrays: Arrays
    """`LAYER.weight` and `LAYER.bias` of every place in the drawing, equalized."""
    quantizers: Mapping[int, Quantizer]
    """Of the maps that layers in int8 read, by the maps' numbers."""
    layers: Mapping[str, Int8Layer]
    """Of the layers in int8, by their names."""

    @property
    def kept(self) -> tuple[str, ...]:
        """The convolutions that are not in int8."""
        return tuple(made.layer for _, made in self.drawing.convolutions if made.layer not in self.layers)

    @torch.inference_mode()
    def run(self, x: Tensor) -> Tensor:
        """What a runtime makes of it, in PyTorch: (B, C, H, W) in [0, 1] -> (B, C, s*H, s*W), not clipped."""

        def step(_: int, made: Made, inputs: Sequence[Tensor]) -> Tensor:
            if made.kind == "conv" and made.layer in self.layers:
                layer = self.layers[made.layer]
                whole = joined(self.drawing, self.quantizers, made.reads[0]).whole(inputs[0])
                return activated(convolved(whole, layer.kernel, layer.bias), made)
            return apply(made, inputs, self.arrays)

        return walk(self.drawing, x, step)


@dataclass(frozen=True)
class InputQuantizer:
    """The quantizers of all maps that a layer reads, joined."""

    scale: Tensor
    zero: Tensor
    """Both (1, C, 1, 1)."""

    def whole(self, values: Tensor) -> Tensor:
        """The numbers q - zero, as float32: (B, C, H, W) -> (B, C, H, W)."""
        return torch.clamp((values / self.scale).round_(), -self.zero, LEVELS - self.zero)


def joined(drawing: Drawing, quantizers: Mapping[int, Quantizer], number: int) -> InputQuantizer:
    """What rounds a map, from what rounds its parts."""
    parts = [quantizers[part] for part in drawing.parts(number)]
    scale = torch.cat([torch.from_numpy(part.scale) for part in parts])
    zero = torch.cat([torch.full((len(part.scale),), float(part.zero)) for part in parts])
    return InputQuantizer(scale.reshape(1, -1, 1, 1), zero.reshape(1, -1, 1, 1))


def walk(drawing: Drawing, picture: Value, step: Callable[[int, Made, Sequence[Value]], Value]) -> Value:
    """Make map after map with `step(number, made, what it reads)`; each is let go after its last reader."""
    last = {read: number for number, made in enumerate(drawing.maps) for read in made.reads}
    values: dict[int, Value] = {0: picture}
    for number, made in enumerate(drawing.maps):
        if made.kind == "picture":
            continue
        values[number] = step(number, made, [values[read] for read in made.reads])
        for read in set(made.reads):
            if last[read] == number and read != drawing.end:
                del values[read]
    return values[drawing.end]


def apply(made: Made, inputs: Sequence[Tensor], arrays: Arrays) -> Tensor:
    """One operation in fp32."""
    x = inputs[0]
    match made.kind:
        case "conv":
            return activated(convolved(x, arrays[f"{made.layer}.weight"], arrays[f"{made.layer}.bias"]), made)
        case "prelu":
            return F.prelu(x, torch.from_numpy(arrays[f"{made.layer}.weight"]))
        case "concat":
            return torch.cat(list(inputs), 1)
        case "add":
            return torch.add(inputs[1], x, alpha=made.factor)
        case "affine":
            factors, offsets = (torch.tensor(each).reshape(1, -1, 1, 1) for each in (made.factors, made.offsets))
            return x * factors + offsets
        case "nearest":
            return F.interpolate(x, scale_factor=made.factor, mode="nearest")
        case "shuffle":
            return F.pixel_shuffle(x, int(made.factor))
        case "unshuffle":
            return F.pixel_unshuffle(x, int(made.factor))
        case "picture":
            return x


def convolved(x: Tensor, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Tensor:
    """A convolution that keeps height and width: (B, C, H, W) -> (B, O, H, W)."""
    height, width = weight.shape[2:]
    return F.conv2d(x, torch.from_numpy(weight), torch.from_numpy(bias), padding=(height // 2, width // 2))


def activated(x: Tensor, made: Made) -> Tensor:
    """The leaky ReLU behind a convolution, where there is one."""
    return x if made.slope is None else F.leaky_relu(x, made.slope)
