"""Whether an engine gives what the network gives: compared with PyTorch in fp32, with the user's own weights.

Shapes: C channels, s the scale.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tessera.engines import Engine, Tiles
from tessera.loaded_generator import LoadedGenerator
from tessera.planning.chart import chart
from tessera.planning.plan import Difference

_SIDES = (64, 48, 32)
_MOST_MULTIPLY_ADDS = 60e9


class Reference:
    """What a network itself makes of the chart, computed once when it is first asked for."""

    def __init__(self, generator: LoadedGenerator) -> None:
        self._generator = generator
        self._sr: Tiles | None = None
        config = generator.config
        affordable = [side for side in _SIDES if config.multiply_adds(side, side) <= _MOST_MULTIPLY_ADDS]
        side = math.ceil((affordable or [_SIDES[-1]])[0] / config.multiple) * config.multiple
        self.tile = chart(side, config.in_channels)[None]

    def difference(self, engine: Engine) -> Difference | None:
        """How far an engine is from the network in fp32; None when it gives no finite picture of the right shape.

        Both outputs are rounded to 255 levels, as they are written.
        """
        got = engine.run(self.tile)
        expected = self._expected()
        if got.shape != expected.shape or not np.isfinite(got).all():
            return None
        apart = np.abs(_levels(got) - _levels(expected))
        return Difference(within_one_level=float((apart <= 1).mean()), largest=int(apart.max()))

    def _expected(self) -> Tiles:
        if self._sr is not None:
            return self._sr
        network = self._generator.network
        tile = torch.from_numpy(self.tile)
        where = next(iter(network.parameters()), tile)
        with torch.inference_mode():
            sr: Tensor = network(tile.to(where.device)).to("cpu", torch.float32)
        self._sr = sr.numpy()
        return self._sr


def _levels(sr: Tiles) -> Tiles:
    return np.rint(sr.clip(0, 1) * 255)
