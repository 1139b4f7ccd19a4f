"""Order of samples: endless numbers, distributed to processes, each mapped to a picture.

There is no state to save: a run that has used n samples continues at number n.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.dataset.crops import derive_sample_rng


@dataclass(frozen=True)
class NumberedBatches:
    """Batches of sample numbers for one process of `world`, starting at `first`; endless unless `batches` is set.

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


def choose_picture(number: int, pictures: int, seed: int, *, attempt: int = 0) -> int:
    """Choose the picture of sample `number`: every picture once per epoch, in a different order each epoch.

    If it is unreadable, `attempt` selects the following ones in the order of the epoch.
    """
    epoch, position = divmod(number, pictures)
    return int(_shuffle(seed, epoch, pictures)[(position + attempt) % pictures])


@functools.lru_cache(maxsize=4)  # a batch may span two epochs, and two data sets may be in use
def _shuffle(seed: int, epoch: int, pictures: int) -> npt.NDArray[np.int64]:
    return derive_sample_rng(seed, "order", epoch).permutation(pictures)
