"""PyTorch: the reference in fp32, and the engine for CUDA and Apple GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.engines.engine import Engine, EngineInfo, OpenOptions, Products
from tessera.engines.hardware import has_bf16
from tessera.libraries import find_install

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator


def _open(generator: LoadedGenerator, options: OpenOptions) -> Engine:
    if options.device != "cpu":
        from tessera.engines.pytorch.gpu_engine import TorchGpuEngine

        return TorchGpuEngine(generator, options.products, device=options.device)
    from tessera.engines.pytorch.engine import TorchEngine

    return TorchEngine(generator, options.products, threads=options.threads)


def _choose_reduced_products(device: str) -> Products:
    """fp16 on every GPU: bf16 is less accurate and no faster."""
    if device != "cpu":
        return "fp16"
    return "bf16" if has_bf16(device) else "fp32"


PYTORCH = EngineInfo(
    name="pytorch",
    title="PyTorch",
    open=_open,
    package="torch",
    module="torch",
    install=find_install("torch"),
    devices=("cpu", "cuda", "mps"),
    reduced_products=_choose_reduced_products,
    import_seconds=1.5,
    usual_speed={"fp32": 1.0, "bf16": 2.3},
)
