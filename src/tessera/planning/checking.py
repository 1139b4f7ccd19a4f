"""Whether an engine gives what the network gives: compared with PyTorch in fp32, with the user's own weights.

Shapes: C channels, s the scale.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tessera.engines import Engine
from tessera.planning.chart import chart
from tessera.planning.plan import Difference
from tessera.weights import LoadedGenerator

_SIDES = (64, 48, 32)
_MOST_MULTIPLY_ADDS = 60e9


class Reference:
    """What a network itself makes of the chart, computed once when it is first asked for."""

    def __init__(self, generator: LoadedGenerator) -> None:
        self._generator = generator
        self._sr: Tensor | None = None
        config = generator.config
        affordable = [side for side in _SIDES if config.multiply_adds(side, side) <= _MOST_MULTIPLY_ADDS]
        side = math.ceil((affordable or [_SIDES[-1]])[0] / config.multiple) * config.multiple
        self.tile = torch.from_numpy(chart(side, config.in_channels))[None]

    def difference(self, engine: Engine) -> Difference | None:
        """How far an engine is from the network in fp32; None when it gives no finite picture of the right shape.

        Both outputs are rounded to 255 levels, as they are written.
        """
        got = engine.run(self.tile)
        expected = self._expected()
        if got.shape != expected.shape or not bool(torch.isfinite(got).all()):
            return None
        apart = (_levels(got) - _levels(expected)).abs()
        return Difference(within_one_level=float((apart <= 1).double().mean()), largest=int(apart.max()))

    def _expected(self) -> Tensor:
        if self._sr is not None:
            return self._sr
        network = self._generator.network
        where = next(iter(network.parameters()), self.tile)
        with torch.inference_mode():
            sr: Tensor = network(self.tile.to(where.device, torch.float32)).to("cpu", torch.float32)
        self._sr = sr
        return sr


def _levels(sr: Tensor) -> Tensor:
    return sr.clamp(0, 1).mul(255).round()
