"""An int8 network drawn with a pen: each map in fp32, as integers, or both, as its readers need it.

Concatenations and upsampling of integers work on the integers of their parts, so that each map is rounded once.

Shapes: C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from tessera.deploy.int8_network import Int8Layer, Int8Network
from tessera.deploy.ranges import Quantizer
from tessera.generators.drawing import Pen
from tessera.generators.layers import Layer

Map = TypeVar("Map")


class Int8Pen(Pen[Map], Protocol[Map]):
    """A pen that also writes quantized operations."""

    def quantize(self, x: Map, quantizer: Quantizer) -> Map:
        """Quantize a map to q - zero."""
        ...

    def conv_int8(self, place: str, layer: Int8Layer, x: Map, slope: float | None) -> Map:
        """Convolve integers, apply scales and bias, and a leaky ReLU if a slope is given."""
        ...


def draw_int8(network: Int8Network, pen: Int8Pen[Map], picture: Map) -> Map:
    """Pass every operation to a pen: (B, C, H, W) -> (B, C, s*H, s*W)."""
    exact, whole = split_maps(network)
    floats: dict[int, Map] = {0: picture}
    wholes: dict[int, Map] = {}
    for number, node in enumerate(network.graph.all):
        if node.kind in ("concat", "nearest"):
            for wanted, maps in ((exact, floats), (whole, wholes)):
                if number in wanted:
                    maps[number] = _draw_layer(pen, node, maps)
            continue
        if node.kind == "conv" and node.name in network.layers:
            layer = network.layers[node.name]
            floats[number] = pen.conv_int8(node.name, layer, wholes[node.reads[0]], node.slope)
        elif node.kind != "picture":
            floats[number] = _draw_layer(pen, node, floats)
        if number in whole:
            wholes[number] = pen.quantize(floats[number], network.quantizers[number])
    return floats[network.graph.end]


def split_maps(network: Int8Network) -> tuple[set[int], set[int]]:
    """Find the maps that are read in fp32, and those that are read as integers."""
    exact, whole = {network.graph.end}, set[int]()
    for number, node in reversed(tuple(enumerate(network.graph.all))):
        if node.kind in ("concat", "nearest"):
            for wanted in (exact, whole):
                if number in wanted:
                    wanted.update(node.reads)
        elif node.kind == "conv" and node.name in network.layers:
            whole.update(node.reads)
        else:
            exact.update(node.reads)
    return exact, whole


def _draw_layer(pen: Int8Pen[Map], node: Layer, maps: Mapping[int, Map]) -> Map:
    """Pass one unquantized operation to the pen."""
    inputs = [maps[read] for read in node.reads]
    x = inputs[0]
    match node.kind:
        case "conv":
            return pen.conv(node.name, x, node.channels, kernel=node.kernel, slope=node.slope)
        case "prelu":
            return pen.prelu(node.name, x)
        case "concat":
            return pen.concat(inputs)
        case "add":
            return pen.add(x, inputs[1], node.factor)
        case "affine":
            return pen.affine(x, node.factors, node.offsets)
        case "nearest":
            return pen.nearest(x, int(node.factor))
        case "shuffle":
            return pen.shuffle(x, int(node.factor))
        case "unshuffle":
            return pen.unshuffle(x, int(node.factor))
        case "picture":
            return x
