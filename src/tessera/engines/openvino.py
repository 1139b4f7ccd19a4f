"""OpenVINO on the processor: one compiled model for tiles of every size, kept on the disk for the next process.

The family's networks are written as OpenVINO graphs directly; others go through OpenVINO's converter.
Height, width and number of the tiles stay open in the compiled model: on x86 it is as fast as one for a single size
(the best runs at 128x128 lie within 1 %), is compiled once instead of once for each size, and takes hardly more memory.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import hashlib
import importlib
import threading
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tessera.engines import Engine, working_bytes_per_pixel
from tessera.engines.compiled_cache import compiled_key, forget_compiled, keep_compiled, read_compiled
from tessera.engines.openvino_graph import GRAPH_VERSION, Arrays, write_graph
from tessera.engines.pytorch import without_memory_errors
from tessera.generators import ESRDnet, ESRGANPytorch, GeneratorRRDB, RRDBNet, SRVGGNetCompact
from tessera.machine import cores, processor
from tessera.openvino_file import openvino_core, processor_options
from tessera.version import __version__
from tessera.weights import LoadedGenerator

_WRITTEN_DIRECTLY = (RRDBNet, SRVGGNetCompact, ESRDnet, ESRGANPytorch, GeneratorRRDB)


class OpenVinoEngine:
    """Runs a generator with OpenVINO on the processor (Intel, AMD, Arm).

    `threads` is how many threads one run takes: None for as many as get something done here.
    """

    name = "openvino"

    def __init__(self, generator: LoadedGenerator, precision: str = "fp32", *, threads: int | None = None) -> None:
        self.precision = precision
        self.threads = cores().usable if threads is None else threads
        self._generator = generator
        self._compiled: Any = None
        self._exact: OpenVinoEngine | None = None
        self._lock = threading.Lock()
        self.bytes_per_pixel = working_bytes_per_pixel(generator.config, precision)

    def run(self, tiles: Tensor) -> Tensor:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped."""
        with without_memory_errors(tiles):
            # Each run has a request of its own, so that threads do not write into each other's results.
            request = self._model().create_infer_request()
            result = request.infer([tiles.contiguous().numpy()], share_inputs=True, share_outputs=True)
            return torch.from_numpy(result[0].copy())

    def exact(self) -> Engine:
        """The same generator in fp32, made on first use."""
        if self.precision == "fp32":
            return self
        with self._lock:
            if self._exact is None:
                self._exact = OpenVinoEngine(self._generator, "fp32", threads=self.threads)
            return self._exact

    def _model(self) -> Any:
        """The compiled model, made on first use."""
        with self._lock:
            if self._compiled is None:
                self._compiled = _compiled(self._generator, self.precision, self.threads)
            return self._compiled


def _compiled(generator: LoadedGenerator, precision: str, threads: int) -> Any:
    """The model as it was kept, or compiled now and kept."""
    options = processor_options(precision, threads)
    arrays = {name: _array(value) for name, value in generator.network.state_dict().items()}
    key = _key(generator, arrays, precision)
    kept = None if key is None else read_compiled(key)
    if key is not None and kept is not None:
        try:
            return openvino_core().import_model(_tensor(kept), "CPU", options)
        except RuntimeError:  # what OpenVINO raises when it cannot make sense of it
            forget_compiled(key)
    config = generator.config
    shape = (-1, config.in_channels, -1, -1)
    direct = type(generator.network) in _WRITTEN_DIRECTLY
    model = write_graph(config, arrays, shape) if direct else _converted(generator, shape)
    compiled = openvino_core().compile_model(model, "CPU", options)
    if key is not None:
        keep_compiled(key, compiled.export_model().getvalue())
    return compiled


def _key(generator: LoadedGenerator, arrays: Arrays, precision: str) -> str | None:
    """The name to keep the compiled model under; None for networks that somebody else wrote.

    What those compute does not follow from their configuration and their weights.
    """
    network = type(generator.network)
    if not network.__module__.startswith("tessera.generators."):
        return None
    weights = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        weights.update(f"{name} {array.dtype} {array.shape}\n".encode())
        weights.update(array.tobytes())
    openvino: Any = importlib.import_module("openvino")
    here = processor()
    return compiled_key(
        {
            "network": network.__qualname__,
            "config": generator.config.model_dump_json(),
            "weights": weights.hexdigest(),
            "precision": precision,
            "graph": str(GRAPH_VERSION),
            "tessera": __version__,
            "openvino": openvino.get_version(),
            "processor": f"{here.architecture} {here.name} {here.features}",
        }
    )


def _array(value: Tensor) -> Any:
    return np.ascontiguousarray(value.detach().cpu().numpy())


def _tensor(content: memoryview) -> Any:
    openvino: Any = importlib.import_module("openvino")
    return openvino.Tensor(np.frombuffer(content, np.uint8))


def _converted(generator: LoadedGenerator, shape: tuple[int, ...]) -> Any:
    openvino: Any = importlib.import_module("openvino")
    config = generator.config
    side = 8 * config.multiple
    example = torch.zeros(1, config.in_channels, side, side)
    with torch.no_grad(), warnings.catch_warnings():
        # OpenVINO's converter traces with torch.jit, which PyTorch has deprecated; torch.export takes far longer.
        warnings.simplefilter("ignore", DeprecationWarning)
        model = openvino.convert_model(generator.network, example_input=example)
    model.reshape(list(shape))
    return model
