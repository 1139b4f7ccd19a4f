"""OpenVINO on the processor: the generator converted in this process, one compiled model for each tile size.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import functools
import threading
import warnings
from typing import Any

import torch
from torch import Tensor

from tessera.engines import Engine, working_bytes_per_pixel
from tessera.engines.pytorch import without_memory_errors
from tessera.weights import LoadedGenerator

_COMPILED_AT_ONCE = 3


@functools.cache
def _core() -> Any:
    """OpenVINO's one core of this process, which is never given back.

    Loading its CPU part gives the calling thread a stack of its own for signals, and unloading takes that memory away,
    whichever thread does it. If it is another, the next signal (Ctrl-C, the end of a child) finds no stack, and the
    system ends the process with a segmentation fault.
    """
    import openvino

    return openvino.Core()


class OpenVinoEngine:
    """Runs a generator with OpenVINO on the processor (Intel, AMD, Arm)."""

    name = "openvino"

    def __init__(self, generator: LoadedGenerator, precision: str = "fp32") -> None:
        self.precision = precision
        self._generator = generator
        self._model: Any = None
        self._compiled: dict[tuple[int, ...], Any] = {}
        self._exact: OpenVinoEngine | None = None
        self._lock = threading.Lock()
        self.bytes_per_pixel = working_bytes_per_pixel(generator.config, precision)

    def run(self, tiles: Tensor) -> Tensor:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped."""
        with without_memory_errors(tiles):
            request = self._for_shape(tuple(tiles.shape)).create_infer_request()
            result = request.infer([tiles.contiguous().numpy()], share_inputs=True)
            return torch.from_numpy(result[0].copy())

    def exact(self) -> Engine:
        """The same generator in fp32, made on first use."""
        if self.precision == "fp32":
            return self
        with self._lock:
            if self._exact is None:
                self._exact = OpenVinoEngine(self._generator, "fp32")
            return self._exact

    def _for_shape(self, shape: tuple[int, ...]) -> Any:
        """The model compiled for one shape: static shapes are faster, and a picture has one or two of them."""
        with self._lock:
            if shape not in self._compiled:
                if self._model is None:
                    self._model = self._converted()
                model = self._model.clone()
                model.reshape(list(shape))
                while len(self._compiled) >= _COMPILED_AT_ONCE:
                    self._compiled.pop(next(iter(self._compiled)))
                hint = "bf16" if self.precision == "bf16" else "f32"
                self._compiled[shape] = _core().compile_model(
                    model, "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
                )
            return self._compiled[shape]

    def _converted(self) -> Any:
        import openvino

        config = self._generator.config
        side = 8 * config.multiple
        example = torch.zeros(1, config.in_channels, side, side)
        with torch.no_grad(), warnings.catch_warnings():
            # OpenVINO's converter traces with torch.jit, which PyTorch has deprecated; torch.export takes far longer.
            warnings.simplefilter("ignore", DeprecationWarning)
            return openvino.convert_model(self._generator.network, example_input=example)
