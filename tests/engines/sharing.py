"""One engine, several threads: each has to get what it asked for."""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from stand_ins import ran
from tessera.engines.engine import Engine


def assert_threads_share(engine: Engine, inputs: Sequence[Tensor]) -> None:
    """Every thread runs its own input three times, and gets what the engine gives when it is alone."""
    expected = [ran(engine, x) for x in inputs]
    found: dict[int, Tensor] = {}

    def work(index: int) -> None:
        for _ in range(3):
            found[index] = ran(engine, inputs[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[index], one) for index, one in enumerate(expected))
