"""The list of engines, and how one is found and opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from tessera.engines.engine import Engine, EngineInfo, OpenOptions, Precision, Products
from tessera.engines.kernels import KERNELS
from tessera.engines.ncnn import NCNN
from tessera.engines.onnxruntime import ONNXRUNTIME
from tessera.engines.openvino import OPENVINO
from tessera.engines.pytorch import PYTORCH
from tessera.errors import EngineError, UsageError
from tessera.wording import join_words

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator
    from tessera.zoo.int8_file import Int8File

EngineName = Literal["auto", "kernels", "ncnn", "openvino", "pytorch", "onnxruntime"]
"""The names below, for type checkers and shell completion; `auto` lets the planner choose."""

ENGINES: tuple[EngineInfo, ...] = (KERNELS, NCNN, OPENVINO, PYTORCH, ONNXRUNTIME)
"""Every engine, fastest first as measured: the planner tries them in this order."""

_DEVICE_TITLES = {
    "cpu": "the CPU",
    "cuda": "CUDA",
    "mps": "MPS",
    "vulkan": "Vulkan",
    "openvino": "Intel GPUs and NPUs by name",
}

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def find_engine(name: str) -> EngineInfo:
    """The declaration of an engine. Raises UsageError for an unknown name."""
    for info in ENGINES:
        if info.name == name:
            return info
    names = join_words(["auto", *(info.name for info in ENGINES)], "or")
    raise UsageError(f"expected {names}, found {name!r}.", field="engine")


def find_file_engine(generator: LoadedGenerator) -> EngineInfo | None:
    """The one engine that runs a model file such as ONNX; None for networks that Tessera builds itself."""
    return next((info for info in ENGINES if generator.dialect in info.file_formats), None)


def choose_products(engine: str, precision: Precision, device: str = "cpu") -> Products:
    """The type in which an engine multiplies on a device of this machine at a precision."""
    return "fp32" if precision == "exact" else find_engine(engine).reduced_products(device)


def check_engine(generator: LoadedGenerator, engine: str, device: str) -> EngineInfo:
    """The declaration of the engine that would run a generator, without importing its library.

    Raises UsageError for an unknown name, EngineError for a file or device that the engine does not support.
    """
    own = find_file_engine(generator)
    if own is not None and device.startswith("openvino:"):
        raise EngineError(f"{generator.name} is {own.file_formats[generator.dialect]}, which runs on the CPU here.")
    if own is not None and engine not in ("auto", own.name):
        called = own.file_formats[generator.dialect]
        raise EngineError(f"{generator.name} is {called}, which only {own.title} runs; leave `engine` at auto.")
    info = own or (find_default_engine(device) if engine == "auto" else find_engine(engine))
    if not any(each.runs_on(device) for each in ENGINES):
        known = "auto, cpu, vulkan, vulkan:1, cuda, cuda:1, mps or openvino:GPU"
        raise EngineError(f"{device!r} is not a device; use {known}.")
    if not info.runs_on(device):
        kinds = join_words([_DEVICE_TITLES.get(kind, kind) for kind in info.devices], "and")
        raise EngineError(f"The {info.title} engine runs on {kinds}, not on {device}.{_suggest_engines(device)}")
    return info


def find_default_engine(device: str) -> EngineInfo:
    """The engine that runs any network on a device without planning: PyTorch, the reference, or else ncnn.

    Nothing is imported: a run with a cached plan needs neither.
    """
    able = [info for info in (PYTORCH, NCNN, *ENGINES) if info.runs_networks and info.runs_on(device)]
    return next((info for info in able if info.find_version() is not None), able[0] if able else PYTORCH)


def _suggest_engines(device: str) -> str:
    able = [info.name for info in ENGINES if info.runs_on(device)]
    return f" Engines for {device}: {join_words(able, 'and')}." if able else ""


def open_engine(
    generator: LoadedGenerator,
    precision: Precision = "auto",
    *,
    engine: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    int8: Int8File | None = None,
) -> Engine:
    """Open an engine for a loaded generator; without a name PyTorch, or the engine of a model file.

    Args:
        generator: The network to run.
        precision: `exact` is fp32. `auto` and `fast` use bf16 where the device multiplies it in hardware, else fp32;
            `fast` also turns on the kernels' less accurate mode.
        engine: A name of ENGINES, or `auto`. `tessera.planning` chooses by measuring instead.
        device: "cpu", "vulkan", "vulkan:1", "cuda", "cuda:1", "mps".
        threads: CPU threads; None leaves the choice to the library.
        int8: The int8 companion of the generator, to run in its place.

    Raises:
        UsageError: Unknown engine or precision.
        EngineError: The engine cannot run this generator here.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"expected {join_words(PRECISIONS, 'or')}, found {precision!r}.", field="precision")
    info = check_engine(generator, engine, device)
    problem = info.find_problem()
    if problem is not None:
        raise EngineError(f"The {info.title} engine is unavailable. {problem} {info.install}".rstrip())
    products: Products = "int8" if int8 is not None else choose_products(info.name, precision, device)
    fast = info.has_fast_mode and precision == "fast"
    return info.open(generator, OpenOptions(products=products, fast=fast, device=device, threads=threads, int8=int8))
