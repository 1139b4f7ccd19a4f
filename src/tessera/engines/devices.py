"""Every device that can run a network: the CPU, Vulkan devices, and the GPUs of PyTorch."""

from __future__ import annotations

import functools
import platform
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tessera.engines.engine import extract_sentence, find_installed_version, import_problem
from tessera.engines.hardware import has_nvidia_driver, may_have_gpu, read_nvidia_version
from tessera.engines.ncnn.vulkan import find_vulkan
from tessera.libraries import import_library
from tessera.machine import processor

if TYPE_CHECKING:
    from tessera.engines.pytorch.devices import Gpus

AUTO = "auto"
"""The name that lets the planner choose among all devices."""
DeviceKind = Literal["cpu", "vulkan", "cuda", "mps", "openvino"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device; what its library does not report is None."""

    name: str
    """As `device` takes it, such as "vulkan:0"."""
    kind: DeviceKind
    title: str
    usable: bool
    why_not: str | None = None
    """Why it is not usable, as a sentence."""
    software: bool = False
    """Whether the CPU emulates it; never chosen automatically."""
    memory_bytes: int | None = None
    driver: str | None = None
    fp16: bool | None = None
    int8: bool | None = None


def list_devices(pytorch: Gpus | None = None) -> tuple[Device, ...]:
    """All devices of this machine, and one entry with the reason for each kind that has none.

    `pytorch` are PyTorch's GPUs, where they were looked for already.
    """
    cpu = processor()
    return (
        Device(name="cpu", kind="cpu", title=cpu.name or cpu.architecture, usable=True),
        *_list_vulkan(),
        *_list_pytorch(pytorch),
        *_list_openvino(),
    )


@functools.cache
def list_automatic() -> tuple[str, ...]:
    """Names of the devices that the planner chooses from: usable GPUs first, the CPU last.

    Vulkan is asked and PyTorch imported only where they may find a GPU.
    """
    gpus = [*(_list_vulkan() if may_have_gpu() else ()), *(_list_pytorch() if _may_have_pytorch_gpu() else ())]
    return (*(gpu.name for gpu in gpus if gpu.usable and not gpu.software), "cpu")


def name_one(device: str) -> str:
    """A device for an engine that is opened without planning: the named one, or the CPU for `auto`."""
    return "cpu" if device == AUTO else device


def parse_device(text: str) -> str:
    """A device as people type it: a name; -1 for the CPU; or a number, as programs on CUDA and on Vulkan count GPUs.

    A number means CUDA where PyTorch may have it, else Vulkan where there is a device.
    """
    if text == "-1":
        return "cpu"
    if not text.isdecimal():
        return text
    number = int(text)
    if not _may_have_pytorch_gpu() and any(gpu.usable for gpu in _list_vulkan()):
        return f"vulkan:{number}"
    return f"cuda:{number}"


def describe_state(device: str) -> str | None:
    """What a plan for a device depends on besides the versions of the packages: GPUs and their drivers."""
    if device == "cpu":
        return None
    asks_vulkan = device.startswith("vulkan") or (device == AUTO and may_have_gpu())
    vulkan = [f"{gpu.name} {gpu.title} {gpu.driver}" for gpu in _list_vulkan() if gpu.usable] if asks_vulkan else []
    return "; ".join([*vulkan, read_nvidia_version() or ""])


def look_ahead(device: str) -> None:
    """Begin to look for devices in the background, where `auto` will ask for them: loading a driver takes a second."""
    if device == AUTO and may_have_gpu():
        threading.Thread(target=find_vulkan, name="devices", daemon=True).start()


def _list_vulkan() -> Iterator[Device]:
    found = find_vulkan()
    for each in found.devices:
        yield Device(
            name=f"vulkan:{each.index}",
            kind="vulkan",
            title=each.name,
            usable=each.problem is None,
            why_not=each.problem,
            software=each.is_software,
            memory_bytes=each.memory_bytes,
            driver=each.driver,
            fp16=each.fp16_storage,
            int8=each.int8,
        )
    if not found.devices:
        yield Device(name="vulkan", kind="vulkan", title="Vulkan", usable=False, why_not=found.problem)


def _list_pytorch(found: Gpus | None = None) -> Iterator[Device]:
    from tessera.engines.pytorch.devices import find_gpus

    kind: DeviceKind = "mps" if sys.platform == "darwin" else "cuda"
    problem = None if found is not None else import_problem("torch")
    if problem is not None:
        yield Device(name=kind, kind=kind, title="PyTorch", usable=False, why_not=f"PyTorch: {problem}")
        return
    found = found or find_gpus(import_library("torch"))
    for gpu in found.devices:
        yield Device(
            name=gpu.device,
            kind="mps" if gpu.device == "mps" else "cuda",
            title=gpu.name,
            usable=True,
            memory_bytes=gpu.memory_bytes,
            fp16=True,
        )
    if not found.devices:
        yield Device(name=kind, kind=kind, title="PyTorch", usable=False, why_not=found.problem)


def _list_openvino() -> Iterator[Device]:
    """Devices of OpenVINO besides the CPU; used only by name."""
    problem = import_problem("openvino")
    names: list[str] = []
    if problem is None:
        from tessera.weights import openvino_core

        try:
            core = openvino_core.openvino_core()
            names = [str(name) for name in core.available_devices if name != "CPU"]
            for name in names:
                title = str(core.get_property(name, "FULL_DEVICE_NAME"))
                yield Device(name=f"openvino:{name}", kind="openvino", title=title, usable=True, fp16=True)
        except RuntimeError as error:  # drivers fail in their own ways
            problem = extract_sentence(error)
    if not names:
        why = f"OpenVINO: {problem}" if problem else "OpenVINO finds no Intel GPU or NPU, or its driver is missing."
        yield Device(name="openvino:GPU", kind="openvino", title="OpenVINO", usable=False, why_not=why)


def _may_have_pytorch_gpu() -> bool:
    """Whether importing PyTorch to ask for its GPUs is worth the time: there is a driver, and a build for GPUs."""
    version = find_installed_version("torch")
    if version is None or version.endswith("+cpu"):
        return False
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    return has_nvidia_driver() or Path("/dev/kfd").exists()
