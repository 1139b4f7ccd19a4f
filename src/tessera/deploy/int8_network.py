"""An int8 network: its quantized layers, their values, and a reference execution in PyTorch.

A layer in int8 reads the integers q - zero of its input, multiplies them with integer weights, and scales the sums
of each output channel; scales of input channels are part of the weights. Sums of the trunk are never rounded. What
lies between two layers is rounded once, where it is computed, for all that read it.

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

from tessera.deploy.dataflow import list_parts
from tessera.deploy.ranges import LEVELS, Quantizer
from tessera.generators import GeneratorConfig
from tessera.generators.layers import Layer, Layers

Value = TypeVar("Value")
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Int8Layer:
    """A convolution in int8: sum of weight * (q - zero), times scale, plus bias."""

    weight: NDArray[np.int8]
    """(O, C, K, K)"""
    scale: NDArray[np.float32]
    """(O,)"""
    bias: NDArray[np.float32]
    """(O,)"""

    @property
    def kernel(self) -> NDArray[np.float32]:
        """The dequantized weights: (O, C, K, K)."""
        return self.weight.astype(np.float32) * self.scale[:, None, None, None]


@dataclass(frozen=True)
class Int8Network:
    """Everything that a writer needs: the layers, their fp32 weights, and the weights of the layers in int8."""

    config: GeneratorConfig
    graph: Layers
    arrays: Arrays
    """`NAME.weight` and `NAME.bias` of every layer, equalized."""
    quantizers: Mapping[int, Quantizer]
    """Of the maps that layers in int8 read, by the maps' numbers."""
    layers: Mapping[str, Int8Layer]
    """Of the layers in int8, by their names."""

    @property
    def kept(self) -> tuple[str, ...]:
        """The convolutions that are not in int8."""
        return tuple(node.name for _, node in self.graph.convolutions if node.name not in self.layers)

    @torch.inference_mode()
    def run(self, x: Tensor) -> Tensor:
        """Run it in PyTorch as runtimes do: (B, C, H, W) in [0, 1] -> (B, C, s*H, s*W), not clipped."""

        def run_layer(_: int, node: Layer, inputs: Sequence[Tensor]) -> Tensor:
            if node.kind == "conv" and node.name in self.layers:
                layer = self.layers[node.name]
                whole = concat_quantizers(self.graph, self.quantizers, node.reads[0]).quantize(inputs[0])
                return activate(convolve(whole, layer.kernel, layer.bias), node)
            return apply_layer(node, inputs, self.arrays)

        return run_layers(self.graph, x, run_layer)


@dataclass(frozen=True)
class InputQuantizer:
    """The quantizers of all maps that a layer reads, concatenated."""

    scale: Tensor
    zero: Tensor
    """Both (1, C, 1, 1)."""

    def quantize(self, values: Tensor) -> Tensor:
        """Quantize to q - zero, as float32: (B, C, H, W) -> (B, C, H, W)."""
        return torch.clamp((values / self.scale).round_(), -self.zero, LEVELS - self.zero)


def concat_quantizers(graph: Layers, quantizers: Mapping[int, Quantizer], number: int) -> InputQuantizer:
    """Concatenate the quantizers of the parts of a map."""
    parts = [quantizers[part] for part in list_parts(graph, number)]
    scale = torch.cat([torch.from_numpy(part.scale) for part in parts])
    zero = torch.cat([torch.full((len(part.scale),), float(part.zero)) for part in parts])
    return InputQuantizer(scale.reshape(1, -1, 1, 1), zero.reshape(1, -1, 1, 1))


def run_layers(graph: Layers, picture: Value, run_layer: Callable[[int, Layer, Sequence[Value]], Value]) -> Value:
    """Compute map after map with `run_layer(number, layer, inputs)`; each is freed after its last reader."""
    last = {read: number for number, node in enumerate(graph.all) for read in node.reads}
    values: dict[int, Value] = {0: picture}
    for number, node in enumerate(graph.all):
        if node.kind == "picture":
            continue
        values[number] = run_layer(number, node, [values[read] for read in node.reads])
        for read in set(node.reads):
            if last[read] == number and read != graph.end:
                del values[read]
    return values[graph.end]


def apply_layer(node: Layer, inputs: Sequence[Tensor], arrays: Arrays) -> Tensor:
    """One operation in fp32."""
    x = inputs[0]
    match node.kind:
        case "conv":
            return activate(convolve(x, arrays[f"{node.name}.weight"], arrays[f"{node.name}.bias"]), node)
        case "prelu":
            return F.prelu(x, torch.from_numpy(arrays[f"{node.name}.weight"]))
        case "concat":
            return torch.cat(list(inputs), 1)
        case "add":
            return torch.add(inputs[1], x, alpha=node.factor)
        case "affine":
            factors, offsets = (torch.tensor(each).reshape(1, -1, 1, 1) for each in (node.factors, node.offsets))
            return x * factors + offsets
        case "nearest":
            return F.interpolate(x, scale_factor=node.factor, mode="nearest")
        case "shuffle":
            return F.pixel_shuffle(x, int(node.factor))
        case "unshuffle":
            return F.pixel_unshuffle(x, int(node.factor))
        case "picture":
            return x


def convolve(x: Tensor, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Tensor:
    """A convolution that keeps height and width: (B, C, H, W) -> (B, O, H, W)."""
    height, width = weight.shape[2:]
    return F.conv2d(x, torch.from_numpy(weight), torch.from_numpy(bias), padding=(height // 2, width // 2))


def activate(x: Tensor, node: Layer) -> Tensor:
    """The leaky ReLU behind a convolution, where there is one."""
    return x if node.slope is None else F.leaky_relu(x, node.slope)
