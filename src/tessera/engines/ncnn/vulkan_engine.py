"""ncnn on a Vulkan device: AMD, Intel, NVIDIA, Apple (through MoltenVK) and Qualcomm run the same code.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tessera.engines.engine import Tiles
from tessera.engines.ncnn import vulkan
from tessera.engines.ncnn.engine import estimate_bytes_per_pixel
from tessera.engines.ncnn.loading import load_net
from tessera.engines.ncnn.net import Net, NetOptions
from tessera.errors import EngineError
from tessera.libraries import import_library

if TYPE_CHECKING:
    from tessera.engines.engine import Engine
    from tessera.weights.loaded_generator import LoadedGenerator

_TOGETHER = 2
"""Tiles under way at a time: one is computed while another is uploaded or downloaded."""
_SHARE_OF_MEMORY = 0.8


class VulkanEngine:
    """Runs a generator with ncnn on a Vulkan device.

    `precision` is "fp32", or "fp16" for maps and weights in fp16 that are summed in fp32; with `fast`, products and
    sums are in fp16 as well. `device` is "vulkan" (the best one) or "vulkan:1".
    Raises EngineError for unknown networks, and when the device or its fp16 cannot be used.
    """

    name = "ncnn"

    def __init__(
        self, generator: LoadedGenerator, precision: str = "fp32", *, fast: bool = False, device: str = "vulkan"
    ) -> None:
        chosen = vulkan.find_device(device)
        half = precision == "fp16"
        if (half and not chosen.fp16_storage) or (half and fast and not chosen.fp16_arithmetic):
            raise EngineError(f"{chosen.name} has no fp16 {'storage' if not chosen.fp16_storage else 'arithmetic'}.")
        self.precision = precision
        self.threads = None
        self.device = f"vulkan:{chosen.index}"
        self._index = chosen.index
        self._generator = generator
        self._options = NetOptions(vulkan_device=chosen.index, fp16_storage=half, fp16_arithmetic=half and fast)
        self._lock = threading.Lock()
        self._exact: VulkanEngine | None = None
        self._net: Net | None = None
        self._workers = ThreadPoolExecutor(_TOGETHER, thread_name_prefix=self.device)
        self.bytes_per_pixel = estimate_bytes_per_pixel(generator.config, 2 if half else 4)
        self._load()

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped.

        Raises OutOfMemoryError, and DeviceLostError when the driver reset the device.
        """
        config = self._generator.config
        each = map if len(tiles) == 1 else self._workers.map
        return self._load().run_batch(tiles, config.scale, config.out_channels, each=each)

    def tiles_at_once(self, pixels: int) -> int:
        """Two tiles, so that copying and computing overlap, where the device has the memory for both."""
        return _TOGETHER if 2 * pixels * self.bytes_per_pixel < self.free_memory_bytes() else 1

    def free_memory_bytes(self) -> int:
        """Memory of the device for tiles, as the driver reports it now."""
        budget = import_library("ncnn").get_gpu_device(self._index).get_heap_budget()  # in MiB
        return int(budget * 2**20 * _SHARE_OF_MEMORY)

    def exact(self) -> Engine:
        """The same generator in fp32, opened on first use."""
        if self.precision == "fp32":
            return self
        with self._lock:
            if self._exact is None:
                self._exact = VulkanEngine(self._generator, device=self.device)
            return self._exact

    def reopen(self) -> None:
        """Start again on a device that was lost. Raises EngineError when it is gone."""
        vulkan.stop_instance()
        self._load()

    def close(self) -> None:
        """Release the net; the next run loads it again."""
        with self._lock:
            if self._net is not None:
                self._net.net.clear()
                self._net = None

    def _load(self) -> Net:
        vulkan.start_instance(self)  # before the lock: stopping the instance locks in that order
        with self._lock:
            if self._net is None:
                if import_library("ncnn").get_gpu_count() <= self._index:
                    raise EngineError(f"{self.device} is gone.")
                self._net = load_net(self._generator, self._options)
            return self._net
