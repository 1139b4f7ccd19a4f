"""Whether an engine gives what the network gives: compared with PyTorch in fp32, with the user's own weights.

Shapes: C channels, s the scale.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tessera.engines.engine import Engine, Tiles
from tessera.planning.chart import chart, with_noise
from tessera.planning.plan import Difference
from tessera.weights.loaded_generator import LoadedGenerator

_SIDES = (64, 48, 32)
_MOST_MULTIPLY_ADDS = 60e9
NOISE_LEVELS = 25.0
"""Standard deviation in levels of 255: the middle one of the three that denoising is measured with (15, 25, 50)."""


class Reference:
    """What a network itself makes of the chart and of the chart with noise, computed once when first asked for.

    Noise tells more than a chart where a network sharpens whatever it finds: errors grow with what they are made from.
    """

    def __init__(self, generator: LoadedGenerator) -> None:
        self._generator = generator
        self._sr: list[Tiles] = []
        config = generator.config
        affordable = [side for side in _SIDES if config.multiply_adds(side, side) <= _MOST_MULTIPLY_ADDS]
        side = math.ceil((affordable or [_SIDES[-1]])[0] / config.multiple) * config.multiple
        clean = chart(side, config.in_channels)
        self.tiles = (clean[None], with_noise(clean, NOISE_LEVELS)[None])

    def difference(self, engine: Engine) -> Difference | None:
        """How far an engine is from the network in fp32, on the worse of the two pictures.

        Levels are those of 255, to which both are rounded as they are written. None when the engine gives no finite
        picture of the right shape.
        """
        found: list[Difference] = []
        for tile, expected in zip(self.tiles, self._expected(), strict=True):
            got = engine.run(tile)
            if got.shape != expected.shape or not np.isfinite(got).all():
                return None
            found.append(_difference(got, expected))
        return found[0].worse(found[1])

    def _expected(self) -> list[Tiles]:
        if not self._sr:
            network = self._generator.network
            for tile in map(torch.from_numpy, self.tiles):
                where = next(iter(network.parameters()), tile)
                with torch.inference_mode():
                    sr: Tensor = network(tile.to(where.device)).to("cpu", torch.float32)
                self._sr.append(sr.numpy())
        return self._sr


def _difference(got: Tiles, expected: Tiles) -> Difference:
    apart = np.abs(_levels(got) - _levels(expected))
    squared = float(np.square(got.clip(0, 1).astype(np.float64) - expected.clip(0, 1)).mean())
    return Difference(
        within_one_level=float((apart <= 1).mean()),
        largest=int(apart.max()),
        psnr_db=-10 * math.log10(squared) if squared else None,
    )


def _levels(sr: Tiles) -> Tiles:
    return np.rint(sr.clip(0, 1) * 255)
