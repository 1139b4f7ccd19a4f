"""Networks as OpenVINO's pair of files, from the graph that the engine writes.

Names are given in the order of the graph, because OpenVINO numbers nodes by the process, and two exports are to be the
same. Kernels in fp16 or bf16 are stored so and turned to fp32 by a Convert, as in the ONNX graph.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessera.deploy.settings import ExportSettings
from tessera.deploy.stored import cast_for_storage
from tessera.engines.openvino.graph import write_graph
from tessera.errors import ExportError
from tessera.generators import GeneratorConfig
from tessera.libraries import import_library
from tessera.weights.openvino_file import METADATA

_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)


def write_openvino(
    path: Path,
    config: GeneratorConfig,
    state: Mapping[str, Tensor],
    settings: ExportSettings,
    metadata: Mapping[str, str],
) -> None:
    """Write `path` (.xml) and the .bin next to it; the same network gives the same bytes.

    `input` (B, C, H, W) float32 in [0, 1] -> `output` (B, C, s*H, s*W) float32, not clipped. Raises ExportError when
    OpenVINO cannot write them.
    """
    openvino = import_library("openvino")
    precision = settings.precision
    arrays = {name: cast_for_storage(name, tensor, "fp32").numpy() for name, tensor in state.items()}

    def add_kernel(weight: NDArray[np.float32]) -> Any:
        return _add_kernel(openvino, cast_for_storage("kernel", torch.from_numpy(weight), precision))

    shape = (-1, config.in_channels, -1, -1) if settings.shape is None else (1, config.in_channels, *settings.shape)
    model = write_graph(config, arrays, shape, kernel=None if precision == "fp32" else add_kernel)
    assert model is not None, "the caller knows that it is one of the family"
    save_with_stable_names(path, model, metadata)


def save_with_stable_names(path: Path, model: Any, metadata: Mapping[str, str]) -> None:
    """Write a graph as a pair of files, with names that do not depend on the process.

    Raises ExportError when OpenVINO cannot write them.
    """
    openvino = import_library("openvino")
    for number, operation in enumerate(model.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}_{number}")
    model.inputs[0].set_names({"input"})
    model.outputs[0].set_names({"output"})
    for key, value in sorted(metadata.items()):
        if _NAME.fullmatch(key):  # keys are names of XML elements there
            model.set_rt_info(value, [METADATA, key])
    try:
        openvino.save_model(model, str(path), compress_to_fp16=False)
    except Exception as error:  # RuntimeError, and whatever its writers let through
        raise ExportError(
            f"OpenVINO could not write this file ({' '.join(str(error).split())[:300]}). Check the folder and its free"
            " space."
        ) from error


def _add_kernel(openvino: Any, weight: Tensor) -> Any:
    """A constant of two bytes a number, and its conversion to fp32."""
    ops = import_library("openvino.opset15")
    kind = openvino.Type.bf16 if weight.dtype == torch.bfloat16 else openvino.Type.f16
    content = openvino.Tensor(kind, openvino.Shape(list(weight.shape)))
    content.data[...] = weight.view(torch.int16).numpy().view(content.data.dtype)
    return ops.convert(ops.constant(content), "f32")
