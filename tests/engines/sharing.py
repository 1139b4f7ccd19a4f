"""Networks, inputs and checks that the tests of several engines share."""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from stand_ins import loaded, ran
from tessera.engines.engine import Engine
from tessera.generators import GeneratorConfig
from tessera.weights.loaded_generator import LoadedGenerator


def assert_threads_share(engine: Engine, inputs: Sequence[Tensor]) -> None:
    """Every thread runs its own input twice, and gets what the engine gives when it is alone."""
    expected = [ran(engine, x) for x in inputs]
    found: dict[int, Tensor] = {}

    def work(index: int) -> None:
        for _ in range(2):
            found[index] = ran(engine, inputs[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[index], one) for index, one in enumerate(expected))


def make_random(config: GeneratorConfig, seed: int = 0) -> LoadedGenerator:
    """A network whose every number matters: fresh slopes are all alike, and fresh biases small."""
    torch.manual_seed(seed)
    network = config.build()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("bias") or value.ndim == 1:
                value.uniform_(-0.3, 0.3)
    return loaded(network, config)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))
