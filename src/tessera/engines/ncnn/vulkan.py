"""Vulkan devices: which there are, why there are none, and ncnn's instance in this process.

Devices are looked for in a child process (`tessera.engines.ncnn.probe`), so that a driver that crashes or hangs costs
a sentence and not the run. The result is cached until the driver files, the ncnn package or the processor change.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import json
import os
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ValidationError

from tessera.engines.engine import find_installed_version, import_problem
from tessera.engines.hardware import read_nvidia_version
from tessera.errors import EngineError
from tessera.libraries import find_install, import_library
from tessera.storage.cache import Key, read_cached, remove_cached, write_cached

FORMAT = 1
PROBE_SECONDS = 30.0
LARGEST_TEST_ERROR = 1e-3
"""Of the probe's network, whose outputs are about 1; a CPU and a GPU differ by about 1e-5."""

Kind = Literal["discrete", "integrated", "virtual", "cpu"]
_KINDS: tuple[Kind, ...] = ("discrete", "integrated", "virtual", "cpu")  # the order of ncnn's numbers
_NVIDIA, _INTEL = 0x10DE, 0x8086
_ICD_FOLDERS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
_DRIVER_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES", "VK_LOADER_DRIVERS_DISABLE")
_LOADERS = {"win32": ("vulkan-1.dll",), "darwin": ("libvulkan.dylib", "libvulkan.1.dylib", "libMoltenVK.dylib")}
_LINUX_LOADERS = ("libvulkan.so.1", "libvulkan.so")
_PROBE = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from tessera.engines.ncnn.probe import main
main()
"""
_ABILITIES = re.compile(
    r"^\[(?P<index>\d+) .*\]\s+fp16-p/s/u/a=\d/(?P<storage>\d)/\d/(?P<arithmetic>\d)"
    r"\s+int8-p/s/u/a=\d/\d/\d/(?P<int8>\d)",
    re.MULTILINE,
)
"""The line in which ncnn says what a device supports: packed, storage, uniform, arithmetic."""


class VulkanDevice(BaseModel, frozen=True, extra="forbid"):
    """One Vulkan device as its driver describes it."""

    index: int
    name: str
    kind: Kind
    driver: str
    """Version of the driver."""
    memory_bytes: int
    """Memory that the driver grants this process."""
    fp16_storage: bool = False
    fp16_arithmetic: bool = False
    int8: bool = False
    problem: str | None = None
    """Why it cannot be used."""

    @property
    def is_software(self) -> bool:
        """Whether the CPU emulates it. Such a device is slower than ncnn on the CPU, and never chosen automatically."""
        return self.kind == "cpu"


class Vulkan(BaseModel, frozen=True, extra="forbid"):
    """All Vulkan devices; without any, `problem` says why."""

    devices: tuple[VulkanDevice, ...] = ()
    problem: str | None = None


_search = threading.Lock()


def find_vulkan() -> Vulkan:
    """Find the Vulkan devices of this machine, once per process."""
    with _search:  # one thread searches, others wait for its result
        return _find_vulkan()


@functools.cache
def _find_vulkan() -> Vulkan:
    if find_installed_version("ncnn") is None:
        return Vulkan(problem=f"The package ncnn is not installed: {find_install('ncnn')}.")
    key = _key()
    try:
        return Vulkan.model_validate_json(json.dumps(read_cached("vulkan", key)))
    except ValidationError:
        problem = import_problem("ncnn")
        found = _probe() if problem is None else Vulkan(problem=f"The package ncnn: {problem}")
        write_cached("vulkan", key, found.model_dump(mode="json"))
        return found


def forget_vulkan() -> None:
    """Forget the cached devices, so that the next search looks again."""
    remove_cached("vulkan", _key())
    _find_vulkan.cache_clear()


def find_device(device: str) -> VulkanDevice:
    """The device named "vulkan" (the best one) or "vulkan:1". Raises EngineError when it cannot be used."""
    found = find_vulkan()
    if not found.devices:
        raise EngineError(f"No Vulkan device: {found.problem}")
    _, _, number = device.partition(":")
    if not number:
        usable = [each for each in found.devices if each.problem is None] or list(found.devices)
        chosen = min(usable, key=lambda each: (_KINDS.index(each.kind), each.index))
    elif number.isdecimal() and int(number) < len(found.devices):
        chosen = found.devices[int(number)]
    else:
        names = ", ".join(f"vulkan:{each.index} ({each.name})" for each in found.devices)
        raise EngineError(f"{device!r} does not exist; this machine has {names}.")
    if chosen.problem is not None:
        raise EngineError(f"vulkan:{chosen.index} ({chosen.name}) cannot be used: {chosen.problem}")
    return chosen


# ------------------------------------------------------------------------------------------------------- the probe


def _key() -> Key:
    """What the devices depend on: the package, the driver files, and the variables that select drivers."""
    return {
        "format": FORMAT,
        "ncnn": find_installed_version("ncnn"),
        "drivers": " ".join(sorted(_driver_files())),
        **{name: os.environ.get(name) for name in _DRIVER_VARIABLES},
    }


def _driver_files() -> Iterator[str]:
    """The drivers' manifests and libraries with their times; a driver update changes one of them."""
    for folder in map(Path, _ICD_FOLDERS):
        for manifest in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            yield f"{manifest}@{manifest.stat().st_mtime_ns}"
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                library = Path(json.loads(manifest.read_text(encoding="utf-8"))["ICD"]["library_path"])
                yield f"{library}@{library.stat().st_mtime_ns}"
    yield read_nvidia_version() or ""


def _probe() -> Vulkan:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, json.dumps(sys.path)],
            capture_output=True,
            timeout=PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        late = f"A Vulkan driver did not answer within {PROBE_SECONDS:.0f} s"
        return Vulkan(problem=f"{late}; update it, then run `tessera doctor`, which looks again.")
    except OSError as error:
        return Vulkan(problem=f"The search for devices cannot start: {error.strerror}.")
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        return Vulkan(problem=f"A Vulkan driver crashed ({how}); update the GPU driver.")
    return read_probe(done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def read_probe(output: str, log: str) -> Vulkan:
    """The devices that the probe printed, with what ncnn's log says they support."""
    try:
        described: list[dict[str, Any]] = json.loads(output.strip().splitlines()[-1])["devices"]
    except (IndexError, KeyError, ValueError):
        return Vulkan(problem="The search for devices failed; run `tessera doctor` again.")
    abilities = {int(match["index"]): match for match in _ABILITIES.finditer(log)}
    devices = tuple(_read_device(each, abilities.get(int(each["index"]))) for each in described)
    return Vulkan(devices=devices, problem=None if devices else explain_absence())


def _read_device(described: dict[str, Any], ability: re.Match[str] | None) -> VulkanDevice:
    error = described["error"]
    problem = None
    if error is None:
        problem = "it fails on a small test network; update the GPU driver."
    elif error > LARGEST_TEST_ERROR:
        problem = f"its results are wrong (by {error:.2g} on a small test network); update the GPU driver."
    kind = int(described["type"])
    return VulkanDevice(
        index=int(described["index"]),
        name=str(described["name"]),
        kind=_KINDS[kind] if kind < len(_KINDS) else "virtual",
        driver=format_driver_version(int(described["vendor"]), int(described["driver"])),
        memory_bytes=int(described["memory_bytes"]),
        fp16_storage=ability is not None and ability["storage"] == "1",
        fp16_arithmetic=ability is not None and ability["arithmetic"] == "1",
        int8=ability is not None and ability["int8"] == "1",
        problem=problem,
    )


def format_driver_version(vendor: int, packed: int) -> str:
    """The version that a driver packs into 32 bits: NVIDIA 10.8.8.6 bits, Intel on Windows 18.14, others 10.10.12.

    >>> format_driver_version(0x10DE, (550 << 22) | (54 << 14) | (14 << 6)), format_driver_version(0x1002, 0x00805004)
    ('550.54.14', '2.5.4')
    """
    if vendor == _NVIDIA:
        return f"{packed >> 22}.{packed >> 14 & 0xFF}.{packed >> 6 & 0xFF}"
    if vendor == _INTEL and sys.platform == "win32":
        return f"{packed >> 14}.{packed & 0x3FFF}"
    return f"{packed >> 22}.{packed >> 12 & 0x3FF}.{packed & 0xFFF}"


def explain_absence() -> str:
    """Why there is no Vulkan device: no loader, a container, or no driver."""
    loaders = _LOADERS.get(sys.platform, _LINUX_LOADERS)
    if not any(_can_load(name) for name in loaders):
        install = "" if sys.platform in _LOADERS else " Install it (Debian, Ubuntu: apt install libvulkan1)."
        return f"The Vulkan loader ({loaders[0]}) is missing.{install or ' Install the GPU driver.'}"
    if any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")):
        return (
            "No driver in this container. Start it with the GPU: the device /dev/dri for AMD and Intel, or NVIDIA's"
            " container toolkit with NVIDIA_DRIVER_CAPABILITIES=all."
        )
    return "No driver offers a device. Install the GPU driver (Debian, Ubuntu, AMD and Intel: mesa-vulkan-drivers)."


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


# ---------------------------------------------------------------------------------------- the instance in this process


class Closable(Protocol):
    """Something with nets on a device."""

    def close(self) -> None:
        """Release the nets."""
        ...


_lock = threading.Lock()
_open: weakref.WeakSet[Closable] = weakref.WeakSet()
"""Engines with nets on a device; they must be released before the instance."""


@dataclass
class _Instance:
    started: bool = False


_instance = _Instance()


def start_instance(engine: Closable) -> None:
    """Create ncnn's instance, if this process has none, and have it destroyed at exit, after the engine's nets."""
    with _lock:
        _open.add(engine)
        if not _instance.started:
            with _without_stderr():  # ncnn prints a table of abilities for each device
                import_library("ncnn").create_gpu_instance()
            atexit.register(stop_instance)
            _instance.started = True


def stop_instance() -> None:
    """Release all nets and destroy the instance; the next `start_instance` works on a lost device, too."""
    with _lock:
        for engine in list(_open):
            engine.close()
        if _instance.started:
            import_library("ncnn").destroy_gpu_instance()
            atexit.unregister(stop_instance)
            _instance.started = False


@contextlib.contextmanager
def _without_stderr() -> Generator[None]:
    """Discard what native code writes to the standard error stream."""
    try:
        kept = os.dup(2)
    except OSError:  # the stream is closed
        yield
        return
    try:
        with Path(os.devnull).open("rb+") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
