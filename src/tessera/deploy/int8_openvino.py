"""Int8 networks as pairs of OpenVINO files: FakeQuantize on quantized maps, int8 kernels.

A FakeQuantize returns the integers q - zero themselves; OpenVINO's processor plugin turns it and the convolutions
behind it into integer arithmetic, fuses rounding, leaky ReLU and scales into the convolution before, and takes the
zeros out again in the sums.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.deploy.int8_drawing import draw_int8
from tessera.deploy.int8_network import Arrays, Int8Layer, Int8Network
from tessera.deploy.openvino_ir import save_with_stable_names
from tessera.deploy.ranges import LEVELS, Quantizer
from tessera.engines.openvino.graph import GraphPen
from tessera.libraries import import_library


def write_int8_openvino(path: Path, network: Int8Network, metadata: Mapping[str, str]) -> None:
    """Write `path` (.xml) and the .bin next to it; the same network gives the same bytes.

    `input` (B, C, H, W) float32 in [0, 1] -> `output` (B, C, s*H, s*W) float32, not clipped. Raises ExportError when
    OpenVINO cannot write them.
    """
    openvino = import_library("openvino")
    pen = _Int8GraphPen(network.arrays)
    picture = pen.input((-1, network.config.in_channels, -1, -1))
    end = draw_int8(network, pen, picture)
    save_with_stable_names(path, openvino.Model([end], [picture], network.config.network), metadata)


class _Int8GraphPen(GraphPen):
    """The pen that writes nodes, including quantized ones."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        self._opset = import_library("openvino.opset15")

    def quantize(self, x: Any, quantizer: Quantizer) -> Any:
        """Quantize each channel with its own step."""
        ends = np.array([-quantizer.zero, LEVELS - quantizer.zero], np.float32)
        scale = quantizer.scale if len(set(quantizer.scale.tolist())) > 1 else quantizer.scale[:1]
        low, high = (self._add_constant((end * scale).reshape(1, -1, 1, 1)) for end in ends)
        return self._opset.fake_quantize(x, low, high, *(self._add_constant(end) for end in ends), LEVELS + 1)

    def conv_int8(self, place: str, layer: Int8Layer, x: Any, slope: float | None) -> Any:
        """A convolution whose kernel is a constant of int8, scaled for each output channel."""
        whole = self._opset.convert(self._opset.constant(layer.weight), "f32")
        kernel = self._opset.multiply(whole, self._add_constant(layer.scale.reshape(-1, 1, 1, 1)))
        return self.convolution(x, kernel, layer.weight.shape[2:], layer.bias, slope)

    def _add_constant(self, array: NDArray[np.float32] | np.float32) -> Any:
        return self._opset.constant(np.asarray(array, np.float32))
