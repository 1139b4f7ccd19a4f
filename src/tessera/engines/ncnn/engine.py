"""ncnn on the CPU: fp32 with Winograd convolutions, for all of Tessera's networks.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.engines.engine import Tiles
from tessera.engines.ncnn.loading import load_net
from tessera.engines.ncnn.net import NetOptions
from tessera.generators import GeneratorConfig
from tessera.machine import cores

if TYPE_CHECKING:
    from tessera.engines.engine import Engine
    from tessera.weights.loaded_generator import LoadedGenerator

_MAPS_AT_ONCE = 12
"""Feature maps held by the Winograd products and the maps around them (measured: 49 KB a pixel for RRDBNet x4)."""


class NcnnEngine:
    """Runs a generator with ncnn on the CPU, in fp32 (Lavin and Gray, 2016, for the convolutions).

    Raises EngineError for networks from outside the family, and when the `ncnn` package cannot be imported.
    """

    name = "ncnn"
    precision = "fp32"

    def __init__(self, generator: LoadedGenerator, *, threads: int | None = None) -> None:
        self.threads = cores().usable if threads is None else threads
        self._config = generator.config
        self._net = load_net(generator, NetOptions(threads=self.threads))
        self.bytes_per_pixel = estimate_bytes_per_pixel(generator.config)

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped."""
        return self._net.run_batch(tiles, self._config.scale, self._config.out_channels)

    def exact(self) -> Engine:
        """Itself: ncnn runs in fp32 here."""
        return self


def estimate_bytes_per_pixel(config: GeneratorConfig, value_bytes: int = 4) -> int:
    """Estimate the working memory of an input pixel from the widest maps before and after upsampling."""
    layers = config.layers
    pictures = 16 * config.out_channels * config.scale**2
    *inner, _ = (layer for _, layer in layers.convolutions)
    widest = max(layer.channels * layer.zoom**2 for layer in inner if layer.channels == layers.features)
    joined = max((layer.channels * layer.zoom**2 for layer in layers.all if layer.kind == "concat"), default=0)
    return int((widest + joined) * value_bytes * _MAPS_AT_ONCE) + pictures
