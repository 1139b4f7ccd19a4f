"""Cost of a picture without its network: planes, color locks, blending and rounding, measured.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from tessera.engines.engine import Tiles
from tessera.planning.chart import chart
from tessera.tiling.mosaic import MosaicCount, mosaic
from tessera.tiling.pipeline import Pipeline
from tessera.tiling.rows import ArrayRows

_SIDE = 256


class _Idle:
    """An engine that returns precomputed output."""

    name, precision, bytes_per_pixel = "idle", "fp32", 0

    def __init__(self, made: Tiles) -> None:
        self._made = made

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) -> the precomputed output, cropped to (B, C, s*h, s*w)."""
        scale = self._made.shape[-1] // _SIDE
        batch, channels, height, width = tiles.shape
        return self._made[:batch, :channels, : scale * height, : scale * width].copy()

    def exact(self) -> _Idle:
        """Itself."""
        return self


def handling_seconds_per_megapixel(pipeline: Pipeline) -> float:
    """Seconds of one thread per megapixel of input, without the network and without reading and writing files."""
    planes = chart(_SIDE)
    made = planes.repeat(pipeline.scale, axis=1).repeat(pipeline.scale, axis=2)
    pixels = np.rint(np.moveaxis(planes, 0, -1) * 255).astype(np.uint8)
    plan = dataclasses.replace(pipeline.plan(0), multiple=1, network_channels=3, ensemble=False)
    took: list[float] = []
    for _ in range(2):
        began = time.perf_counter()
        for _ in mosaic(ArrayRows(pixels), _Idle(made[None]), plan, MosaicCount()):
            pass
        took.append(time.perf_counter() - began)
    return min(took) / _SIDE**2 * 1e6
