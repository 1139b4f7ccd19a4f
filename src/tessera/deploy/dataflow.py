"""Which feature maps a quantized network reads together, and which of them can be scaled.

A map is the result of a layer and has the layer's number (`tessera.generators.layers`). Concatenations and
upsampling are transparent here: their values are those of other maps, unchanged.

Shapes: C channels.
"""

from __future__ import annotations

from tessera.generators.layers import Layer, Layers


def list_parts(layers: Layers, number: int) -> tuple[int, ...]:
    """Find the maps whose values a map holds unchanged, in the order of its channels: itself, or what was joined."""
    layer = layers.all[number]
    if layer.kind == "concat":
        return tuple(part for read in layer.reads for part in list_parts(layers, read))
    return list_parts(layers, layer.reads[0]) if layer.kind == "nearest" else (number,)


def find_sources(layers: Layers) -> tuple[int, ...]:
    """Find the maps that convolutions read."""
    return tuple(sorted({part for _, conv in layers.convolutions for part in list_parts(layers, conv.reads[0])}))


def group_sources(layers: Layers) -> tuple[tuple[int, ...], ...]:
    """Group the sources: what a convolution reads at once is in one group, and so is what any of it is read with."""
    group = {number: {number} for number in find_sources(layers)}
    for _, conv in layers.convolutions:
        merged = set[int]().union(*(group[part] for part in list_parts(layers, conv.reads[0])))
        group.update(dict.fromkeys(merged, merged))
    return tuple(tuple(sorted(each)) for number, each in group.items() if number == min(each))


def find_scalable(layers: Layers) -> tuple[int, ...]:
    """Find the maps whose channels may be scaled: results of convolutions that only convolutions read."""
    bound = {layers.end}
    for layer in layers.all:
        if layer.kind not in ("conv", "concat", "nearest", "prelu"):
            bound.update(part for read in layer.reads for part in list_parts(layers, read))
    read_by_prelu = {read for layer in layers.all if layer.kind == "prelu" for read in layer.reads}
    return tuple(
        number
        for number in find_sources(layers)
        if number not in bound | read_by_prelu and find_convolution(layers, number) is not None
    )


def find_convolution(layers: Layers, number: int) -> Layer | None:
    """Find the convolution whose result a map is, directly or through a PReLU."""
    layer = layers.all[number]
    if layer.kind == "prelu":
        layer = layers.all[layer.reads[0]]
    return layer if layer.kind == "conv" else None
