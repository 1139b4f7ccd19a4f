"""Networks as ONNX graphs, written from configuration and weights.

The graph is drawn, not traced: one node for each operation of the network, named after its module, in the same order
every time. Batch, height and width stay open unless one size is requested. Kernels in fp16 or bf16 are stored so and
turned to fp32 by a Cast before their use. A graph that is half precision throughout would not run faster on processors
(ONNX Runtime has no such convolutions on x86 and would insert casts around each) and would round what lies between the
layers; like this the file is half as large, and the weights are all that is rounded. Runtimes fold the casts away when
they load the file.

Shapes: B pictures, C channels, H rows, W columns, s the scale, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tessera.deploy.settings import ExportSettings
from tessera.deploy.stored import cast_for_storage
from tessera.errors import UsageError
from tessera.generators import GeneratorConfig
from tessera.libraries import find_extra, import_library
from tessera.version import __version__

INPUT, OUTPUT = "input", "output"
_MOST_BYTES = 2**31 - 2**20
"""A protocol buffer ends at 2 GiB."""


def build_onnx(
    config: GeneratorConfig, state: Mapping[str, Tensor], settings: ExportSettings, metadata: Mapping[str, str]
) -> bytes:
    """Write a network as the bytes of an ONNX file; the same network gives the same bytes.

    `input` (B, C, H, W) float32 in [0, 1] -> `output` (B, C, s*H, s*W) float32, not clipped. Raises UsageError without
    the `onnx` package, and for weights that do not fit into one file; the file was passed by ONNX's checker.
    """
    pen = OnnxPen(state, settings)
    return serialize_model(pen, config.draw(pen, INPUT), config, settings, metadata)


def serialize_model(
    pen: OnnxPen, end: str, config: GeneratorConfig, settings: ExportSettings, metadata: Mapping[str, str]
) -> bytes:
    """What a pen wrote as the bytes of a file that ONNX's checker passed; `end` is the value of the result."""
    onnx = import_library("onnx")
    helper = import_library("onnx.helper")
    pen.rename(end, OUTPUT)
    if pen.bytes > _MOST_BYTES:
        raise UsageError(f"This network has {pen.bytes:,} bytes of weights; a single ONNX file holds at most 2 GiB.")
    graph = helper.make_graph(
        pen.nodes,
        config.network,
        [_describe_value(onnx, INPUT, config.in_channels, settings.shape, 1, "")],
        [_describe_value(onnx, OUTPUT, config.out_channels, settings.shape, config.scale, "output_")],
        list(pen.initializers.values()),
    )
    opset = helper.make_opsetid("", settings.opset)
    model = helper.make_model(
        graph,
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="tessera",
        producer_version=__version__,
    )
    for key, value in sorted(metadata.items()):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _describe_value(onnx: Any, name: str, channels: int, shape: tuple[int, int] | None, scale: int, prefix: str) -> Any:
    """Input or output with its type and shape; sizes that stay open have names."""
    size = [f"{prefix}height", f"{prefix}width"] if shape is None else [side * scale for side in shape]
    batch = "batch" if shape is None else 1
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, channels, *size])


class OnnxPen:
    """The pen that writes nodes; what it hands out is the name of a value. Raises UsageError without `onnx`."""

    def __init__(self, state: Mapping[str, Tensor], settings: ExportSettings) -> None:
        try:
            self._onnx = import_library("onnx")
            import_library("onnx.helper")
        except (ImportError, OSError) as error:
            raise UsageError(
                f"Writing ONNX files needs the package onnx ({error}): {find_extra('export').install}."
            ) from error
        self._state = state
        self._settings = settings
        self._names: dict[str, int] = {}
        self._unshuffled: dict[str, int] = {}
        """Results of unshuffling, and how many pixels became the channels of one."""
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.bytes = 0

    def conv(self, module: str, x: str, outputs: int, *, kernel: int = 3, slope: float | None = None) -> str:
        """A convolution that keeps height and width, with a leaky ReLU after it if there is a slope."""
        name = f"{module}.weight"
        weight = self._state[name]
        inputs = [x, self._add_weight(name, places=self.count_places(x)), self._add_weight(f"{module}.bias")]
        return self.add_convolution(module, inputs, weight.shape[2:], slope)

    def add_convolution(self, module: str, inputs: list[str], size: Sequence[int], slope: float | None) -> str:
        """The same of values that there are already: what is read, the kernel of (H, W), the bias."""
        pad = [side // 2 for side in size]
        found = self.add_node("Conv", inputs, module, kernel_shape=list(size), pads=[*pad, *pad])
        if slope is None:
            return found
        if slope == 0:
            return self.add_node("Relu", [found], f"{module}.relu")
        return self.add_node("LeakyRelu", [found], f"{module}.leaky", alpha=slope)

    def prelu(self, module: str, x: str) -> str:
        """Apply a leaky ReLU with one slope per channel, shaped (F, 1, 1)."""
        name = f"{module}.weight"
        return self.add_node("PRelu", [x, self._add_weight(name, (-1, 1, 1))], module)

    def concat(self, maps: Sequence[str]) -> str:
        """Join channels."""
        return self.add_node("Concat", list(maps), "join", axis=1)

    def add(self, x: str, y: str, factor: float = 1.0) -> str:
        """factor * x + y."""
        if factor != 1:
            x = self.add_node(
                "Mul", [x, self.add_constant(f"factor_{factor:g}", np.array(factor, np.float32))], "scaled"
            )
        return self.add_node("Add", [x, y], "sum")

    def affine(self, x: str, factors: Sequence[float], offsets: Sequence[float]) -> str:
        """factor * x + offset, with one of each for a channel."""
        factor, offset = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (factors, offsets))
        scaled = self.add_node("Mul", [x, self.add_constant(self.make_unique("factors"), factor)], "scaled")
        return self.add_node("Add", [scaled, self.add_constant(self.make_unique("offsets"), offset)], "sum")

    def nearest(self, x: str, factor: int) -> str:
        """Repeat each pixel."""
        scales = self.add_constant(f"times_{factor}", np.array([1, 1, factor, factor], np.float32))
        attributes = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        region = "" if self._settings.opset >= 13 else self.add_constant("no_region", np.zeros(0, np.float32))
        return self.add_node("Resize", [x, region, scales], "nearest", **attributes)

    def shuffle(self, x: str, factor: int) -> str:
        """Channels become factor x factor pixels, as `torch.pixel_shuffle` orders them."""
        return self.add_node("DepthToSpace", [x], "shuffle", blocksize=factor, mode="CRD")

    def unshuffle(self, x: str, factor: int) -> str:
        """Pixels become channels; ONNX puts a pixel's place before its channel, PyTorch the channel before the place.

        The convolution that reads them gets its kernels in ONNX's order. (A Gather that reorders the channels between
        the two is right as well, but OpenVINO 2026.4 computes it wrongly on processors.)
        """
        found = self.add_node("SpaceToDepth", [x], "unshuffle", blocksize=factor)
        self.record_unshuffle(found, factor**2)
        return found

    def record_unshuffle(self, value: str, places: int) -> None:
        """Remember of how many pixels the channels of a value were made."""
        self._unshuffled[value] = places

    def count_places(self, value: str) -> int:
        """Of how many pixels the channels of a value were made; 1 for all that were not unshuffled."""
        return self._unshuffled.get(value, 1)

    def rename(self, value: str, name: str) -> None:
        """Give the result of the last node that makes it another name."""
        node = next(node for node in reversed(self.nodes) if value in node.output)
        node.output[0] = name

    def add_node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Write an operation with one result -> the name of the result."""
        name = self.make_unique(name)
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def make_unique(self, name: str) -> str:
        """Make a name unique: from its second use on it gets a number."""
        self._names[name] = self._names.get(name, 0) + 1
        return name if self._names[name] == 1 else f"{name}.{self._names[name]}"

    def _add_weight(self, name: str, shape: tuple[int, ...] | None = None, places: int = 1) -> str:
        """The name under which a weight can be used, in fp32: its own, or that of the Cast behind it."""
        tensor = cast_for_storage(name, self._state[name], self._settings.precision)
        if places > 1:
            tensor = order_places_first(tensor, places)
        if name not in self.initializers:
            self._add_tensor(name, tensor if shape is None else tensor.reshape(shape))
            if tensor.dtype != torch.float32:
                kind = self._onnx.TensorProto.FLOAT
                self.nodes.append(
                    self._onnx.helper.make_node("Cast", [name], [f"{name}.fp32"], name=f"{name}.fp32", to=kind)
                )
        return name if tensor.dtype == torch.float32 else f"{name}.fp32"

    def add_constant(self, name: str, array: np.ndarray[Any, Any]) -> str:
        """The name of constant numbers, which are written once."""
        if name not in self.initializers:
            self._add_tensor(name, torch.from_numpy(array))
        return name

    def _add_tensor(self, name: str, tensor: Tensor) -> None:
        types = self._onnx.TensorProto
        kinds = {
            torch.int8: types.INT8,
            torch.uint8: types.UINT8,
            torch.float32: types.FLOAT,
            torch.float16: types.FLOAT16,
            torch.bfloat16: types.BFLOAT16,
            torch.int64: types.INT64,
        }
        content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        self.bytes += len(content)
        self.initializers[name] = self._onnx.helper.make_tensor(
            name, kinds[tensor.dtype], list(tensor.shape), content, raw=True
        )


def order_places_first(values: Tensor, places: int) -> Tensor:
    """Axis 1 in the order of ONNX's unshuffling, place before channel, from that of PyTorch's."""
    return values.unflatten(1, (-1, places)).transpose(1, 2).flatten(1, 2)
