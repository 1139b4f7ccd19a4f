"""A network with whole numbers, told to a pen: each map in fp32, as whole numbers, or both, as its readers need it.

A join or an enlargement of whole numbers is one of its parts' whole numbers, so that each map is rounded once.

Shapes: C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from tessera.deploy.drawing import Made
from tessera.deploy.int8_network import Int8Layer, Int8Network
from tessera.deploy.ranges import Quantizer
from tessera.generators.drawing import Pen

Map = TypeVar("Map")


class Int8Pen(Pen[Map], Protocol[Map]):
    """A pen that knows whole numbers, too."""

    def rounded(self, x: Map, quantizer: Quantizer) -> Map:
        """The whole numbers q - zero of a map."""
        ...

    def conv_int8(self, place: str, layer: Int8Layer, x: Map, slope: float | None) -> Map:
        """A convolution of whole numbers with its scales and its bias, and a leaky ReLU if there is a slope."""
        ...


def draw_int8(network: Int8Network, pen: Int8Pen[Map], picture: Map) -> Map:
    """Tell a pen every operation: (B, C, H, W) -> (B, C, s*H, s*W)."""
    exact, whole = needed(network)
    floats: dict[int, Map] = {0: picture}
    wholes: dict[int, Map] = {}
    for number, made in enumerate(network.drawing.maps):
        if made.kind in ("concat", "nearest"):
            for wanted, maps in ((exact, floats), (whole, wholes)):
                if number in wanted:
                    maps[number] = _told(pen, made, maps)
            continue
        if made.kind == "conv" and made.layer in network.layers:
            layer = network.layers[made.layer]
            floats[number] = pen.conv_int8(made.layer, layer, wholes[made.reads[0]], made.slope)
        elif made.kind != "picture":
            floats[number] = _told(pen, made, floats)
        if number in whole:
            wholes[number] = pen.rounded(floats[number], network.quantizers[number])
    return floats[network.drawing.end]


def needed(network: Int8Network) -> tuple[set[int], set[int]]:
    """The numbers of the maps that are read in fp32, and of those that are read as whole numbers."""
    exact, whole = {network.drawing.end}, set[int]()
    for number, made in reversed(tuple(enumerate(network.drawing.maps))):
        if made.kind in ("concat", "nearest"):
            for wanted in (exact, whole):
                if number in wanted:
                    wanted.update(made.reads)
        elif made.kind == "conv" and made.layer in network.layers:
            whole.update(made.reads)
        else:
            exact.update(made.reads)
    return exact, whole


def _told(pen: Int8Pen[Map], made: Made, maps: Mapping[int, Map]) -> Map:
    """One operation as the pen knows it."""
    inputs = [maps[read] for read in made.reads]
    x = inputs[0]
    match made.kind:
        case "conv":
            return pen.conv(made.layer, x, made.slope)
        case "prelu":
            return pen.prelu(made.layer, x)
        case "concat":
            return pen.concat(inputs)
        case "add":
            return pen.add(x, inputs[1], made.factor)
        case "affine":
            return pen.affine(x, made.factors, made.offsets)
        case "nearest":
            return pen.nearest(x, int(made.factor))
        case "shuffle":
            return pen.shuffle(x, int(made.factor))
        case "unshuffle":
            return pen.unshuffle(x, int(made.factor))
        case "picture":
            return x
