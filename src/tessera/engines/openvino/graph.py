"""The family's networks as OpenVINO graphs, written from the configuration and the weights in milliseconds.

OpenVINO's own converter follows a PyTorch network through an example, which takes seconds for a deep one. Nothing here
needs PyTorch: weights are arrays.

Shapes: B tiles, C channels, h and w the tile, s the scale, F features, K the kernel's height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.generators import GeneratorConfig, find_generator
from tessera.libraries import import_library

Arrays = Mapping[str, NDArray[np.float32]]
Kernel = Callable[[NDArray[np.float32]], Any]
GRAPH_VERSION = 2
"""Goes up whenever the graph of a configuration changes, so that compiled models of the old one are not used."""


def write_graph(
    config: GeneratorConfig, arrays: Arrays, shape: tuple[int, ...], *, kernel: Kernel | None = None
) -> Any | None:
    """Write the network as an `openvino.Model` for tiles of a shape; None for networks from outside the family.

    (B, C, h, w) float32 -> (B, C, s*h, s*w) float32. The graph has copies of the arrays. -1 leaves a size open.
    `kernel` makes the node of a convolution's kernel, in fp32, where it is to be stored in another type.
    """
    if find_generator(config) is None:
        return None
    graph = GraphPen(arrays, kernel)
    picture = graph.input(shape)
    end = config.draw(graph, picture)
    openvino = import_library("openvino")  # what is compiled in it has no types
    return openvino.Model([end], [picture], config.network)


class GraphPen:
    """The pen that writes nodes."""

    def __init__(self, arrays: Arrays, kernel: Kernel | None = None) -> None:
        self._ops = import_library("openvino.opset15")
        self._arrays = arrays
        self._kernel = kernel or self._constant

    def input(self, shape: tuple[int, ...]) -> Any:
        """The picture; -1 leaves a size open."""
        return self._ops.parameter(list(shape), np.float32, name="lq")

    def conv(self, module: str, x: Any, outputs: int, *, kernel: int = 3, slope: float | None = None) -> Any:
        """A convolution that keeps height and width, with a leaky ReLU after it if there is a slope."""
        weight = self._arrays[f"{module}.weight"]
        return self.convolution(x, self._kernel(weight), weight.shape[2:], self._arrays[f"{module}.bias"], slope)

    def convolution(
        self, x: Any, kernel: Any, size: Sequence[int], bias: NDArray[np.float32], slope: float | None
    ) -> Any:
        """The same with a kernel of (H, W) that is a node already."""
        pad = [side // 2 for side in size]
        product = self._ops.convolution(x, kernel, [1, 1], pad, pad, [1, 1])
        found = self._ops.add(product, self._constant(bias.reshape(1, -1, 1, 1)))
        return found if slope is None else self.leaky(found, slope)

    def leaky(self, x: Any, slope: float) -> Any:
        """A leaky ReLU with one slope."""
        if slope == 0:
            return self._ops.relu(x)
        return self._ops.prelu(x, self._constant(np.array([slope], np.float32)))

    def prelu(self, module: str, x: Any) -> Any:
        """A leaky ReLU with a slope for each channel."""
        return self._ops.prelu(x, self._constant(self._arrays[f"{module}.weight"]))

    def concat(self, maps: Sequence[Any]) -> Any:
        """Join channels."""
        return self._ops.concat(list(maps), 1)

    def affine(self, x: Any, factors: Sequence[float], offsets: Sequence[float]) -> Any:
        """factor * x + offset, with one of each for a channel."""
        factor, offset = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (factors, offsets))
        return self._ops.add(self._ops.multiply(x, self._constant(factor)), self._constant(offset))

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
        return self._ops.depth_to_space(x, "depth_first", factor)

    def unshuffle(self, x: Any, factor: int) -> Any:
        """Pixels become channels, as `torch.pixel_unshuffle` orders them."""
        return self._ops.space_to_depth(x, "depth_first", factor)

    def _constant(self, array: NDArray[np.float32]) -> Any:
        return self._ops.constant(array)
