"""A generator as a model compiled by OpenVINO: loaded from the cache, or compiled now.

Tessera's networks are written as OpenVINO graphs directly; others go through OpenVINO's converter. Height, width and
number of tiles stay dynamic in the compiled model: on x86 it is as fast as one for a single size (the best runs at
128x128 are within 1 %), is compiled once instead of once per size, and takes hardly more memory.

A cached model needs neither the network nor PyTorch: an unread generator stays unread.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tessera.engines.compiled_cache import build_compiled_key, read_compiled, remove_compiled, write_compiled
from tessera.engines.hardware import has_bf16
from tessera.engines.openvino.graph import GRAPH_VERSION, write_graph
from tessera.libraries import import_library
from tessera.machine import processor
from tessera.version import __version__
from tessera.weights.openvino_core import openvino_core, processor_options, read_model

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator
    from tessera.zoo.int8_file import Int8File


def load_compiled_model(generator: LoadedGenerator, precision: str, threads: int) -> Any:
    """The compiled model of a generator ("fp32" or "bf16") for this many threads, from the cache if possible."""
    return _load_or_compile(
        _key(generator, precision), processor_options(precision, threads), lambda: _model(generator)
    )


def load_compiled_int8(file: Int8File, threads: int) -> Any:
    """The compiled model of an int8 file for this many threads, from the cache if possible."""
    from tessera.zoo.int8_file import choose_float_precision

    products = choose_float_precision(file.is_all_int8, "bf16" if has_bf16("cpu") else "fp32")
    key = build_compiled_key({"file": file.sha256, "precision": products, **_describe_surroundings()})
    return _load_or_compile(key, processor_options(products, threads), lambda: read_model(file.path))


def load_device_model(generator: LoadedGenerator, precision: str, place: str, shape: tuple[int, ...]) -> Any:
    """The model of a generator ("fp32" or "fp16") for one shape on OpenVINO's "GPU" or "NPU", cached if possible."""
    key = _key(generator, precision)
    if key is not None:
        name = str(openvino_core().get_property(place, "FULL_DEVICE_NAME"))
        key = build_compiled_key({"model": key, "device": f"{place} {name}", "shape": str(shape)})
    options = {
        "INFERENCE_PRECISION_HINT": "f16" if precision == "fp16" else "f32",
        "PERFORMANCE_HINT": "THROUGHPUT",
    }
    return _load_or_compile(key, options, lambda: _model(generator, shape), place)


def _load_or_compile(key: str | None, options: Mapping[str, Any], model: Callable[[], Any], place: str = "CPU") -> Any:
    kept = None if key is None else read_compiled(key)
    if key is not None and kept is not None:
        try:
            return openvino_core().import_model(_tensor(kept), place, options)
        except RuntimeError:  # OpenVINO cannot read it
            remove_compiled(key)
    compiled = openvino_core().compile_model(model(), place, options)
    if key is not None:
        with contextlib.suppress(RuntimeError):  # not every device can export
            write_compiled(key, compiled.export_model().getvalue())
    return compiled


def _key(generator: LoadedGenerator, precision: str) -> str | None:
    """The cache key; None for networks from outside Tessera, whose configuration does not determine their output."""
    if not generator.is_own:
        return None
    return build_compiled_key(
        {
            "config": generator.config.model_dump_json(),
            "weights": generator.state_sha256,
            "precision": precision,
            "graph": str(GRAPH_VERSION),
            **_describe_surroundings(),
        }
    )


def _describe_surroundings() -> dict[str, str]:
    """Facts that every compiled model depends on."""
    openvino = import_library("openvino")
    here = processor()
    return {
        "tessera": __version__,
        "openvino": openvino.get_version(),
        "processor": f"{here.architecture} {here.name} {here.features}",
    }


def _model(generator: LoadedGenerator, shape: tuple[int, ...] | None = None) -> Any:
    """The network as an OpenVINO model, before it is compiled; without a shape for any."""
    shape = shape or (-1, generator.config.in_channels, -1, -1)
    drawn = write_graph(generator.config, generator.arrays, shape) if generator.is_own else None
    return _convert_model(generator, shape) if drawn is None else drawn


def _tensor(content: memoryview) -> Any:
    openvino = import_library("openvino")
    return openvino.Tensor(np.frombuffer(content, np.uint8))


def _convert_model(generator: LoadedGenerator, shape: tuple[int, ...]) -> Any:
    import torch

    openvino = import_library("openvino")
    config = generator.config
    side = 8 * config.multiple
    example = torch.zeros(1, config.in_channels, side, side)
    with torch.no_grad(), warnings.catch_warnings():
        # OpenVINO's converter traces with torch.jit, which PyTorch has deprecated; torch.export takes far longer.
        warnings.simplefilter("ignore", DeprecationWarning)
        model = openvino.convert_model(generator.network, example_input=example)
    model.reshape(list(shape))
    return model
