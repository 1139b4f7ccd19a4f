"""OpenVINO's core, of which a process has one, and how models are compiled for the processor."""

from __future__ import annotations

import functools
from typing import Any

from tessera.libraries import import_library


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's one core of this process, which is never given back.

    Loading its CPU part gives the calling thread a stack of its own for signals, and unloading takes that memory away,
    whichever thread does it. If it is another, the next signal (Ctrl-C, the end of a child) finds no stack, and the
    system ends the process with a segmentation fault.
    """
    openvino = import_library("openvino")  # what is compiled in it has no types
    return openvino.Core()


def processor_options(precision: str, threads: int | None) -> dict[str, Any]:
    """How OpenVINO is asked to compile for the processor: products in fp32 or bf16, one run at a time."""
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    return options if threads is None else {**options, "INFERENCE_NUM_THREADS": threads}
