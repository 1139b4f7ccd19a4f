"""Peak rate of the processor for each number type: products of square matrices with PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from tessera.engines.hardware import has_bf16

_SIDE = 1024
_TRIES = 12


def make_probes() -> dict[str, Callable[[], float]]:
    """By type, a function that measures operations per second, two per multiply-add, once for a few tries.

    Types without hardware support are omitted. Each probe takes the best of several tries; repeated between other
    measurements, its maximum is less sensitive to other load.
    """
    types: list[tuple[str, torch.dtype, Callable[[Any, Any], Any]]] = [("fp32", torch.float32, torch.mm)]
    if has_bf16("cpu"):
        types.append(("bf16", torch.bfloat16, torch.mm))
    int_mm: Any = getattr(torch, "_int_mm", None)
    if int_mm is not None:
        types.append(("int8", torch.int8, int_mm))
    return {name: _probe(kind, multiply) for name, kind, multiply in types}


def _probe(kind: torch.dtype, multiply: Callable[[Any, Any], Any]) -> Callable[[], float]:
    def measure() -> float:
        left = torch.ones(_SIDE, _SIDE).to(kind)
        right = torch.ones(_SIDE, _SIDE).to(kind)
        least = float("inf")
        with torch.inference_mode():
            multiply(left, right)
            for _ in range(_TRIES):
                began = time.perf_counter()
                multiply(left, right)
                least = min(least, time.perf_counter() - began)
        return 2 * _SIDE**3 / least

    return measure
