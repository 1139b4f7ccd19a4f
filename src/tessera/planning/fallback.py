"""A GPU engine with fallbacks when its device fails: smaller tiles first, then the CPU."""

from __future__ import annotations

from collections.abc import Callable

from tessera.engines.engine import Batching, Engine, OnDevice, Tiles
from tessera.errors import DeviceLostError, EngineError

_MOST_RESETS = 3
"""A device that is lost more often than this is given up."""


class FallbackEngine:
    """Runs on a GPU, and on the CPU once the GPU is given up; what happened is in `notes`.

    `open_cpu` opens the engine for the CPU. Shapes: B tiles, C channels, h and w the tile, s the scale.
    """

    def __init__(self, gpu: Engine, open_cpu: Callable[[], Engine]) -> None:
        self._open_cpu = open_cpu
        self._use(gpu)
        self._resets = 0
        self.device = gpu.device if isinstance(gpu, OnDevice) else "gpu"
        self.notes: tuple[str, ...] = ()

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped.

        Raises OutOfMemoryError, DeviceLostError.
        """
        return self._engine.run(tiles)

    def exact(self) -> Engine:
        """The same generator in fp32, on the same device."""
        return self._engine.exact()

    def tiles_at_once(self, pixels: int) -> int:
        """Best batch size of the engine that runs now."""
        return self._engine.tiles_at_once(pixels) if isinstance(self._engine, Batching) else 1

    def free_memory_bytes(self) -> int | None:
        """Free memory of the GPU; None once the CPU has taken over."""
        return self._engine.free_memory_bytes() if isinstance(self._engine, OnDevice) else None

    def recover(self, error: BaseException, *, is_smallest: bool) -> bool:
        """After an error, get ready for another attempt -> whether there is a point in one.

        A lost device is opened again, for smaller tiles; the CPU takes over when that fails or the tiles are the
        smallest.
        """
        gpu = self._engine
        if not isinstance(gpu, OnDevice):
            return False
        if isinstance(error, DeviceLostError) and not is_smallest and self._resets < _MOST_RESETS:
            self._resets += 1
            try:
                gpu.reopen()
            except EngineError:
                pass
            else:
                self._note(f"{self.device} was reset by its driver; continued with smaller tiles.")
                return True
        self._use(self._open_cpu())
        reason = "was lost" if isinstance(error, DeviceLostError) else "ran out of memory"
        self._note(f"{self.device} {reason}; the CPU took over.")
        return True

    def _use(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.precision, self.bytes_per_pixel = engine.name, engine.precision, engine.bytes_per_pixel

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes = (*self.notes, sentence)
