"""The training pair pool of Real-ESRGAN, which combines pairs of different earlier batches.

Kinds and sizes of the degradation are drawn once per batch. The pool adds variety: once it is full, each new batch
replaces as many random pairs, which become the training batch (Real-ESRGAN, section 3.4, and the queue of its code).

Shapes: B pictures of a batch, C channels, h x w low resolution, H x W ground truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, ...]
"""Tensors with the batch as first dimension: (B, C, h, w), (B, C, H, W)."""


class PairPool:
    """At most `size` pairs. With size 0, batches pass through untouched."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: list[Batch] = []
        """Single pairs, without the batch dimension."""

    def __len__(self) -> int:
        return len(self._held)

    def exchange(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Exchange a new batch for random stored pairs; returns the new batch until the pool is full.

        Raises ValueError if the batch is larger than the pool or its pictures differ in size from the stored ones.
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
        """All stored pairs, one tensor for each part; as uint8 if that is lossless."""
        if not self._held:
            return {}
        parts = range(len(self._held[0]))
        return {f"part{part}": _compact(torch.stack([held[part] for held in self._held]).cpu()) for part in parts}

    def load(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Restore what `state` returned, bit for bit."""
        parts = [_expand(state[name]).to(device) for name in sorted(state)]
        self._held = list(zip(*(part.unbind() for part in parts), strict=True)) if parts else []

    def keep_share(self, process: int, processes: int) -> None:
        """Keep every `processes`-th pair, to divide one pool among several processes."""
        self._held = self._held[process::processes]


def _clone(batch: Sequence[Tensor], index: int) -> Batch:
    return tuple(part[index].clone() for part in batch)


def _compact(values: Tensor) -> Tensor:
    levels = (values * 255).round().clamp(0, 255)
    return levels.to(torch.uint8) if torch.equal(levels / 255, values) else values


def _expand(values: Tensor) -> Tensor:
    return values.float() / 255 if values.dtype == torch.uint8 else values
