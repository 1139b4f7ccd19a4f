"""The GPUs that PyTorch can use."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from tessera.engines.engine import extract_sentence
from tessera.engines.hardware import has_bf16


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One device other than the processor; values that its library does not report are None."""

    device: str
    name: str
    memory_bytes: int | None
    capability: str | None
    bf16: bool


@dataclass(frozen=True, kw_only=True)
class Gpus:
    """The devices that PyTorch can use; without any, `problem` says why."""

    devices: tuple[Gpu, ...]
    problem: str | None


def find_gpus(torch: Any) -> Gpus:
    """The CUDA and MPS devices that PyTorch can use; a driver that is broken is a problem, not an error."""
    found: list[Gpu] = []
    problem: str | None = None
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            found += _cuda(torch)
            if torch.backends.mps.is_available():
                found.append(
                    Gpu(device="mps", name="Apple GPU", memory_bytes=None, capability=None, bf16=has_bf16("mps"))
                )
        except Exception as error:  # drivers fail in their own ways
            problem = extract_sentence(error)
    if not found and problem is None:
        built = torch.version.cuda or getattr(torch.version, "hip", None)
        said = [extract_sentence(warning.message) for warning in warned if isinstance(warning.message, Warning)]
        problem = said[0] if said else None
        if problem is None:
            problem = "PyTorch sees no GPU." if built else "This PyTorch is a build for CPUs only."
    return Gpus(devices=tuple(found), problem=problem)


def _cuda(torch: Any) -> list[Gpu]:
    if not torch.cuda.is_available():
        return []
    found: list[Gpu] = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(
            Gpu(
                device=f"cuda:{index}",
                name=str(properties.name),
                memory_bytes=int(properties.total_memory),
                capability=f"{properties.major}.{properties.minor}",
                bf16=int(properties.major) >= 8,
            )
        )
    return found
