"""Channels scaled to one range, so that one step serves a whole map (Nagel et al. 2019, section 4.1).

Leaky ReLUs, PReLUs and joins let a positive factor pass. So where a map goes from a convolution to convolutions only,
its channel may be divided by any positive number, in the rows that make it, and multiplied in the columns that read it:
the network computes what it did. Maps that are added to others are left alone; they are scaled where they are rounded.

Shapes: C channels, O output channels, K the kernel's height and width.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tessera.deploy.dataflow import find_convolution, find_scalable, list_parts
from tessera.deploy.int8_network import Arrays
from tessera.generators.layers import Layers


def equalize(graph: Layers, arrays: Arrays, scales: Mapping[int, NDArray[np.float32]]) -> Arrays:
    """The arrays of the same network, with each map of `scales` divided by its (C,) positive numbers.

    Raises ValueError for a map that may not be scaled.
    """
    free = set(find_scalable(graph))
    found = {name: array.astype(np.float64) for name, array in arrays.items()}
    for number, scale in scales.items():
        maker = find_convolution(graph, number)
        if number not in free or maker is None:
            raise ValueError(f"map {number} is read by more than convolutions; its channels cannot be scaled")
        found[f"{maker.name}.weight"] /= scale[:, None, None, None]
        found[f"{maker.name}.bias"] /= scale
    for _, node in graph.convolutions:
        columns = [scales.get(part) for part in list_parts(graph, node.reads[0])]
        if any(each is not None for each in columns):
            parts = list_parts(graph, node.reads[0])
            whole = [
                np.ones(graph.all[part].channels) if each is None else each
                for part, each in zip(parts, columns, strict=True)
            ]
            found[f"{node.name}.weight"] *= np.concatenate(whole)[None, :, None, None]
    return {name: array.astype(np.float32) for name, array in found.items()}


def name_by_layer(graph: Layers, state: Arrays) -> Arrays:
    """Name the weights by layer: layers that share a module get copies."""
    found: dict[str, NDArray[np.float32]] = {}
    for node in graph.all:
        if node.kind in ("conv", "prelu"):
            found[f"{node.name}.weight"] = state[f"{node.module}.weight"]
        if node.kind == "conv":
            found[f"{node.name}.bias"] = state[f"{node.module}.bias"]
    return found
