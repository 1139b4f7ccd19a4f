"""Networks for the kernels: every number in them matters, and PyTorch says what is right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tessera.engines.kernels.engine import describe
from tessera.generators import GeneratorConfig, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.native.library import InstructionSet, Kind, Network
from tessera.weights.files import LoadedGenerator

CONFIGS: dict[str, GeneratorConfig] = {
    "rrdbnet": RRDBNetConfig(blocks=2, features=16, growth=16),
    "rrdbnet with 48 features and growth 32": RRDBNetConfig(blocks=1, features=48, growth=32),
    "rrdbnet x2 by unshuffling": RRDBNetConfig(blocks=1, features=32, growth=16, scale=2),
    "rrdbnet x1 by unshuffling, gray": RRDBNetConfig(
        blocks=1, features=16, growth=32, scale=1, in_channels=1, out_channels=1
    ),
    "rrdbnet x3 in one stage": RRDBNetConfig(blocks=1, features=16, growth=16, scale=3),
    "rrdbnet x6 in two stages": RRDBNetConfig(blocks=1, features=16, growth=16, scale=6, unshuffle=1, stages=(3, 2)),
    "rrdbnet x1 without stages": RRDBNetConfig(blocks=1, features=16, growth=16, scale=1, unshuffle=1, stages=()),
    "srvgg": SRVGGNetCompactConfig(features=16, convolutions=3),
    "srvgg x1": SRVGGNetCompactConfig(features=32, convolutions=1, scale=1),
    "srvgg with relu": SRVGGNetCompactConfig(features=48, convolutions=2, scale=2, activation="relu"),
    "srvgg with leaky relu, from gray": SRVGGNetCompactConfig(
        features=16, convolutions=2, scale=3, activation="leakyrelu", in_channels=1
    ),
}


def in_kernels(
    generator: LoadedGenerator,
    kinds: Sequence[Kind] | None = None,
    *,
    threads: int = 2,
    instructions: InstructionSet | None = None,
) -> Network:
    arrays = [value.numpy() for value in generator.network.state_dict().values()]
    return Network(describe(generator), arrays, kinds, threads=threads, instructions=instructions)


def noise(config: GeneratorConfig, height: int, width: int, batch: int = 1, seed: int = 1) -> NDArray[np.float32]:
    """Height and width count what is left after unshuffling."""
    shape = (batch, config.in_channels, height * config.multiple, width * config.multiple)
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def by_pytorch(generator: LoadedGenerator, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        found: torch.Tensor = generator.network(torch.from_numpy(pictures))
    return found.numpy()


def relative_error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference, by the size of what is there."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    return float(np.abs(found - expected).max() / np.abs(expected).max())
