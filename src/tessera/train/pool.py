"""The pool of training pairs of Real-ESRGAN: batches are mixed from pairs that were degraded at different times.

One batch shares the kinds and sizes of its degradation, because they are drawn once per batch. The pool breaks that up:
once it is full, each new batch takes the places of as many random pairs, and those are trained on (Real-ESRGAN,
section 3.4, and the queue of its code).

Shapes: B pictures of a batch, C channels, h x w low resolution, H x W ground truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, ...]
"""Tensors whose first sides are the pictures of one batch: (B, C, h, w), (B, C, H, W)."""


class PairPool:
    """At most `size` pairs. With size 0, batches pass through untouched."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: list[Batch] = []
        """Single pairs, without the batch side."""

    def __len__(self) -> int:
        return len(self._held)

    def exchange(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Give a new batch in, get a mixed one out; until the pool is full, the new one itself.

        Raises ValueError when the batch is larger than the pool or its pictures have another size than those held.
        """
        if not self.size:
            return batch
        count = len(batch[0])
        if count > self.size:
            raise ValueError(f"a batch of {count} does not fit a pool of {self.size}")
        if self._held and [part.shape[1:] for part in batch] != [part.shape for part in self._held[0]]:
            raise ValueError("the pictures of the pool and of the batch have different sizes")
        free = self.size - len(self._held)
        if free:
            self._held += [_clone(batch, index) for index in range(min(free, count))]
            return batch
        places = [int(place) for place in rng.permutation(self.size)[:count]]
        given = tuple(torch.stack([self._held[place][part] for place in places]) for part in range(len(batch)))
        for index, place in enumerate(places):
            self._held[place] = _clone(batch, index)
        return given

    def state(self) -> dict[str, Tensor]:
        """Everything held, one tensor for each part; in whole levels (uint8) where that loses nothing."""
        if not self._held:
            return {}
        parts = range(len(self._held[0]))
        return {f"part{part}": _compact(torch.stack([held[part] for held in self._held]).cpu()) for part in parts}

    def load(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Hold what `state` gave; it comes back equal to the bit."""
        parts = [_expand(state[name]).to(device) for name in sorted(state)]
        self._held = list(zip(*(part.unbind() for part in parts), strict=True)) if parts else []

    def keep_share(self, process: int, processes: int) -> None:
        """Keep every so manyth pair, where several processes divide what one held."""
        self._held = self._held[process::processes]


def _clone(batch: Sequence[Tensor], index: int) -> Batch:
    return tuple(part[index].clone() for part in batch)


def _compact(values: Tensor) -> Tensor:
    levels = (values * 255).round().clamp(0, 255)
    return levels.to(torch.uint8) if torch.equal(levels / 255, values) else values


def _expand(values: Tensor) -> Tensor:
    return values.float() / 255 if values.dtype == torch.uint8 else values
