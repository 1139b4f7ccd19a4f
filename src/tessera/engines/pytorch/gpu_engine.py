"""PyTorch on a CUDA or Apple GPU: fp16 in channels-last, tiles in batches, and what a GPU does when it fails.

fp16 has 11 bits of mantissa where bf16 has 8, which is 14 dB (PSNR) closer to fp32 in the packaged networks, and cards
without bf16 (Pascal, Turing) run it, too. What overflows its range becomes not finite, and is run again in fp32.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import gc

import torch

from tessera.engines.engine import Tiles
from tessera.engines.pytorch.engine import TorchEngine
from tessera.errors import DeviceLostError, EngineError, OutOfMemoryError
from tessera.weights.loaded_generator import LoadedGenerator

_SHARE_OF_MEMORY = 0.8
_LOST = ("cuda error", "cudnn error", "cublas error", "hip error", "mps backend", "unspecified launch failure")


class TorchGpuEngine(TorchEngine):
    """Runs a generator with PyTorch on a CUDA device or Apple's MPS.

    `precision` is "fp32", "fp16" or, by choice, "bf16". `device` is "cuda", "cuda:1" or "mps".
    """

    def __init__(self, generator: LoadedGenerator, precision: str = "fp32", *, device: str = "cuda") -> None:
        super().__init__(generator, precision, device=device)
        self.device = device

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped.

        Raises OutOfMemoryError, and DeviceLostError when the GPU failed.
        """
        try:
            return super().run(tiles)
        except OutOfMemoryError:
            self._release_memory()
            raise
        except RuntimeError as error:
            if any(words in str(error).lower() for words in _LOST):
                raise DeviceLostError(f"{self.device} failed on a batch of tiles {tuple(tiles.shape)}.") from error
            raise

    def free_memory_bytes(self) -> int:
        """Memory of the device that tiles may use."""
        if self._device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self._device)
            cached = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
            return int((free + cached) * _SHARE_OF_MEMORY)
        unused = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return int(max(unused, 0) * _SHARE_OF_MEMORY)

    def reopen(self) -> None:
        """Raises EngineError: after an error, CUDA does not work again in the same process."""
        raise EngineError(f"{self.device} cannot be used again in this process.")

    def _release_memory(self) -> None:
        """Return cached memory to the driver, so that smaller tiles find a whole piece."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()
