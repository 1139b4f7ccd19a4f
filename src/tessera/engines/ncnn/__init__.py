"""ncnn: fp32 on the CPU, and fp16 or fp32 on any GPU through Vulkan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.engines.engine import Engine, EngineInfo, OpenOptions, Products
from tessera.libraries import find_install

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator


def _open(generator: LoadedGenerator, options: OpenOptions) -> Engine:
    if options.device == "cpu":
        from tessera.engines.ncnn.engine import NcnnEngine

        return NcnnEngine(generator, threads=options.threads)
    from tessera.engines.ncnn.vulkan_engine import VulkanEngine

    return VulkanEngine(generator, options.products, fast=options.fast, device=options.device)


def _choose_reduced_products(device: str) -> Products:
    """fp16 on Vulkan devices that store it."""
    if device == "cpu":
        return "fp32"
    from tessera.engines.ncnn.vulkan import find_device

    return "fp16" if find_device(device).fp16_storage else "fp32"


NCNN = EngineInfo(
    name="ncnn",
    title="ncnn",
    open=_open,
    package="ncnn",
    module="ncnn",
    install=find_install("ncnn"),
    devices=("cpu", "vulkan"),
    reduced_products=_choose_reduced_products,
    has_fast_mode=True,
    tries_fast_mode_in_auto=True,
    usual_speed={"fp32": 2.2},
)
