"""From a network and calibration pictures to int8: ranges, equalization, rounding, bias correction.

Shapes: B pictures, C channels, H rows, W columns, N values of a channel, O output channels, K the kernel's height and
width.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tessera.deploy.dataflow import find_scalable, find_sources, group_sources, list_parts
from tessera.deploy.equalizing import equalize, name_by_layer
from tessera.deploy.int8_network import (
    Arrays,
    Int8Layer,
    Int8Network,
    activate,
    apply_layer,
    concat_quantizers,
    convolve,
    run_layers,
)
from tessera.deploy.int8_settings import Method
from tessera.deploy.ranges import Quantizer, find_ranges, fit_quantizer
from tessera.generators import GeneratorConfig
from tessera.generators.layers import Layer, Layers

LARGEST_WEIGHT = 127
HEADROOM = 1.25
"""For the method max: pictures to come reach beyond those of the calibration, and clipping does more harm than coarser
steps (measured on RRDBNet: ranges of 0.8 lose 14 dB of likeness on a picture with much texture, 1.25 wins 7)."""
_MOST_PATCHES = 4096
"""Places at which it is seen what a kernel reads."""
_BLOCK = 64
"""Columns after which the rest is corrected together."""
_SHARES = tuple(float(share) for share in np.linspace(0.5, 1.0, 26))


@dataclass(frozen=True)
class Calibrated:
    """A network that is ready to be rounded: equalized, with the quantizer of each map."""

    config: GeneratorConfig
    graph: Layers
    arrays: Arrays
    quantizers: Mapping[int, Quantizer]


@torch.inference_mode()
def calibrate(
    config: GeneratorConfig, state: Mapping[str, Tensor], pictures: Tensor, method: Method, *, percentile: float = 99.99
) -> Calibrated:
    """Find what rounds each map, and equalize: pictures (B, C, H, W) in [0, 1]."""
    graph = config.layers
    plain = {name: value.detach().to("cpu", torch.float32).numpy() for name, value in state.items()}
    arrays = name_by_layer(graph, plain)
    wanted = set(find_sources(graph))
    importance = _measure_importance(graph, arrays)
    ranges: dict[int, tuple[Tensor, Tensor]] = {}

    def observe_range(number: int, node: Layer, inputs: Sequence[Tensor]) -> Tensor:
        value = apply_layer(node, inputs, arrays)
        if number in wanted:
            low, high = find_ranges(value.transpose(0, 1).flatten(1), method, percentile=percentile)
            if method == "max":
                low, high = low * HEADROOM, high * HEADROOM
            ranges[number] = low, high
        return value

    run_layers(graph, pictures, observe_range)
    if 0 in wanted:  # a picture's range is known: its levels are integers already
        ranges[0] = torch.zeros(config.in_channels), torch.ones(config.in_channels)
    found = _fit_quantizers(graph, ranges, importance)
    free = find_scalable(graph)
    scaled = equalize(graph, arrays, {number: found[number].scale for number in free})
    for number in free:
        found[number] = Quantizer(np.ones_like(found[number].scale), found[number].zero)
    return Calibrated(config, graph, scaled, found)


@torch.inference_mode()
def round_weights(
    calibrated: Calibrated,
    pictures: Tensor,
    *,
    kept: Collection[str] = (),
    per_channel: bool = True,
    known: Mapping[str, Int8Layer] | None = None,
) -> Int8Network:
    """Round the weights of all layers but those `kept`, and correct each bias by the mean error that is left.

    Layer after layer, with what the layers before already lost (Nagel et al. 2019, section 4.2); pictures (B, C, H, W)
    in [0, 1]. `per_channel` gives each output channel its own scale, otherwise a layer has one. Layers that are
    `known` keep their integer weights, and get new biases.
    """
    graph, arrays = calibrated.graph, calibrated.arrays
    layers: dict[str, Int8Layer] = {}

    def apply_both(_: int, node: Layer, inputs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        exact, ours = [each[0] for each in inputs], [each[1] for each in inputs]
        if node.kind != "conv" or node.name in kept:
            return apply_layer(node, exact, arrays), apply_layer(node, ours, arrays)
        layer, wanted, got = round_layer(calibrated, node, exact[0], ours[0], per_channel=per_channel, known=known)
        layers[node.name] = layer
        return activate(wanted, node), activate(got, node)

    run_layers(graph, (pictures, pictures), apply_both)
    read = {part for _, node in graph.convolutions if node.name in layers for part in list_parts(graph, node.reads[0])}
    quantizers = {number: each for number, each in calibrated.quantizers.items() if number in read}
    return Int8Network(calibrated.config, graph, arrays, quantizers, layers)


def round_layer(
    calibrated: Calibrated,
    node: Layer,
    exact: Tensor,
    ours: Tensor,
    *,
    per_channel: bool,
    known: Mapping[str, Int8Layer] | None = None,
) -> tuple[Int8Layer, Tensor, Tensor]:
    """Round one convolution -> the layer, what it should give of `exact`, what it gives of `ours`, both before ReLU.

    The mean difference of each output channel is taken into its bias.
    """
    weight, bias = calibrated.arrays[f"{node.name}.weight"], calibrated.arrays[f"{node.name}.bias"]
    reader = concat_quantizers(calibrated.graph, calibrated.quantizers, node.reads[0])
    whole = reader.quantize(ours)
    wanted = convolve(exact, weight, bias)
    if known is not None and node.name in known:
        number, scale = known[node.name].weight, known[node.name].scale
    else:
        folded = weight * reader.scale.numpy().reshape(1, -1, 1, 1)
        _, scale = round_weight(folded, whole.square().mean((0, 2, 3)).numpy(), per_channel=per_channel)
        number = round_with_feedback(folded, scale, _sample_patches(whole, weight.shape[2:]))
    got = convolve(whole, Int8Layer(number, scale, bias).kernel, bias)
    error = (wanted - got).mean((0, 2, 3))
    return Int8Layer(number, scale, bias + error.numpy()), wanted, got + error.reshape(1, -1, 1, 1)


def round_weight(
    weight: NDArray[np.float32], moments: NDArray[np.float32], *, per_channel: bool = True
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 weights in -127..127 and their scales: (O, C, K, K), mean squares (C,) of what they read -> same, (O,).

    The range is the share of the largest weight whose rounding and clipping change the sums least.
    """
    largest = np.abs(weight).max((1, 2, 3))
    if not per_channel:
        largest = np.full_like(largest, largest.max())
    largest = np.maximum(largest, 1e-12)
    best = np.full(len(weight), np.inf)
    chosen = largest / LARGEST_WEIGHT
    for share in _SHARES:
        scale = (largest * share / LARGEST_WEIGHT).astype(np.float32)
        error = _round_to_int8(weight, scale) * scale[:, None, None, None] - weight
        cost = (error.astype(np.float64) ** 2 * moments[None, :, None, None]).sum((1, 2, 3))
        if not per_channel:
            cost = np.full_like(cost, cost.sum())
        better = cost < best
        best, chosen = np.where(better, cost, best), np.where(better, scale, chosen)
    scale = chosen.astype(np.float32)
    return _round_to_int8(weight, scale).astype(np.int8), scale


def round_with_feedback(weight: NDArray[np.float32], scale: NDArray[np.float32], patches: Tensor) -> NDArray[np.int8]:
    """Round weights one after another; those left compensate for the rounding error of the earlier ones (GPTQ).

    (O, C, K, K), scales (O,), what the kernel reads at some places (N, C * K * K) -> (O, C, K, K). The order is that of
    what is read, the loudest first, and the rest is corrected along the inverse of its second moments (Frantar et al.
    2023, section 3, with the usual damping of 1 % of the mean).
    """
    outputs = len(weight)
    moments = (patches.T @ patches).double() / len(patches)
    diagonal = moments.diagonal()
    diagonal += 0.01 * diagonal.mean() + 1e-6
    order = diagonal.argsort(descending=True, stable=True)
    upper = _invert_by_cholesky(moments[order][:, order]).float()
    step = torch.from_numpy(scale)
    rest = torch.from_numpy(weight.reshape(outputs, -1).copy())[:, order]
    whole = torch.empty_like(rest)
    for first in range(0, rest.shape[1], _BLOCK):
        last = min(first + _BLOCK, rest.shape[1])
        errors = torch.empty(outputs, last - first)
        for place in range(first, last):
            column = rest[:, place]
            whole[:, place] = (column / step).round_().clamp_(-LARGEST_WEIGHT, LARGEST_WEIGHT)
            error = (column - whole[:, place] * step) / upper[place, place]
            rest[:, place + 1 : last] -= error[:, None] * upper[place, place + 1 : last]
            errors[:, place - first] = error
        rest[:, last:] -= errors @ upper[first:last, last:]
    found = torch.empty_like(whole)
    found[:, order] = whole
    return found.to(torch.int8).numpy().reshape(weight.shape)


def _invert_by_cholesky(moments: Tensor) -> Tensor:
    """The upper triangle U with U^T U the inverse: from the triangles of the matrix read backwards, which is faster."""
    backwards = torch.linalg.cholesky(moments.flip(0, 1)).flip(0, 1)
    identity = torch.eye(len(moments), dtype=moments.dtype)
    return torch.linalg.solve_triangular(backwards, identity, upper=True)


def _sample_patches(whole: Tensor, size: Sequence[int]) -> Tensor:
    """What a kernel reads at some places, the same every time: (B, C, H, W) -> (N, C * K * K)."""
    height, width = whole.shape[2:]
    padded = F.pad(whole, (size[1] // 2, size[1] // 2, size[0] // 2, size[0] // 2))
    count = len(whole) * height * width
    places = torch.arange(count)
    if count > _MOST_PATCHES:
        places = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:_MOST_PATCHES]
    picture, place = places // (height * width), places % (height * width)
    top, left = place // width, place % width
    columns = [padded[picture, :, top + row, left + column] for row in range(size[0]) for column in range(size[1])]
    return torch.stack(columns, 2).flatten(1)


def _round_to_int8(weight: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(np.rint(weight / scale[:, None, None, None]), -LARGEST_WEIGHT, LARGEST_WEIGHT)


def _fit_quantizers(
    graph: Layers, ranges: Mapping[int, tuple[Tensor, Tensor]], importance: Mapping[int, Tensor]
) -> dict[int, Quantizer]:
    """The quantizer of each map, from the ranges of its channels; maps that are read together share a zero point.

    OpenVINO fits joined maps with their own zeros into one range and rounds them again, in coarser steps.
    """
    found: dict[int, Quantizer] = {}
    for group in group_sources(graph):
        low, high = (torch.cat([ranges[number][end] for number in group]) for end in (0, 1))
        shared = fit_quantizer(low, high, torch.cat([importance[number] for number in group]))
        ends = np.cumsum([graph.all[number].channels for number in group])
        for number, scale in zip(group, np.split(shared.scale, ends[:-1]), strict=True):
            found[number] = Quantizer(scale, shared.zero)
    return found


def _measure_importance(graph: Layers, arrays: Arrays) -> Mapping[int, Tensor]:
    """How strongly an error in a channel of a map reaches the output: squared weights that read it, (C,) per map."""
    found: dict[int, Tensor] = {}
    for _, node in graph.convolutions:
        squares = torch.from_numpy(arrays[f"{node.name}.weight"]).square().sum((0, 2, 3))
        parts = list_parts(graph, node.reads[0])
        for part, mine in zip(parts, squares.split([graph.all[part].channels for part in parts]), strict=True):
            found[part] = found.get(part, torch.zeros(len(mine))) + mine
    return found
