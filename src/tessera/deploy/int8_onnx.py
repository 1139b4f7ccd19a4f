"""Int8 networks as ONNX graphs: QuantizeLinear and DequantizeLinear around quantized maps.

A map is quantized with one scale per channel and returned as the integers q - zero, with the scale 1; kernels are int8
with one scale per output channel. The values are those of the OpenVINO file.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from tessera.deploy.int8_drawing import draw_int8
from tessera.deploy.int8_network import Arrays, Int8Layer, Int8Network
from tessera.deploy.onnx_graph import INPUT, OnnxPen, order_places_first, serialize_model
from tessera.deploy.ranges import Quantizer
from tessera.deploy.settings import ExportSettings


def build_int8_onnx(network: Int8Network, metadata: Mapping[str, str]) -> bytes:
    """A network as the bytes of an ONNX file; the same network gives the same bytes.

    `input` (B, C, H, W) float32 in [0, 1] -> `output` (B, C, s*H, s*W) float32, not clipped. Raises UsageError without
    the `onnx` package; the file was passed by ONNX's checker.
    """
    settings = ExportSettings()
    pen = _Int8OnnxPen(network.arrays, settings)
    return serialize_model(pen, draw_int8(network, pen, INPUT), network.config, settings, metadata)


class _Int8OnnxPen(OnnxPen):
    """The pen that writes nodes, including quantized ones."""

    def __init__(self, arrays: Arrays, settings: ExportSettings) -> None:
        super().__init__({name: torch.from_numpy(array) for name, array in arrays.items()}, settings)

    def quantize(self, x: str, quantizer: Quantizer) -> str:
        """Quantize each channel with its own step."""
        places = self.count_places(x)
        scale = quantizer.scale
        if len(set(scale.tolist())) == 1:
            steps, zeros = scale[0], np.uint8(quantizer.zero)
        else:
            steps = order_places_first(torch.from_numpy(scale)[None], places)[0].numpy()
            zeros = np.full(len(scale), quantizer.zero, np.uint8)
        zero = self._add_constant(f"zero_{quantizer.zero}", np.uint8(quantizer.zero))
        many = self._add_constant(f"zeros_{quantizer.zero}_{len(scale)}", zeros) if np.ndim(zeros) else zero
        step = self._add_constant(self.make_unique("step"), steps)
        axis = {"axis": 1} if np.ndim(zeros) else {}
        whole = self.add_node("QuantizeLinear", [x, step, many], "rounded", **axis)
        found = self.add_node("DequantizeLinear", [whole, self._add_constant("one", np.float32(1)), zero], "whole")
        if places > 1:
            self.record_unshuffle(found, places)
        return found

    def conv_int8(self, place: str, layer: Int8Layer, x: str, slope: float | None) -> str:
        """A convolution whose kernel is int8, scaled for each output channel."""
        weight = order_places_first(torch.from_numpy(layer.weight), self.count_places(x)).numpy()
        whole = self._add_constant(f"{place}.weight", weight)
        scale = self._add_constant(f"{place}.scale", layer.scale)
        zeros = self._add_constant(f"weight_zeros_{len(weight)}", np.zeros(len(weight), np.int8))
        kernel = self.add_node("DequantizeLinear", [whole, scale, zeros], f"{place}.kernel", axis=0)
        bias = self._add_constant(f"{place}.bias", layer.bias)
        return self.add_convolution(place, [x, kernel, bias], layer.weight.shape[2:], slope)

    def _add_constant(self, name: str, array: NDArray[np.generic] | np.generic) -> str:
        return self.add_constant(name, np.ascontiguousarray(array).reshape(np.shape(array)))
