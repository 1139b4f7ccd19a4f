"""Protocol of an engine, and the declaration that the rest of Tessera derives its lists from.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from tessera.libraries import import_library
from tessera.memory_errors import is_memory_error
from tessera.version import __version__

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tessera.weights.loaded_generator import LoadedGenerator
    from tessera.zoo.int8_file import Int8File

    Tiles = npt.NDArray[np.float32]
else:  # help and shell completion read the declarations, and importing NumPy takes a tenth of a second
    Tiles = object

Precision = Literal["exact", "auto", "fast"]
Products = Literal["fp32", "bf16", "fp16", "int8"]


class Engine(Protocol):
    """Runs one generator; safe to call from several threads."""

    name: str
    """Name of its declaration."""
    precision: str
    """"fp32", "bf16", "fp16" or "int8": the type of the products."""
    bytes_per_pixel: int
    """Working memory in bytes per input pixel of a tile, measured, rounded up."""

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped; the caller may modify it.

        Raises OutOfMemoryError when the batch does not fit.
        """
        ...

    def exact(self) -> Engine:
        """The same generator in fp32 (itself if it already is)."""
        ...


@runtime_checkable
class Batching(Protocol):
    """An engine that is faster with several tiles at a time."""

    def tiles_at_once(self, pixels: int) -> int:
        """Best batch size for tiles of this many input pixels, within the free memory."""
        ...


@runtime_checkable
class OnDevice(Protocol):
    """An engine on a device with its own memory, which can be lost."""

    device: str
    """Such as "vulkan:0"."""

    def free_memory_bytes(self) -> int:
        """Memory of the device that tiles may use."""
        ...

    def reopen(self) -> None:
        """Start again after the device was lost. Raises EngineError when it is gone."""
        ...


@runtime_checkable
class Recoverable(Protocol):
    """An engine that can be tried again after its device failed."""

    notes: tuple[str, ...]
    """What happened, as sentences."""

    def free_memory_bytes(self) -> int | None:
        """Memory of the device that tiles may use; None when the CPU runs."""
        ...

    def recover(self, error: BaseException, *, is_smallest: bool) -> bool:
        """Get ready for another attempt after an error with the smallest or larger tiles -> whether to try again."""
        ...


@dataclass(frozen=True, kw_only=True)
class OpenOptions:
    """How to open an engine."""

    products: Products = "fp32"
    fast: bool = False
    """Use the engine's less accurate mode that only the precision `fast` allows."""
    device: str = "cpu"
    threads: int | None = None
    """CPU threads; None leaves the choice to the library."""
    int8: Int8File | None = None
    """The int8 companion of the generator, for engines that run it."""


def _always_fp32(device: str) -> Products:
    return "fp32"


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """Declaration of an engine. The option, the planner, `doctor`, `bench` and the messages are derived from it."""

    name: str
    title: str
    """Name in sentences."""
    open: Callable[[LoadedGenerator, OpenOptions], Engine]
    """Opens the engine; raises EngineError when it cannot run this generator here."""
    package: str | None
    """Python package that it needs; None when it is part of Tessera."""
    module: str
    """Module whose import tells whether the engine is usable."""
    install: str = ""
    """Command that installs the package."""
    devices: tuple[str, ...] = ("cpu",)
    """Kinds of devices: "cpu", "cuda", "mps", "vulkan" ..."""
    reduced_products: Callable[[str], Products] = _always_fp32
    """Fastest products on a device that the precisions `auto` and `fast` allow."""
    has_fast_mode: bool = False
    """Whether it has a faster and less accurate mode, for the precision `fast`."""
    tries_fast_mode_in_auto: bool = False
    """Whether the precision `auto` tries that mode, too; the check decides."""
    runs_int8: bool = False
    """Whether it runs int8 companions."""
    runs_networks: bool = True
    """Whether it runs networks built by Tessera, not only model files in its own format."""
    file_formats: Mapping[str, str] = field(default_factory=dict[str, str])
    """Model files that only this engine runs: dialect -> its name in sentences."""
    import_seconds: float = 0.0
    """Rough import time of the library, for planning where this process has imported it already."""
    usual_speed: Mapping[str, float] = field(default_factory=dict[str, float])
    """Speed on CPUs relative to plain PyTorch in fp32, as measured (docs/explanation/performance.md), by the type of
    the products ("bf16"; "bf16 fast" is the less accurate mode). The planner does not measure what cannot win."""
    find_own_problem: Callable[[], str | None] | None = None
    """Replaces the import as the test of whether the engine is usable."""

    def runs_on(self, device: str) -> bool:
        """Whether it supports a device such as "cpu" or "cuda:1"."""
        return device.partition(":")[0] in self.devices

    def find_version(self) -> str | None:
        """Version of the installed package, without importing it; None when it is missing."""
        return __version__ if self.package is None else find_installed_version(self.package)

    def find_problem(self) -> str | None:
        """Why the engine cannot be used here, as a sentence; None when it can. Imports its library."""
        return import_problem(self.module) if self.find_own_problem is None else self.find_own_problem()


def find_installed_version(package: str) -> str | None:
    """The version of an installed package, without importing it; None when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def import_problem(package: str, load: Callable[[str], object] = import_library) -> str | None:
    """Why a package cannot be imported, as a sentence; None when it can. Raises MemoryError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            return "Not installed."
        return f"Installed, but {error.name}, which it needs, is missing."
    except Exception as error:  # a damaged binary may raise anything
        if is_memory_error(error):
            raise MemoryError(str(error)) from error
        return f"Installed, but the import fails: {extract_sentence(error)}"
    return None


def extract_sentence(error: BaseException) -> str:
    """The first line of an error's text as a sentence of at most 200 characters."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
    text = text if len(text) <= 200 else f"{text[:199]}…"
    return text if text.endswith((".", "…", "!", "?")) else f"{text}."
