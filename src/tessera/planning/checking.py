"""Check of an engine's output against a reference, with the user's own weights.

The reference is the network in fp32: in Tessera's exact kernels where they run it, which take a fraction of the time of
anything else (and are 128 dB from PyTorch, docs/explanation/kernel-accuracy.md), else in NumPy (`array_network`), which
also verifies the kernels on a small picture. PyTorch is the reference only of networks from outside the family.
Shapes: C channels, s the scale.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from tessera.engines.engine import Engine, Tiles
from tessera.engines.opening import open_engine
from tessera.errors import TesseraError
from tessera.planning.array_network import can_run_in_numpy, run_in_numpy
from tessera.planning.chart import chart, with_noise
from tessera.planning.plan import Difference
from tessera.weights.loaded_generator import LoadedGenerator

_Source = Literal["kernels", "numpy", "pytorch"]
_SIDES = (64, 48, 32, 24)
_MOST_MULTIPLY_ADDS: dict[_Source, float] = {"kernels": 40e9, "numpy": 12e9, "pytorch": 20e9}
"""Per picture: a quarter of a second, or half a second, for each on two cores."""
_VERIFYING_SIDE = 16
"""Enough to find kernels that are wrong on this machine before they serve as a reference."""
NOISE_LEVELS = 25.0
"""Standard deviation in levels of 255: the middle one of the three that denoising is measured with (15, 25, 50)."""


class Reference:
    """Reference outputs of a network for the chart and for the chart with noise, computed when first needed.

    The noisy picture reveals more where a network sharpens whatever it finds: errors grow with the detail. fp16 is
    checked with uniform noise, too: how a device sums in fp16 is up to its driver, and only that shows the worst.
    """

    def __init__(self, generator: LoadedGenerator) -> None:
        self._generator = generator
        self._kernels: Engine | None = None
        self._tried_kernels = False
        self._pairs: dict[_Source, list[tuple[Tiles, Tiles]]] = {}
        """By reference: the two charts, and uniform noise once fp16 needed it."""

    def difference(self, engine: Engine) -> Difference | None:
        """How far an engine is from the network in fp32, on the worst of the pictures.

        Both outputs are rounded to 255 levels as they are written. None when the engine's output is not finite or has
        the wrong shape.
        """
        found: list[Difference] = []
        for tile, expected in self._references(engine):
            got = engine.run(tile)
            if got.shape != expected.shape or not np.isfinite(got).all():
                return None
            found.append(_measure_difference(got, expected))
        return functools.reduce(Difference.worse, found)

    def _references(self, engine: Engine) -> list[tuple[Tiles, Tiles]]:
        """Inputs and reference outputs that do not come from the engine under test."""
        name, run = self._choose_source(engine)
        if name not in self._pairs:
            self._pairs[name] = [(tile, run(tile)) for tile in self._draw(self._choose_side(_MOST_MULTIPLY_ADDS[name]))]
        pairs = self._pairs[name]
        if engine.precision == "fp16" and len(pairs) == 2:
            uniform = np.random.default_rng(0).random(pairs[0][0].shape, np.float32)
            pairs.append((uniform, run(uniform)))
        return pairs if engine.precision == "fp16" else pairs[:2]

    def _choose_source(self, engine: Engine) -> tuple[_Source, Callable[[Tiles], Tiles]]:
        """The best reference that is not the engine under test."""
        kernels = None if (engine.name, engine.precision) == ("kernels", "fp32") else self._open_kernels()
        if kernels is not None:
            return "kernels", kernels.run
        if can_run_in_numpy(self._generator):
            return "numpy", lambda tile: run_in_numpy(self._generator, tile)
        return "pytorch", self._run_in_pytorch

    def _choose_side(self, most_multiply_adds: float) -> int:
        config = self._generator.config
        affordable = [side for side in _SIDES if config.multiply_adds(side, side) <= most_multiply_adds]
        return (affordable or [_SIDES[-1]])[0]

    def _open_kernels(self) -> Engine | None:
        if not self._tried_kernels and can_run_in_numpy(self._generator):
            self._tried_kernels = True
            with contextlib.suppress(TesseraError):  # another network, or the kernels are not built here
                kernels = open_engine(self._generator, "exact", engine="kernels")
                tile = self._draw(_VERIFYING_SIDE)[1]
                difference = _measure_difference(kernels.run(tile), run_in_numpy(self._generator, tile))
                self._kernels = kernels if difference.is_allowed("exact") else None
        return self._kernels

    def _draw(self, side: int) -> tuple[Tiles, Tiles]:
        """The chart and the noisy chart, (1, C, side, side) each, with a side that the network accepts."""
        config = self._generator.config
        clean = chart(math.ceil(side / config.multiple) * config.multiple, config.in_channels)
        return clean[None], with_noise(clean, NOISE_LEVELS)[None]

    def _run_in_pytorch(self, tile: Tiles) -> Tiles:
        import torch

        network = self._generator.network
        x = torch.from_numpy(tile)
        device = next(iter(network.parameters()), x).device
        with torch.inference_mode():
            sr: torch.Tensor = network(x.to(device)).to("cpu", torch.float32)
        return sr.numpy()


def _measure_difference(got: Tiles, expected: Tiles) -> Difference:
    apart = np.abs(_round_to_levels(got) - _round_to_levels(expected))
    squared = float(np.square(got.clip(0, 1).astype(np.float64) - expected.clip(0, 1)).mean())
    return Difference(
        within_one_level=float((apart <= 1).mean()),
        largest=int(apart.max()),
        psnr_db=-10 * math.log10(squared) if squared else None,
    )


def _round_to_levels(sr: Tiles) -> Tiles:
    return np.rint(sr.clip(0, 1) * 255)
