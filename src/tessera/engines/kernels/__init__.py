"""Tessera's own kernels on the CPU: RRDBNet and SRVGGNetCompact, in fp32 or bf16 (docs/explanation/kernels.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.engines.engine import Engine, EngineInfo, OpenOptions, Products

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator


def _open(generator: LoadedGenerator, options: OpenOptions) -> Engine:
    from tessera.engines.kernels.engine import KernelsEngine

    return KernelsEngine(generator, options.products, fast=options.fast, threads=options.threads)


def _choose_reduced_products(device: str) -> Products:
    from tessera.native.library import has_bf16_here

    return "bf16" if has_bf16_here() else "fp32"


def _find_problem() -> str | None:
    from tessera.native import library

    return library.problem()


KERNELS = EngineInfo(
    name="kernels",
    title="kernels",
    open=_open,
    package=None,
    module="tessera.native.library",
    reduced_products=_choose_reduced_products,
    has_fast_mode=True,
    usual_speed={"fp32": 3.9, "bf16": 4.5, "bf16 fast": 6.0},
    find_own_problem=_find_problem,
)
