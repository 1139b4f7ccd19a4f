"""Expected seconds for pictures, from the plan or from one tile timed now: what --dry-run needs beyond the forecast."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from tessera.planning.handling import handling_seconds_per_megapixel
from tessera.planning.preparing import RUNS_OF_AN_ENSEMBLE, prepare
from tessera.tiling.settings import SMALLEST_TILE

if TYPE_CHECKING:
    from tessera.engines.engine import Engine, Tiles
    from tessera.upscaling.filejob import Forecast
    from tessera.upscaling.upscaler import Upscaler

_LARGEST_TIMED_TILE = 256


class Estimator:
    """Estimates for one upscaler; what it times once is reused."""

    def __init__(self, upscaler: Upscaler) -> None:
        self._upscaler = upscaler
        self._timed_tiles: dict[int, float] = {}
        self._handling: float | None = None

    def opening_seconds(self) -> float:
        """Time a second preparation from the cache, up to the first tile, as the next process will do it."""
        if not self._upscaler.prepare().planned:
            return 0.0
        began = time.perf_counter()
        engine = prepare(self._upscaler.generator, self._upscaler.settings, self._upscaler.job_pixels).pipeline.engine
        engine.run(self._noise(SMALLEST_TILE))
        return time.perf_counter() - began

    def network_seconds(self, forecast: Forecast) -> float:
        """Expected seconds of the network for a picture."""
        ready = self._upscaler.prepare()
        first = ready.pipeline.choose_first_tile(forecast.height, forecast.width)
        rows, columns = ready.pipeline.plan(first).axes(forecast.height, forecast.width)
        pixels = rows.tile * columns.tile
        runs = forecast.runs * (RUNS_OF_AN_ENSEMBLE if self._upscaler.settings.tta else 1)
        if ready.choice is None or not ready.choice.candidate.timings:
            side = min(forecast.tile, _LARGEST_TIMED_TILE)
            if side not in self._timed_tiles:
                self._timed_tiles[side] = self._time_tile(ready.pipeline.engine, side)
            return self._timed_tiles[side] / side**2 * pixels * runs
        candidate = ready.choice.candidate
        return candidate.pace * candidate.seconds_per_megapixel(round(pixels**0.5)) * pixels / 1e6 * runs

    def handling_seconds(self, forecast: Forecast) -> float:
        """Expected seconds of one thread for color locks, blending and rounding of a picture."""
        if self._handling is None:
            self._handling = handling_seconds_per_megapixel(self._upscaler.prepare().pipeline)
        return self._handling * forecast.height * forecast.width * forecast.frames / 1e6

    def _time_tile(self, engine: Engine, side: int) -> float:
        """Time one tile of this size, after one to warm up."""
        example = self._noise(side)
        engine.run(example)
        began = time.perf_counter()
        engine.run(example)
        return time.perf_counter() - began

    def _noise(self, side: int) -> Tiles:
        channels = self._upscaler.generator.config.in_channels
        return np.random.default_rng(0).random((1, channels, side, side), dtype=np.float32)
