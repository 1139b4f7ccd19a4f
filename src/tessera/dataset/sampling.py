"""Which sample comes when: numbers that go on for ever, dealt to processes, each standing for a picture.

Nothing here has a state that would have to be saved: a run that has used n samples goes on at number n.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.dataset.crops import stream_of


@dataclass(frozen=True)
class NumberedBatches:
    """The numbers of each batch of one process among `world`: from `first` on, without end unless `batches` sets one.

    >>> list(NumberedBatches(first=0, batch=2, rank=1, world=2, batches=2))
    [[2, 3], [6, 7]]
    """

    first: int
    batch: int
    rank: int = 0
    world: int = 1
    batches: int | None = None

    def __post_init__(self) -> None:
        assert self.first >= 0
        assert self.batch > 0
        assert 0 <= self.rank < self.world

    def __iter__(self) -> Iterator[list[int]]:
        step = 0
        while self.batches is None or step < self.batches:
            start = self.first + (step * self.world + self.rank) * self.batch
            yield list(range(start, start + self.batch))
            step += 1


def picture_of(number: int, pictures: int, seed: int, *, attempt: int = 0) -> int:
    """The picture that sample `number` takes: every picture once in each epoch, each epoch in another order.

    When it cannot be read, `attempt` gives those that follow in the order of the epoch.
    """
    epoch, position = divmod(number, pictures)
    return int(_order(seed, epoch, pictures)[(position + attempt) % pictures])


@functools.lru_cache(maxsize=4)  # a batch may reach over the end of an epoch, and another data set be read beside
def _order(seed: int, epoch: int, pictures: int) -> npt.NDArray[np.int64]:
    return stream_of(seed, "order", epoch).permutation(pictures)
