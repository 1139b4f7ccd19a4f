"""OpenVINO on the CPU: one compiled model for tiles of every size (`model`), run from any thread.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tessera.engines.engine import Engine, Tiles
from tessera.engines.memory import without_memory_errors, working_bytes_per_pixel
from tessera.engines.openvino.model import load_compiled_int8, load_compiled_model
from tessera.machine import cores
from tessera.weights.loaded_generator import LoadedGenerator

if TYPE_CHECKING:
    from tessera.zoo.int8_file import Int8File


class OpenVinoEngine:
    """Runs a generator with OpenVINO on the CPU (Intel, AMD, Arm).

    `precision` is "fp32" or "bf16"; with `int8`, the companion file of this generator, it is "int8". `threads` is the
    number of threads per run; None takes all usable cores.
    """

    name = "openvino"

    def __init__(
        self,
        generator: LoadedGenerator,
        precision: str = "fp32",
        *,
        threads: int | None = None,
        int8: Int8File | None = None,
    ) -> None:
        self.precision = precision if int8 is None else "int8"
        self._int8 = int8
        self.threads = cores().usable if threads is None else threads
        self._generator = generator
        self._compiled: Any = None
        self._exact: OpenVinoEngine | None = None
        self._lock = threading.Lock()
        self.bytes_per_pixel = working_bytes_per_pixel(generator.config, precision)

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped."""
        with without_memory_errors(tiles):
            # One request per run, so that threads do not overwrite each other's results.
            request = self._model().create_infer_request()
            result = request.infer([np.ascontiguousarray(tiles)], share_inputs=True, share_outputs=True)
            return result[0].copy()

    def exact(self) -> Engine:
        """The same generator in fp32, opened on first use."""
        if self.precision == "fp32":
            return self
        with self._lock:
            if self._exact is None:
                self._exact = OpenVinoEngine(self._generator, "fp32", threads=self.threads)
            return self._exact

    def _model(self) -> Any:
        """The model, compiled on first use."""
        with self._lock:
            if self._compiled is None:
                self._compiled = (
                    load_compiled_model(self._generator, self.precision, self.threads)
                    if self._int8 is None
                    else load_compiled_int8(self._int8, self.threads)
                )
            return self._compiled
