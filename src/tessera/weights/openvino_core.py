"""OpenVINO's core, of which a process has one; how files are read, and how models are compiled for the processor."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from tessera.libraries import import_library
from tessera.weights.signatures import HEAD_BYTES, require_openvino


@functools.cache
def openvino_core() -> Any:
    """Return the one core of this process, which is never freed.

    Loading its CPU plugin gives the calling thread its own stack for signals, and unloading frees that memory from any
    thread. If it is another thread, the next signal (Ctrl-C, the end of a child) finds no stack, and the system ends
    the process with a segmentation fault.
    """
    openvino = import_library("openvino")  # its compiled part has no types
    return openvino.Core()


def read_model(path: Path) -> Any:
    """Read an OpenVINO model (`.xml` with its `.bin`) into memory, and no file of another format.

    `Core.read_model` lets each of its readers look at the file and takes the first that accepts it, so that an ONNX,
    TensorFlow or Paddle file named `.xml` would be opened.

    Raises WeightsError, without the file's name, for other content, OSError, and whatever the reader raises.
    """
    with path.open("rb") as file:
        require_openvino(file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size)
    frontends = import_library("openvino.frontend").FrontEndManager()
    reader = frontends.load_by_framework("ir")
    return reader.convert(reader.load(str(path)))


def processor_options(precision: str, threads: int | None) -> dict[str, Any]:
    """Options of OpenVINO for the processor: products in fp32 or bf16, one run at a time."""
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    return options if threads is None else {**options, "INFERENCE_NUM_THREADS": threads}
