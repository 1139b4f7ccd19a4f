"""OpenVINO on CPUs (Intel, AMD, Arm), and on Intel's GPUs and NPUs by name: networks, own files, int8 files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.engines.engine import Engine, EngineInfo, OpenOptions, Products
from tessera.engines.hardware import has_bf16
from tessera.libraries import find_install

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator


def _open(generator: LoadedGenerator, options: OpenOptions) -> Engine:
    if options.device != "cpu":
        from tessera.engines.openvino.device_engine import OpenVinoDeviceEngine

        return OpenVinoDeviceEngine(generator, options.products, device=options.device)
    if generator.dialect == "openvino":
        from tessera.engines.openvino.file_engine import OpenVinoFileEngine

        return OpenVinoFileEngine(generator, options.products, threads=options.threads)
    from tessera.engines.openvino.engine import OpenVinoEngine

    if options.int8 is not None:
        return OpenVinoEngine(generator, threads=options.threads, int8=options.int8)
    return OpenVinoEngine(generator, options.products, threads=options.threads)


def _choose_reduced_products(device: str) -> Products:
    if device != "cpu":
        return "fp16"
    return "bf16" if has_bf16(device) else "fp32"


OPENVINO = EngineInfo(
    name="openvino",
    title="OpenVINO",
    open=_open,
    package="openvino",
    module="openvino",
    install=find_install("openvino"),
    devices=("cpu", "openvino"),
    reduced_products=_choose_reduced_products,
    runs_int8=True,
    file_formats={"openvino": "an OpenVINO file"},
    import_seconds=0.25,
    usual_speed={"fp32": 1.5, "bf16": 3.1, "int8": 5.5},
)
