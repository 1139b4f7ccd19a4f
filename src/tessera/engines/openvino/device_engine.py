"""OpenVINO on Intel's GPUs and NPUs, chosen by name: "openvino:GPU", "openvino:GPU.1", "openvino:NPU".

These devices compile a model for one size of tiles; the sizes of a picture are few.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tessera.engines.engine import Engine, Tiles
from tessera.engines.memory import without_memory_errors, working_bytes_per_pixel
from tessera.engines.openvino.model import load_device_model
from tessera.errors import DeviceLostError, EngineError
from tessera.memory_errors import is_memory_error
from tessera.weights.openvino_core import openvino_core

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator

_MOST_MODELS = 4
_TOGETHER = 2
"""Tiles under way at a time: one is computed while another is uploaded or downloaded."""
_UNKNOWN_MEMORY_BYTES = 2 * 2**30
_SHARE_OF_MEMORY = 0.5
"""An integrated GPU shares its memory with everything else."""


class OpenVinoDeviceEngine:
    """Runs a generator with OpenVINO on a GPU or NPU.

    `precision` is "fp16" or, on GPUs, "fp32"; `device` is "openvino:GPU", "openvino:GPU.1" or "openvino:NPU".
    Raises EngineError when OpenVINO does not find the device, and for fp32 on an NPU.
    """

    name = "openvino"

    def __init__(self, generator: LoadedGenerator, precision: str = "fp32", *, device: str) -> None:
        _, _, place = device.partition(":")
        available = [str(each) for each in openvino_core().available_devices]
        if place not in available:
            found = ", ".join(f"openvino:{each}" for each in available if each != "CPU") or "none"
            raise EngineError(f"OpenVINO finds no device {place or '(not named)'}; usable: {found}.")
        if place.startswith("NPU") and precision == "fp32":
            raise EngineError(f"{device} multiplies in fp16 only; use the precision auto, or another device.")
        self.device, self.precision, self.threads = device, precision, None
        self._place = place
        self._generator = generator
        self._models: dict[tuple[int, ...], Any] = {}
        self._exact: OpenVinoDeviceEngine | None = None
        self._lock = threading.Lock()
        self.bytes_per_pixel = working_bytes_per_pixel(generator.config, precision)

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped.

        Raises OutOfMemoryError, and DeviceLostError when the device failed.
        """
        with without_memory_errors(tiles):
            try:
                return np.concatenate(list(self._run_together(tiles)))
            except RuntimeError as error:
                if is_memory_error(error):
                    raise
                raise DeviceLostError(f"{self.device} failed on tiles {tuple(tiles.shape)}.") from error

    def tiles_at_once(self, pixels: int) -> int:
        """Two tiles, so that copying and computing overlap."""
        return _TOGETHER if 2 * pixels * self.bytes_per_pixel < self.free_memory_bytes() else 1

    def free_memory_bytes(self) -> int:
        """Memory of the device that tiles may use; OpenVINO reports the total of a GPU only."""
        total = _UNKNOWN_MEMORY_BYTES
        with contextlib.suppress(RuntimeError):
            total = int(openvino_core().get_property(self._place, "GPU_DEVICE_TOTAL_MEM_SIZE"))
        return int(total * _SHARE_OF_MEMORY)

    def exact(self) -> Engine:
        """The same generator in fp32, opened on first use. Raises EngineError on an NPU."""
        if self.precision == "fp32":
            return self
        with self._lock:
            if self._exact is None:
                self._exact = OpenVinoDeviceEngine(self._generator, device=self.device)
            return self._exact

    def reopen(self) -> None:
        """Compile again after the device failed. Raises EngineError when it is gone."""
        if self._place not in [str(each) for each in openvino_core().available_devices]:
            raise EngineError(f"{self.device} is gone.")
        with self._lock:
            self._models.clear()

    def _run_together(self, tiles: Tiles) -> list[Tiles]:
        model = self._load(tiles.shape)
        requests: list[Any] = []
        for tile in np.ascontiguousarray(tiles):
            request = model.create_infer_request()
            request.start_async([tile[None]])
            requests.append(request)
        results: list[Tiles] = []
        for request in requests:
            request.wait()
            results.append(np.array(request.get_output_tensor(0).data, np.float32))
        return results

    def _load(self, shape: tuple[int, ...]) -> Any:
        """The model for tiles of this size, compiled on first use."""
        one = (1, *shape[1:])
        with self._lock:
            if one not in self._models:
                while len(self._models) >= _MOST_MODELS:
                    del self._models[next(iter(self._models))]
                self._models[one] = load_device_model(self._generator, self.precision, self._place, one)
            return self._models[one]
