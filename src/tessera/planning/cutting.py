"""Networks with fewer blocks, for timing networks that take too long as a whole.

The trunk of a deep network repeats one block; the rest (first convolution, upsampling) occurs once. Two shortened
networks that differ only in blocks give the cost of a block and so of the whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import torch

from tessera.generators import GeneratorConfig
from tessera.weights.loaded_generator import LoadedGenerator

_REPEATED = ("blocks", "convolutions")
"""The fields of configurations that say how often the trunk's part is repeated."""
_SMALL, _LARGE = 1, 4
_FLOP_OF_A_RUN = 20e9
_SIDES = (192, 128, 96, 64, 48)
UNKNOWN_COST_SIDE = 64


@dataclass(frozen=True)
class Cuts:
    """Networks to time: `large`, and `small` where `large` is not the network itself."""

    large: LoadedGenerator
    small: LoadedGenerator | None
    steps: float
    """How many times the difference of the two is added to `small`."""
    side: int
    """Side of the timed tiles."""

    def estimate_whole(self, small: float, large: float) -> float:
        """The cost of the whole network from the costs of the two, at least that of the larger.

        >>> Cuts(None, object(), 22 / 3, 64).estimate_whole(1.0, 4.0)
        23.0
        """
        return large if self.small is None else max(small + self.steps * (large - small), large)


def cut(generator: LoadedGenerator) -> Cuts:
    """Choose the networks to time in place of one: itself when that is quick."""
    config = generator.config
    repeated = next((name for name in _REPEATED if hasattr(config, name)), None)
    side = _side(config)
    times = 0 if repeated is None else int(getattr(config, repeated))
    if times <= 2 * _LARGE or repeated is None or 2 * config.multiply_adds(side, side) <= _FLOP_OF_A_RUN:
        return Cuts(generator, None, 0.0, side)
    small, large = (_shorten_network(generator, repeated, blocks) for blocks in (_SMALL, _LARGE))
    return Cuts(large, small, (times - _SMALL) / (_LARGE - _SMALL), _side(large.config))


def _side(config: GeneratorConfig) -> int:
    """The largest side that is quick to run."""
    cost = config.multiply_adds(1_024, 1_024) / 1_024**2  # of a pixel
    if not cost:
        return UNKNOWN_COST_SIDE
    return next((side for side in _SIDES if 2 * cost * side**2 <= _FLOP_OF_A_RUN), _SIDES[-1])


def _shorten_network(generator: LoadedGenerator, repeated: str, blocks: int) -> LoadedGenerator:
    """The same network with fewer blocks and the weights that fit (values do not affect the time)."""
    config = type(generator.config).model_validate({**generator.config.model_dump(), repeated: blocks})
    digest = hashlib.sha256(f"{generator.sha256} cut to {blocks}".encode()).hexdigest()
    with torch.random.fork_rng(devices=[]):  # fresh weights come from the global random generator
        torch.manual_seed(int(digest[:8], 16))
        network = config.build()
    own = network.state_dict()
    theirs = generator.network.state_dict()
    network.load_state_dict(
        {name: theirs[name] if name in theirs and theirs[name].shape == own[name].shape else own[name] for name in own}
    )
    return dataclasses.replace(
        generator,
        config=config,
        network=network.eval().requires_grad_(False),
        name=f"{generator.name} with {blocks} {repeated}",
        source=None,
        sha256=digest,
        dialect="tessera",
    )
