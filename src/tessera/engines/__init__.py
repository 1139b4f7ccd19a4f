"""What runs a generator: each engine takes batches of tiles and gives batches of enlarged tiles.

An engine is exact (fp32) or reduced (bf16). `open_engine` picks one for a precision; `Engine.exact` gives the
fp32 engine that a doubtful tile is run on again. Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tessera.errors import EngineError, UsageError
from tessera.machine import processor

if TYPE_CHECKING:
    from tessera.generators import GeneratorConfig
    from tessera.weights.loaded_generator import LoadedGenerator

Tiles = npt.NDArray[np.float32]
Precision = Literal["exact", "auto", "fast"]
EngineName = Literal["auto", "pytorch", "openvino", "ncnn", "onnxruntime", "kernels"]

RUN_BY: dict[str, tuple[str, EngineName]] = {
    "onnx": ("an ONNX file, for ONNX Runtime", "onnxruntime"),
    "openvino": ("a file of OpenVINO, for OpenVINO", "openvino"),
}
"""Kinds of files that stay what they are: what each is called, and the one engine that runs it."""


class Engine(Protocol):
    """Runs one generator; safe to call from several threads."""

    name: str
    """The library that does the work."""
    precision: str
    """"fp32", "bf16" or "int8": the type of the products."""
    bytes_per_pixel: int
    """Working memory per input pixel of a tile, measured, rounded up."""

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped, the caller's to change.

        Raises OutOfMemoryError when the batch does not fit.
        """
        ...

    def exact(self) -> Engine:
        """The same generator in fp32 (itself when it is)."""
        ...


@runtime_checkable
class Batching(Protocol):
    """An engine that is faster with several tiles at a time."""

    def tiles_at_once(self, pixels: int) -> int:
        """How many tiles of so many input pixels it wants together, as far as its memory goes."""
        ...


def open_engine(
    generator: LoadedGenerator,
    precision: Precision = "auto",
    *,
    engine: EngineName = "auto",
    device: str = "cpu",
    threads: int | None = None,
) -> Engine:
    """Choose and open an engine for a loaded generator.

    `exact` is fp32. `auto` and `fast` use bf16 where the device multiplies it in hardware, else fp32; ncnn always runs
    in fp32, and Tessera's own kernels have for `fast` a way that is quicker and less accurate. `device` is "cpu",
    "cuda", "cuda:1", "mps"; `threads` counts on the processor, None is what the library takes. Without a name the
    engine is PyTorch: `tessera.planning` chooses by measuring. Raises EngineError when the engine cannot run here.
    """
    if precision not in ("exact", "auto", "fast"):
        raise UsageError(f"--precision is exact, auto or fast, not {precision!r}.")
    if generator.dialect in RUN_BY:
        called, own = RUN_BY[generator.dialect]
        if engine not in ("auto", own):
            raise EngineError(f"{generator.name} is {called}; leave out --engine {engine}.")
        engine = own
    if engine == "onnxruntime":
        from tessera.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(generator, device=device, threads=threads)
    if engine == "auto":
        engine = "pytorch"
    if engine in ("openvino", "ncnn", "kernels") and device != "cpu":
        called = {"openvino": "OpenVINO"}.get(engine, engine)
        raise EngineError(f"The {called} engine runs on the CPU, not on {device}; use --engine pytorch there.")
    if engine == "openvino":
        products = type_of_products(engine, precision, device)
        if generator.dialect == "openvino":
            from tessera.engines.openvino_file import OpenVinoFileEngine

            return OpenVinoFileEngine(generator, products, threads=threads)
        from tessera.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(generator, products, threads=threads)
    if engine == "ncnn":
        from tessera.engines.ncnn import NcnnEngine

        return NcnnEngine(generator, threads=threads)
    if engine == "kernels":
        from tessera.engines.kernels import KernelsEngine

        products = type_of_products(engine, precision, device)
        return KernelsEngine(generator, products, fast=precision == "fast", threads=threads)
    if engine == "pytorch":
        from tessera.engines.pytorch import TorchEngine

        return TorchEngine(generator, type_of_products(engine, precision, device), device=device, threads=threads)
    raise UsageError(f"--engine is auto, pytorch, openvino, ncnn, onnxruntime or kernels, not {engine!r}.")


def type_of_products(engine: EngineName, precision: Precision, device: str = "cpu") -> Literal["fp32", "bf16"]:
    """What an engine multiplies in on a device of this machine, at the precision asked for."""
    if precision == "exact" or engine in ("ncnn", "onnxruntime"):
        return "fp32"
    if engine == "kernels":
        from tessera.native.library import has_bf16_here

        return "bf16" if has_bf16_here() else "fp32"
    return "bf16" if has_bf16(device) else "fp32"


@functools.cache
def has_int8() -> bool:
    """Whether this processor adds products of 8 bits in 32: faster than floating point, and without overflow."""
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


def working_bytes_per_pixel(config: GeneratorConfig, precision: str) -> int:
    """Memory that a network needs per input pixel of a tile, roughly and rather too much.

    Compact networks keep their features at the input's size; the others enlarge them first and hold about three maps of
    the output's size (measured: 14 KB a pixel for RRDBNet x4 in fp32, 0.5 KB for SRVGG).
    """
    features = int(getattr(config, "features", 64))
    value = 4 if precision == "fp32" else 2
    pictures = 16 * config.out_channels * config.scale**2
    if config.network == "srvggnetcompact":
        return features * value * 4 + pictures
    return features * value * (3 * config.scale**2 + 8) + pictures
