"""ONNX Runtime, for generators that came as `.onnx` files, with whichever execution provider is installed.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import re

import numpy as np

from tessera.engines.engine import Engine, Tiles
from tessera.engines.memory import without_memory_errors, working_bytes_per_pixel
from tessera.errors import EngineError, WeightsError
from tessera.libraries import import_library
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.weights.onnx_file import CPU, OnnxNetwork, Providers, open_session

PROVIDERS = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
"""By what a device is called here."""


class OnnxRuntimeEngine:
    """Runs an ONNX file in the precision that it was exported in.

    `device` is cpu, cuda, cuda:1, tensorrt, directml or coreml. Raises EngineError where the installed runtime has no
    such provider, and for generators that are not ONNX files.
    """

    name = "onnxruntime"

    def __init__(self, generator: LoadedGenerator, *, device: str = "cpu", threads: int | None = None) -> None:
        network = generator.file
        if not isinstance(network, OnnxNetwork):
            raise EngineError(
                f"ONNX Runtime runs .onnx files, and {generator.name} is not one; leave `engine` at auto."
            )
        self.precision = "fp32"
        self._network = network
        if device != "cpu" or threads is not None:
            try:
                session = open_session(network.path, providers_for(device), threads=threads)
            except WeightsError as error:
                raise EngineError(f"{network.path}: {error}") from error
            self._network = OnnxNetwork(network.path, session)
        self.bytes_per_pixel = working_bytes_per_pixel(generator.config, "fp32")

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped."""
        with without_memory_errors(tiles):
            return self._network.run(np.ascontiguousarray(tiles))

    def exact(self) -> Engine:
        """Itself: a file has one precision."""
        return self


def providers_for(device: str) -> Providers:
    """The execution providers for a device, with the processor behind it. Raises EngineError where it is not there.

    CUDA multiplies whole fp32 numbers and not their first 10 bits (TF32): a file has one precision, the exact one.
    """
    onnxruntime = import_library("onnxruntime")

    found = re.fullmatch(r"(\w+?)(?::(\d+))?", device)
    name = PROVIDERS.get(found[1]) if found else None
    if found is None or name is None:
        raise EngineError(f"{device!r} is not a device of ONNX Runtime; use {', '.join(PROVIDERS)}.")
    here = onnxruntime.get_available_providers()
    if name not in here:
        raise EngineError(
            f"The installed ONNX Runtime has no {name}, which {device} needs; it has {', '.join(here)}. Packages such"
            " as onnxruntime-gpu and onnxruntime-directml have others."
        )
    settings = {"device_id": found[2]} if found[2] else {}
    if name == PROVIDERS["cuda"]:
        settings["use_tf32"] = "0"
    return [(name, settings), (CPU, {})] if name != CPU else [(CPU, {})]
