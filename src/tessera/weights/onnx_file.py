"""ONNX files as generators: run by ONNX Runtime, described by their metadata and a trial run.

Files that Tessera exported contain their configuration. For other files the input and output shapes are read, and a few
small test pictures show the scale and the accepted sizes.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tessera.errors import WeightsError
from tessera.generators import CONFIG_KEY
from tessera.libraries import find_install, import_library
from tessera.weights.file_network import (
    PROBE,
    SMALL_PROBE,
    FileNetwork,
    Planes,
    describe_limits,
    probe_sizes,
    read_channels,
    shorten_message,
)

INSTALL = find_install("onnxruntime")
CPU = "CPUExecutionProvider"
Providers = Sequence[tuple[str, Mapping[str, str]]]

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxNetwork(FileNetwork):
    """A session of ONNX Runtime as a network."""

    def __init__(self, path: Path, session: Any) -> None:
        only = session.get_inputs()[0]
        super().__init__(path, tuple(each if isinstance(each, int) else None for each in only.shape))
        self.session = session
        self._name: str = only.name
        self._type = _TYPES[only.type]

    def run_batch(self, batch: Planes) -> Planes:
        """Run a batch of an accepted size: (B, C, H, W) -> (B, C, s*H, s*W), float32."""
        array = np.ascontiguousarray(batch, self._type)
        return np.asarray(self.session.run(None, {self._name: array})[0], np.float32)


@dataclass(frozen=True)
class OnnxFile:
    """Description of an ONNX file."""

    network: OnnxNetwork
    in_channels: int
    out_channels: int
    scale: int
    multiple: int
    architecture: str
    metadata: Mapping[str, str]
    notes: tuple[str, ...]
    type_name: str
    """Input type: float32 or float16."""


def open_session(path: Path, providers: Providers, *, threads: int | None = None) -> Any:
    """Open a file with these execution providers, the first preferred. Raises WeightsError, without the file's name."""
    try:
        runtime = import_library("onnxruntime")
    except (ImportError, OSError) as error:
        raise WeightsError(f"ONNX files need the package onnxruntime ({error}): {INSTALL}.") from error
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(
            str(path),
            sess_options=options,
            providers=[name for name, _ in providers],
            provider_options=[dict(settings) for _, settings in providers],
        )
    except Exception as error:  # its errors have no common root
        raise WeightsError(f"ONNX Runtime cannot open this file ({shorten_message(error)}).") from error


def read_onnx(path: Path) -> OnnxFile:
    """Open an ONNX file on the CPU and describe it. Raises WeightsError, without the file's name."""
    session = open_session(path, [(CPU, {})])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise WeightsError(
            f"it takes {len(inputs)} inputs ({', '.join(each.name for each in inputs)}), not one picture."
        )
    if inputs[0].type not in _TYPES:
        raise WeightsError(f"its input type is {inputs[0].type}; expected float32 or float16.")
    channels = read_channels(list(inputs[0].shape))
    network = OnnxNetwork(path, session)

    def infer_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
        return network.run_batch(np.random.default_rng(0).random(shape, np.float32)).shape

    meta = session.get_modelmeta()
    probe = SMALL_PROBE if CONFIG_KEY in meta.custom_metadata_map else PROBE
    scale, out_channels, network.multiple = probe_sizes(network.fixed, channels, infer_shape, probe)
    return OnnxFile(
        network=network,
        in_channels=channels,
        out_channels=out_channels,
        scale=scale,
        multiple=network.multiple,
        architecture=f"ONNX ({meta.graph_name})" if meta.graph_name else "ONNX",
        metadata=dict(meta.custom_metadata_map),
        notes=describe_limits(network.fixed, [each.name for each in outputs]),
        type_name=np.dtype(_TYPES[inputs[0].type]).name,
    )
