"""Reduced precisions that the hardware multiplies, on this processor and on GPUs."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from tessera.machine import processor


@functools.cache
def has_int8() -> bool:
    """Whether this processor adds 8-bit products in 32 bits: faster than floating point, and without overflow."""
    return bool({"AVX-512 VNNI", "AVX-VNNI", "AMX INT8"} & set(processor().features or ()))


@functools.cache
def has_bf16(device: str) -> bool:
    """Whether the device multiplies bf16 in hardware (on CPUs: AVX-512 BF16, AMX or Arm BF16)."""
    if device == "cpu":
        return bool({"AVX-512 BF16", "AMX BF16", "BF16"} & set(processor().features or ()))
    if device.startswith("cuda"):
        import torch

        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return False


_NVIDIA_VERSION = Path("/proc/driver/nvidia/version")
_NVIDIA_DRIVER = (_NVIDIA_VERSION, Path("/dev/nvidia0"), Path("C:/Windows/System32/nvcuda.dll"))


def has_nvidia_driver() -> bool:
    """Whether NVIDIA's driver is installed, without loading it."""
    return any(place.exists() for place in _NVIDIA_DRIVER)


def read_nvidia_version() -> str | None:
    """The line in which NVIDIA's driver on Linux states its version; None without it."""
    if not _NVIDIA_VERSION.is_file():
        return None
    return _NVIDIA_VERSION.read_text(encoding="utf-8", errors="replace").partition("\n")[0]


_GPU_NODES = ("dri", "nvidia", "nvhost", "nvgpu", "dxg", "mali", "kgsl", "pvr")
"""How the names of GPUs' files in /dev begin: Mesa, NVIDIA, Windows under WSL, Arm, Qualcomm, Imagination."""


def may_have_gpu(folder: Path = Path("/dev")) -> bool:
    """Whether looking for a GPU is worth the time: on Linux every driver has a file in /dev."""
    if not sys.platform.startswith("linux"):
        return True
    try:
        return any(place.name.startswith(_GPU_NODES) for place in folder.iterdir())
    except OSError:
        return True
