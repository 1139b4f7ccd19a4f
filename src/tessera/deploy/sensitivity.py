"""Sensitivity of layers to int8: each unit of a network is rounded alone, and the result compared with fp32.

A unit is the convolutions that read the same map first: a dense block, or a single convolution. Maps that a unit does
not affect are computed once and cached.

Shapes: B pictures, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.deploy.dataflow import list_parts
from tessera.deploy.held_out import Pair
from tessera.deploy.int8_network import Int8Network, activate, apply_layer, concat_quantizers, convolve
from tessera.generators.layers import Layer, Layers

_LEAST_ERROR = 1e-7
"""Of a model to the truth (70 dB), so that a flat picture does not decide alone."""


@dataclass(frozen=True)
class Unit:
    """Layers that are rounded or kept together, in order."""

    layers: tuple[str, ...]

    @property
    def name(self) -> str:
        """The only layer, or the part of the names that all layers share."""
        if len(self.layers) == 1:
            return self.layers[0]
        words = [layer.split(".") for layer in self.layers]
        shared = [column[0] for column in zip(*words, strict=False) if len(set(column)) == 1]
        return ".".join(shared) or f"{self.layers[0]} to {self.layers[-1]}"


@dataclass(frozen=True)
class Sensitivity:
    """What rounding one unit alone costs."""

    unit: Unit
    drop_db: float
    """Of PSNR to the truth, mean over pictures, if its error has nothing to do with that of the model itself."""
    mean_square: float
    """Of the difference to fp32, in levels of 255 squared."""


def list_units(graph: Layers) -> tuple[Unit, ...]:
    """Group the convolutions by the first map that they read."""
    found: dict[int, list[str]] = {}
    for _, node in graph.convolutions:
        found.setdefault(list_parts(graph, node.reads[0])[0], []).append(node.name)
    return tuple(Unit(tuple(layers)) for layers in found.values())


@torch.inference_mode()
def measure_sensitivities(network: Int8Network, pairs: Pair) -> tuple[Sensitivity, ...]:
    """Run a network with one unit at a time in int8; the most costly first.

    `pairs` has several pictures in one, (B, C, H, W), with their truths. The mean difference of each layer's channels
    is taken out, as the bias would.
    """
    memory = _Memory(network, pairs.lq)
    own = _compute_mean_squares(memory.result.clamp(0, 1) - pairs.gt).clamp(min=_LEAST_ERROR)
    found: list[Sensitivity] = []
    for unit in list_units(network.graph):
        error = _compute_mean_squares(memory.run_with_int8(unit) - memory.result)
        drop = float((10 * torch.log10(1 + error / own)).mean())
        found.append(Sensitivity(unit, drop, float(error.mean()) * 255**2))
    return tuple(sorted(found, key=lambda each: (-each.drop_db, each.unit.layers)))


def _compute_mean_squares(difference: Tensor) -> Tensor:
    return difference.double().square().mean((1, 2, 3))


class _Memory:
    """Caches the maps of the fp32 network, except concatenations and upsampling, which are recomputed."""

    def __init__(self, network: Int8Network, pictures: Tensor) -> None:
        self._of = network
        self._maps: dict[int, Tensor] = {0: pictures}
        for number, node in enumerate(network.graph.all):
            if node.kind not in ("picture", "concat", "nearest"):
                self._maps[number] = apply_layer(
                    node, [self._get_fp32_map(read) for read in node.reads], network.arrays
                )
        self.result = self._get_fp32_map(network.graph.end)

    def run_with_int8(self, unit: Unit) -> Tensor:
        """Compute the result with only this unit in int8."""
        graph = self._of.graph
        last = {read: number for number, node in enumerate(graph.all) for read in node.reads}
        touched: dict[int, Tensor] = {}
        for number, node in enumerate(graph.all):
            if node.kind == "conv" and node.name in unit.layers:
                touched[number] = self._run_in_int8(node, touched)
            elif any(read in touched for read in node.reads):
                inputs = [touched[read] if read in touched else self._get_fp32_map(read) for read in node.reads]
                touched[number] = apply_layer(node, inputs, self._of.arrays)
            for read in set(node.reads):
                if last[read] == number:
                    touched.pop(read, None)
        return touched.get(graph.end, self.result)

    def _run_in_int8(self, node: Layer, touched: dict[int, Tensor]) -> Tensor:
        read, arrays, layer = node.reads[0], self._of.arrays, self._of.layers[node.name]
        exact = self._get_fp32_map(read)
        whole = concat_quantizers(self._of.graph, self._of.quantizers, read).quantize(touched.get(read, exact))
        got = convolve(whole, layer.kernel, layer.bias)
        wanted = convolve(exact, arrays[f"{node.name}.weight"], arrays[f"{node.name}.bias"])
        return activate(got + (wanted - got).mean((0, 2, 3), keepdim=True), node)

    def _get_fp32_map(self, number: int) -> Tensor:
        if number in self._maps:
            return self._maps[number]
        node = self._of.graph.all[number]
        return apply_layer(node, [self._get_fp32_map(read) for read in node.reads], self._of.arrays)


def compute_shares(found: Sequence[Sensitivity]) -> dict[str, float]:
    """Each unit's share of the sum of all drops, by name."""
    total = sum(each.drop_db for each in found) or 1.0
    return {each.unit.name: each.drop_db / total for each in found}
