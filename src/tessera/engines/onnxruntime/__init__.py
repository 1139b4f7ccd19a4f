"""ONNX Runtime, for `.onnx` files, in the precision that they were exported in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.engines.engine import Engine, EngineInfo, OpenOptions
from tessera.libraries import find_install

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator


def _open(generator: LoadedGenerator, options: OpenOptions) -> Engine:
    from tessera.engines.onnxruntime.engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(generator, device=options.device, threads=options.threads)


ONNXRUNTIME = EngineInfo(
    name="onnxruntime",
    title="ONNX Runtime",
    open=_open,
    package="onnxruntime",
    module="onnxruntime",
    install=find_install("onnxruntime"),
    devices=("cpu", "cuda", "tensorrt", "directml", "coreml"),
    runs_networks=False,
    file_formats={"onnx": "an ONNX file"},
)
