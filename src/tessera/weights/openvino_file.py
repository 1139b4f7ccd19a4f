"""OpenVINO files (`.xml` and `.bin`) as generators: run by OpenVINO, described by metadata and shape inference.

The `.xml` lists the operations, the `.bin` holds the constants; neither contains executable code. OpenVINO infers the
output shape from the input shape, so no run is needed to describe a file.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from tessera.errors import WeightsError
from tessera.weights.file_network import (
    FileNetwork,
    Planes,
    describe_limits,
    probe_sizes,
    read_channels,
    shorten_message,
)
from tessera.weights.openvino_core import openvino_core, processor_options, read_model

METADATA = "tessera"
"""The section of a file's runtime information that holds its metadata."""
PRECISION_KEY = "tessera.precision"
_TYPES = {"f32": np.float32, "f16": np.float16}


class OpenVinoNetwork(FileNetwork):
    """An OpenVINO file as a network, compiled on the first run."""

    def __init__(self, path: Path, model: Any, precision: str = "fp32", threads: int | None = None) -> None:
        super().__init__(path, _read_static_shape(model))
        self.model = model
        self._options = processor_options(precision, threads)
        self._type = _TYPES[model.inputs[0].get_element_type().get_type_name()]
        self._compiled: Any = None
        self._lock = threading.Lock()

    def run_batch(self, batch: Planes) -> Planes:
        """Run a batch of an accepted size: (B, C, H, W) -> (B, C, s*H, s*W), float32."""
        with self._lock:
            if self._compiled is None:
                self._compiled = openvino_core().compile_model(self.model, "CPU", self._options)
        array = np.ascontiguousarray(batch, self._type)
        # One inference request per run, so that threads do not overwrite each other's results.
        result = self._compiled.create_infer_request().infer([array], share_inputs=True, share_outputs=True)
        return np.array(result[0], np.float32)


@dataclass(frozen=True)
class OpenVinoFile:
    """Description of an OpenVINO file."""

    network: OpenVinoNetwork
    in_channels: int
    out_channels: int
    scale: int
    architecture: str
    metadata: Mapping[str, str]
    notes: tuple[str, ...]
    type_name: str
    """Type of most of the constants: float32, float16 ..."""


def read_openvino(path: Path) -> OpenVinoFile:
    """Read and describe the pair of files whose `.xml` is given.

    Raises WeightsError, without the name of the file.
    """
    if not path.with_suffix(".bin").is_file():
        raise WeightsError(
            f"an OpenVINO model is two files, and {path.with_suffix('.bin').name} is missing. Download both files."
        )
    try:
        model = read_model(path)
        kinds = [each.get_element_type().get_type_name() for each in model.inputs]
        results = [each.get_any_name() if each.get_names() else "unnamed" for each in model.outputs]
    except WeightsError:
        raise
    except Exception as error:  # RuntimeError, and any exception of its readers
        raise WeightsError(f"OpenVINO cannot read this file ({shorten_message(error)}).") from error
    if len(kinds) != 1:
        raise WeightsError(f"it takes {len(kinds)} inputs, not one picture.")
    if kinds[0] not in _TYPES:
        raise WeightsError(f"its input type is {kinds[0]}; expected float32 or float16.")
    channels = read_channels(_read_static_shape(model))
    network = OpenVinoNetwork(path, model)

    def infer_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
        trial = model.clone()
        trial.reshape(list(shape))
        return tuple(trial.outputs[0].get_shape())

    scale, out_channels, network.multiple = probe_sizes(network.fixed, channels, infer_shape)
    return OpenVinoFile(
        network=network,
        in_channels=channels,
        out_channels=out_channels,
        scale=scale,
        architecture=f"OpenVINO ({model.get_friendly_name()})",
        metadata=_read_metadata(model),
        notes=describe_limits(network.fixed, results),
        type_name=_find_stored_type(model),
    )


def _read_static_shape(model: Any) -> tuple[int | None, ...]:
    shape = model.inputs[0].get_partial_shape()
    if shape.rank.is_dynamic:
        return ()
    return tuple(each.get_length() if each.is_static else None for each in shape)


def _read_metadata(model: Any) -> dict[str, str]:
    if not model.has_rt_info([METADATA]):
        return {}
    info: Any = model.get_rt_info([METADATA]).value
    return {key: str(value) for key, value in cast("dict[str, Any]", info).items()} if isinstance(info, dict) else {}


def _find_stored_type(model: Any) -> str:
    """Return the type with the most bytes of constants."""
    sizes: dict[str, int] = {}
    for operation in model.get_ops():
        if operation.get_type_name() == "Constant":
            kind = operation.get_element_type().get_type_name()
            sizes[kind] = sizes.get(kind, 0) + operation.get_byte_size()
    most = max(sizes, key=lambda kind: sizes[kind], default="f32")
    return {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "i8": "int8", "u8": "uint8"}.get(most, most)
