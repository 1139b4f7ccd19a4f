"""Check of installation and hardware: processor, memory, GPUs, engines, weights, and their problems.

`examine` inspects the machine once and returns a record; `list_warnings` is a function of that record, so its warnings
for any machine can be tested on this one. Broken parts are reported, never raised.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera import machine
from tessera.engines.devices import Device, list_devices
from tessera.engines.engine import EngineInfo, find_installed_version, import_problem
from tessera.engines.hardware import has_nvidia_driver
from tessera.engines.ncnn.vulkan import forget_vulkan
from tessera.engines.opening import ENGINES, PRECISIONS, choose_products, find_engine
from tessera.engines.pytorch.devices import Gpus, find_gpus
from tessera.errors import EngineError
from tessera.libraries import EXTRAS, find_install, import_library
from tessera.machine import Cores, Memory, Processor
from tessera.native import library as kernels_library
from tessera.native.build import platform_here
from tessera.version import __version__
from tessera.weights.names import WEIGHTS_SUFFIXES
from tessera.weights.published import MODELS
from tessera.wording import format_bytes
from tessera.zoo import models as zoo
from tessera.zoo.fetching import models_folder

_LITTLE_MEMORY_BYTES = 2**30
_LITTLE_DISK_BYTES = 2**30

_PACKAGES = (*(info.package for info in ENGINES if info.package is not None), "numpy", "pyvips")


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """Whether an engine is usable here, and the type of its products on the processor at each precision."""

    name: str
    package: str
    version: str | None
    problem: str | None
    """Why the package cannot be imported; None when it can."""
    install: str
    products: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The instruction sets of the C kernels; without the library `used` is None and `offered` is empty."""

    used: str | None
    chosen_by_environment: bool
    offered: tuple[str, ...]
    """Those that the processor runs, best last, whether or not the library has them."""
    wheel: str | None
    """The platform of the release's wheel for this machine; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights on this machine: a published model, or another file in the models folder."""

    name: str
    path: Path
    packaged: bool
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder that Tessera writes to, which may not exist yet."""

    path: Path
    free_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class ExtraState:
    """An optional part of Tessera: what it is for, and what is missing for it."""

    name: str
    purpose: str
    packages: tuple[str, ...]
    missing: tuple[str, ...]
    """Its packages that are not installed."""
    install: str
    """The line to type."""


@dataclass(frozen=True, kw_only=True)
class Threads:
    """Number of threads that PyTorch starts, and the setting in the environment."""

    pytorch: int | None
    omp_num_threads: int | None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that was found."""

    system: str
    processor: Processor
    cores: Cores
    threads: Threads
    memory: Memory
    gpus: Gpus
    devices: tuple[Device, ...]
    """The CPU, and every GPU with the reason why it cannot be used."""
    nvidia_driver: bool
    """Whether the system has NVIDIA's driver, whether or not PyTorch can use it."""
    engines: tuple[EngineState, ...]
    pictures_problem: str | None
    """Why pictures cannot be read and written; None when they can."""
    weights: tuple[Weights, ...]
    models_folder: Folder
    cache_folder: Folder
    versions: dict[str, str | None]
    kernels: Kernels | None = None
    extras: tuple[ExtraState, ...] = ()

    @property
    def can_upscale(self) -> bool:
        """Whether an engine can run and pictures can be read."""
        return self.pictures_problem is None and any(engine.problem is None for engine in self.engines)


def examine() -> Findings:
    """Inspect the machine; imports the package of every installed engine."""
    versions: dict[str, str | None] = {"tessera": __version__, "python": platform.python_version()}
    versions |= {package: find_installed_version(package) for package in _PACKAGES}
    libvips, pictures_problem = _libvips()
    versions["libvips"] = libvips
    engines = tuple(_examine_engine(info) for info in ENGINES)
    torch_works = import_problem("torch") is None
    gpus = find_gpus(import_library("torch")) if torch_works else None
    forget_vulkan()  # a driver may have been repaired
    models, cache = models_folder(), machine.cache_folder()
    return Findings(
        system=f"{platform.system()} {platform.release()}",
        processor=machine.processor(),
        cores=machine.cores(),
        threads=Threads(
            pytorch=import_library("torch").get_num_threads() if torch_works else None,
            omp_num_threads=omp_num_threads(os.environ.get("OMP_NUM_THREADS", "")),
        ),
        memory=machine.memory(),
        gpus=gpus or Gpus(devices=(), problem="PyTorch is missing."),
        devices=list_devices(gpus),
        nvidia_driver=has_nvidia_driver(),
        engines=engines,
        pictures_problem=pictures_problem,
        weights=find_weights(models),
        models_folder=Folder(path=models, free_bytes=machine.free_disk_bytes(models)),
        cache_folder=Folder(path=cache, free_bytes=machine.free_disk_bytes(cache)),
        versions=versions,
        kernels=_examine_kernels(),
        extras=_examine_extras(),
    )


# ----------------------------------------------------------------------------------------------------------- packages


def _examine_engine(info: EngineInfo) -> EngineState:
    return EngineState(
        name=info.name,
        package=info.package or "tessera",
        version=info.find_version(),
        problem=info.find_problem(),
        install=info.install,
        products={precision: choose_products(info.name, precision) for precision in PRECISIONS},
    )


def _examine_extras() -> tuple[ExtraState, ...]:
    states: list[ExtraState] = []
    for extra in EXTRAS:
        packages = [library.package for library in extra.list_libraries()]
        states.append(
            ExtraState(
                name=extra.name,
                purpose=extra.purpose,
                packages=tuple(packages),
                missing=tuple(package for package in packages if find_installed_version(package) is None),
                install=extra.install,
            )
        )
    return tuple(states)


def _examine_kernels() -> Kernels:
    used: str | None = None
    offered: tuple[str, ...] = ()
    with contextlib.suppress(EngineError):  # reported by the engine
        used, offered = kernels_library.choose_set(), kernels_library.sets_offered()
    return Kernels(
        used=used,
        chosen_by_environment=bool(os.environ.get(kernels_library.SET_VARIABLE)),
        offered=offered,
        wheel=platform_here(),
    )


def _libvips() -> tuple[str | None, str | None]:
    problem = import_problem("pyvips")
    if problem is not None:
        return None, f"pyvips reads and writes pictures. {problem} {find_install('pyvips')}"
    pyvips = import_library("pyvips")
    return ".".join(str(pyvips.version(part)) for part in (0, 1, 2)), None


# ------------------------------------------------------------------------------------------------- weights and threads


def find_weights(folder: Path) -> tuple[Weights, ...]:
    """The published models that are here, and after them other weights in the models folder."""
    found: list[Weights] = []

    def add(name: str, path: Path, *, packaged: bool) -> None:
        found.append(Weights(name=name, path=path, packaged=packaged, size_bytes=path.stat().st_size))

    with contextlib.suppress(OSError):  # a folder that may not be read has nothing to offer
        for model in MODELS:
            path = zoo.locate(model, folder)
            if path is not None:
                is_packaged = model.packaged is not None and path.name == Path(model.packaged.path).name
                add(model.name, path, packaged=is_packaged)
        known = {weights.path for weights in found}
        for path in sorted(folder.iterdir()):
            # The two files of an ncnn or OpenVINO model are one entry, that of the tensors.
            suffix = path.suffix.lower()
            if suffix in WEIGHTS_SUFFIXES and suffix not in (".param", ".xml") and path not in known and path.is_file():
                add(path.name, path, packaged=False)
    return tuple(found)


def omp_num_threads(text: str) -> int | None:
    """Parse `OMP_NUM_THREADS`, which may be a list by nesting level; None if it is unset or not a number.

    >>> [omp_num_threads(text) for text in ("4", "4,2", "", "many")]
    [4, 4, None, None]
    """
    match = re.match(r"\s*(\d+)\s*(?:,|$)", text)
    return int(match[1]) if match and int(match[1]) > 0 else None


# ----------------------------------------------------------------------------------------------------------- warnings


def list_warnings(found: Findings) -> list[str]:
    """List what a user should know or change, as sentences, most severe first."""
    said: list[str] = []
    if found.pictures_problem is not None:
        said.append(found.pictures_problem)
    if all(engine.problem is not None for engine in found.engines):
        said.append(f"No engine is usable, so nothing can be upscaled: {find_engine('ncnn').install}")
    if not found.weights:
        said.append(
            "No weights on this machine. They are downloaded on first use, or now by `tessera models pull NAME`."
        )
    said += _check_kernels(found)
    features = found.processor.features
    if features is not None and "AVX2" not in features and found.processor.architecture.lower() in ("x86_64", "amd64"):
        said.append("This processor has no AVX2: upscaling works, at a small part of the usual speed.")
    if found.nvidia_driver and not found.gpus.devices:
        said.append(
            f"NVIDIA's driver is here, and PyTorch uses no GPU: {found.gpus.problem or 'it does not say why.'} "
            "https://pytorch.org/get-started/locally says which build fits."
        )
    said += [
        f"The {engine.name} engine, a part of Tessera, is unavailable: large networks run slower. {engine.problem}"
        for engine in found.engines
        if engine.problem is not None and find_engine(engine.name).package is None
    ]
    return said + _check_threads(found) + _check_space(found)


def _check_kernels(found: Findings) -> list[str]:
    kernels = found.kernels
    if kernels is None:
        return []
    if kernels.used is None:
        if kernels.wheel is None:
            return []
        return [f"This installation has no kernels; the wheel of a release for {kernels.wheel} has them."]
    best = kernels.offered[-1]
    if kernels.used == best:
        return []
    remedy = (
        f"unset {kernels_library.SET_VARIABLE}."
        if kernels.chosen_by_environment
        else f"install a wheel of a release, or rebuild with a newer compiler: {kernels_library.BUILD}"
    )
    return [f"The kernels use {kernels.used}, and this processor has {best}, which is faster: {remedy}"]


def _check_threads(found: Findings) -> list[str]:
    usable, asked, started = found.cores.usable, found.threads.omp_num_threads, found.threads.pytorch
    cores = "1 core" if usable == 1 else f"{usable} cores"
    if asked is not None and asked > usable:
        return [
            f"OMP_NUM_THREADS is {asked} and {cores} can be used, so threads wait for each other: set it to {usable}."
        ]
    if asked is not None and asked < usable:
        return [f"OMP_NUM_THREADS is {asked}, so only {asked} of {cores} work: set it to {usable}, or not at all."]
    if started is not None and started > usable:
        return [f"PyTorch starts {started} threads and {cores} can be used: set OMP_NUM_THREADS={usable}."]
    return []


def _check_space(found: Findings) -> list[str]:
    said: list[str] = []
    if Path(os.devnull) in found.models_folder.path.parents:
        said.append(
            "No home folder, so no models can be stored, and cached results only in the temporary folder. Set HOME, or"
            " TESSERA_CACHE and TESSERA_MODELS."
        )
    memory = found.memory
    if memory.limit_bytes is not None and memory.total_bytes is not None and memory.limit_bytes < memory.total_bytes:
        said.append(
            f"Only {format_bytes(memory.limit_bytes)} of this machine's {format_bytes(memory.total_bytes)} of memory"
            " may be used (the limit of a control group); tiles are made to fit."
        )
    if memory.available_bytes is not None and memory.available_bytes < _LITTLE_MEMORY_BYTES:
        free = format_bytes(memory.available_bytes)
        said.append(f"Only {free} of memory is free: tiles will be small, and upscaling slow.")
    if memory.swap_used_bytes and memory.total_bytes and memory.swap_used_bytes > memory.total_bytes // 10:
        swapped = format_bytes(memory.swap_used_bytes)
        said.append(f"{swapped} of memory are in swap: other programs leave too little memory.")
    for what, folder in (("models", found.models_folder), ("cache", found.cache_folder)):
        if folder.free_bytes is not None and folder.free_bytes < _LITTLE_DISK_BYTES:
            said.append(f"Only {format_bytes(folder.free_bytes)} are free where the {what} folder is, {folder.path}.")
    return said


def as_dict(found: Findings) -> dict[str, Any]:
    """Everything as plain values, with `usable` cores, `can_upscale` and the warnings."""
    plain: dict[str, Any] = dataclasses.asdict(found)
    plain["cores"]["usable"] = found.cores.usable
    return {"can_upscale": found.can_upscale, **plain, "warnings": list_warnings(found), "executable": sys.executable}
