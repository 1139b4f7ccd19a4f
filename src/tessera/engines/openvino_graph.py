"""RRDBNet and SRVGGNetCompact as OpenVINO graphs, written from the configuration and the weights in milliseconds.

OpenVINO's own converter follows a PyTorch network through an example, which takes seconds for a deep one. Nothing here
needs PyTorch: weights are arrays.

Shapes: B tiles, C channels, h and w the tile, s the scale, F features, K the kernel's height and width.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.generators import GeneratorConfig, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.generators.family import RESIDUAL, SLOPE

Arrays = Mapping[str, NDArray[np.float32]]
GRAPH_VERSION = 1
"""Goes up whenever the graph of a configuration changes, so that compiled models of the old one are not used."""


def write_graph(config: GeneratorConfig, arrays: Arrays, shape: tuple[int, ...]) -> Any | None:
    """Write the network as an `openvino.Model` for tiles of a shape; None for networks other than the two.

    (B, C, h, w) float32 -> (B, C, s*h, s*w) float32. The graph has copies of the arrays. -1 leaves a size open.
    """
    if not isinstance(config, RRDBNetConfig | SRVGGNetCompactConfig):
        return None
    graph = _Graph(arrays)
    picture = graph.input(shape)
    end = _rrdbnet(graph, config, picture) if isinstance(config, RRDBNetConfig) else _srvgg(graph, config, picture)
    openvino: Any = importlib.import_module("openvino")  # what is compiled in it has no types
    return openvino.Model([end], [picture], config.network)


class _Graph:
    """Nodes while they are written."""

    def __init__(self, arrays: Arrays) -> None:
        self._ops: Any = importlib.import_module("openvino.opset15")
        self._arrays = arrays

    def input(self, shape: tuple[int, ...]) -> Any:
        return self._ops.parameter(list(shape), np.float32, name="lq")

    def conv(self, module: str, x: Any, slope: float | None = None) -> Any:
        """A convolution that keeps height and width, with a leaky ReLU after it if there is a slope."""
        weight = self._arrays[f"{module}.weight"]
        pad = [weight.shape[2] // 2, weight.shape[3] // 2]
        product = self._ops.convolution(x, self._constant(weight), [1, 1], pad, pad, [1, 1])
        bias = self._arrays[f"{module}.bias"].reshape(1, -1, 1, 1)
        found = self._ops.add(product, self._constant(bias))
        return found if slope is None else self.leaky(found, slope)

    def leaky(self, x: Any, slope: float) -> Any:
        if slope == 0:
            return self._ops.relu(x)
        return self._ops.prelu(x, self._constant(np.array([slope], np.float32)))

    def prelu(self, module: str, x: Any) -> Any:
        return self._ops.prelu(x, self._constant(self._arrays[f"{module}.weight"]))

    def concat(self, maps: list[Any]) -> Any:
        return self._ops.concat(maps, 1) if len(maps) > 1 else maps[0]

    def add(self, x: Any, y: Any, factor: float = 1.0) -> Any:
        """factor * x + y."""
        if factor != 1:
            x = self._ops.multiply(x, self._constant(np.array(factor, np.float32)))
        return self._ops.add(x, y)

    def nearest(self, x: Any, factor: int) -> Any:
        """Repeat each pixel."""
        scales = self._constant(np.array([factor, factor], np.float32))
        axes = self._ops.constant(np.array([2, 3], np.int64))
        return self._ops.interpolate(
            x, scales, "nearest", "scales", coordinate_transformation_mode="asymmetric", nearest_mode="floor", axes=axes
        )

    def shuffle(self, x: Any, factor: int) -> Any:
        """Channels become factor x factor pixels, as `torch.pixel_shuffle` orders them."""
        return self._ops.depth_to_space(x, "depth_first", factor) if factor > 1 else x

    def unshuffle(self, x: Any, factor: int) -> Any:
        """Pixels become channels, as `torch.pixel_unshuffle` orders them."""
        return self._ops.space_to_depth(x, "depth_first", factor) if factor > 1 else x

    def _constant(self, array: NDArray[np.float32]) -> Any:
        return self._ops.constant(array)


def _rrdbnet(graph: _Graph, config: RRDBNetConfig, x: Any) -> Any:
    first = x = graph.conv("conv_first", graph.unshuffle(x, config.unshuffle))
    for block in range(config.blocks):
        before = x
        for dense in (1, 2, 3):
            name = f"body.{block}.rdb{dense}"
            seen = [x]
            for number in (1, 2, 3, 4):
                seen.append(graph.conv(f"{name}.conv{number}", graph.concat(seen), SLOPE))
            x = graph.add(graph.conv(f"{name}.conv5", graph.concat(seen)), x, RESIDUAL)
        x = graph.add(x, before, RESIDUAL)
    x = graph.add(graph.conv("conv_body", x), first)
    for number, stage in enumerate(config.stages, start=1):
        x = graph.conv(f"conv_up{number}", graph.nearest(x, stage), SLOPE)
    return graph.conv("conv_last", graph.conv("conv_hr", x, SLOPE))


def _srvgg(graph: _Graph, config: SRVGGNetCompactConfig, picture: Any) -> Any:
    slope = {"relu": 0.0, "leakyrelu": 0.1}.get(config.activation)
    x = picture
    for index in range(config.convolutions + 1):
        x = graph.conv(f"body.{2 * index}", x, slope)
        if slope is None:
            x = graph.prelu(f"body.{2 * index + 1}", x)
    x = graph.shuffle(graph.conv(f"body.{2 * config.convolutions + 2}", x), config.scale)
    return graph.add(x, graph.nearest(picture, config.scale) if config.scale > 1 else picture)
