"""PyTorch: the reference in fp32, and reduced precision in channels-last where the device has it.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import contextlib
import copy
import threading

import torch

from tessera.engines.engine import Engine, Tiles
from tessera.engines.memory import without_memory_errors, working_bytes_per_pixel
from tessera.engines.pytorch.lanes import Network, lane_for, run_in_parts
from tessera.engines.pytorch.replayed import Replayed, record_on_cuda
from tessera.errors import EngineError
from tessera.generators import find_generator
from tessera.weights.loaded_generator import LoadedGenerator

_COMPUTED_TOGETHER = 4
"""Tiles of a batch that a GPU computes together, while others are copied."""
_SHARE_OF_MEMORY = 0.4
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchEngine:
    """Runs a generator with PyTorch on the CPU, a CUDA device or Apple's MPS.

    `threads`, if given, is set for the whole process, the only way that PyTorch has. None leaves it unchanged.
    """

    name = "pytorch"

    def __init__(
        self,
        generator: LoadedGenerator,
        precision: str = "fp32",
        *,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()
        self.precision = precision
        self._generator = generator
        self._device = _find_device(device)
        self._dtype = _DTYPES[precision]
        # The loaded network stays unchanged: it is the reference, and other callers may use it.
        network: torch.nn.Module = copy.deepcopy(generator.network).to(device=self._device, dtype=self._dtype)
        torch.nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
        known = find_generator(generator.config)
        if precision == "bf16" and known is not None and generator.config.is_config_of(network):
            network = known.wrap_bf16(network)
        self._network: Network = network
        if self._device.type == "cuda":
            self._network = Replayed(self._network, record_on_cuda)
        self._exact: TorchEngine | None = None
        self._lock = threading.Lock()
        self.bytes_per_pixel = working_bytes_per_pixel(generator.config, precision)

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped."""
        with torch.inference_mode(), without_memory_errors(tiles), self._disable_tf32():
            return run_in_parts(
                lane_for(self._network, self._device, self._dtype), tiles, self._choose_batch(tiles[0, 0].size)
            )

    def tiles_at_once(self, pixels: int) -> int:
        """Two parts of a batch on a GPU, so that one is copied while the other is computed; one tile on the CPU."""
        return 1 if self._device.type == "cpu" else 2 * self._choose_batch(pixels)

    def _choose_batch(self, pixels: int) -> int:
        """Tiles of this many pixels to compute together, within the free memory of the device."""
        if self._device.type != "cuda":
            return _COMPUTED_TOGETHER
        free, _ = torch.cuda.mem_get_info(self._device)
        affordable = int(_SHARE_OF_MEMORY * free / max(pixels * self.bytes_per_pixel, 1))
        return max(1, min(_COMPUTED_TOGETHER, affordable))

    def _disable_tf32(self) -> contextlib.AbstractContextManager[None]:
        """Turn off TF32, in which CUDA convolutions round the factors of fp32 products to 10 bits by default."""
        if self._device.type != "cuda" or self.precision != "fp32":
            return contextlib.nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)

    def exact(self) -> Engine:
        """The same generator in fp32, opened on first use."""
        if self.precision == "fp32":
            return self
        with self._lock:
            if self._exact is None:
                self._exact = type(self)(self._generator, "fp32", device=str(self._device))
            return self._exact


def _find_device(device: str) -> torch.device:
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise EngineError(f"{device!r} is not a device; use cpu, cuda, cuda:1 or mps.") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise EngineError("This PyTorch cannot use a CUDA device; set `device` to cpu to run on the CPU.")
    if chosen.type == "cuda" and int(chosen.index or 0) >= torch.cuda.device_count():
        raise EngineError(
            f"GPU {chosen.index} does not exist; this machine has {torch.cuda.device_count()}, numbered from 0."
        )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise EngineError("This PyTorch cannot use Apple's MPS; set `device` to cpu to run on the CPU.")
    return chosen
