"""What each block of an RRDBNet adds to a picture: the change of the output when that block alone is left out.

A block adds a residual to its input. Left out, it passes its input on as it is (Veit et al. 2016 take blocks out of
residual networks in this way).

Shapes: B pictures, H and W an input, s the scale, F features, N blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tessera.generators.rrdbnet import RRDB, RRDBNet

_DENSE = 3
"""Dense blocks in a block."""


@dataclass(frozen=True)
class BlockImportance:
    """What one block adds, as mean squared errors of the output in [0, 1] when it is left out."""

    block: int
    error: float
    dense: tuple[float, ...]
    """The same of each dense block inside, left out alone."""

    @property
    def psnr_db(self) -> float:
        """Of the output without the block to the whole network's; infinite where it adds nothing."""
        return decibels(self.error)

    @property
    def dense_psnr_db(self) -> tuple[float, ...]:
        """The same of each dense block."""
        return tuple(decibels(error) for error in self.dense)


def decibels(error: float) -> float:
    """A mean squared error of values in [0, 1] as PSNR.

    >>> decibels(0.01), decibels(0.0)
    (20.0, inf)
    """
    return math.inf if error == 0 else -10 * math.log10(error)


@torch.inference_mode()
def outputs_of(network: nn.Module, pictures: Sequence[Tensor]) -> list[Tensor]:
    """What a network makes of batches of pictures, (B, C, H, W) -> (B, C, s*H, s*W), in [0, 1]."""
    return [network(batch).clamp(0, 1) for batch in pictures]


@torch.inference_mode()
def measure_importance(
    network: RRDBNet, pictures: Sequence[Tensor], wholes: Sequence[Tensor], *, dense: bool = True
) -> tuple[BlockImportance, ...]:
    """Leave out each block in turn, and each dense block: batches (B, C, H, W) in [0, 1] -> N importances.

    `wholes` are the outputs that a change is measured from (`outputs_of`). The trunk before a block is computed once
    for all, and what follows anew each time: without `dense` the work of N / 2 passes through the network, with it of
    2 N.
    """
    blocks = _blocks(network)
    errors = torch.zeros(len(blocks), 1 + (_DENSE if dense else 0), dtype=torch.float64)
    for batch, whole in zip(pictures, wholes, strict=True):
        first = network.shallow(batch)
        state = first
        for number, block in enumerate(blocks):
            for place, left in enumerate(_without_parts(block, state, dense=dense)):
                errors[number, place] += float(squared_error(_finished(network, first, left, number + 1), whole))
            state = block(state)
    means = (errors / sum(len(batch) for batch in pictures)).tolist()
    return tuple(BlockImportance(number, row[0], tuple(row[1:])) for number, row in enumerate(means))


def squared_error(made: Tensor, whole: Tensor) -> Tensor:
    """The mean squared error of each picture, added up over a batch: (B, C, H, W) twice -> () float64."""
    return (made.double() - whole.double()).square().flatten(1).mean(1).sum()


def least_important(found: Sequence[BlockImportance]) -> BlockImportance:
    """The block that is left out first; of equals the last."""
    return min(found, key=lambda each: (each.error, -each.block))


def _blocks(network: RRDBNet) -> list[RRDB]:
    return [block for block in network.body if isinstance(block, RRDB)]


def _without_parts(block: RRDB, state: Tensor, *, dense: bool) -> Iterator[Tensor]:
    """What the block passes on, (B, F, H, W), when it is left out, and when each of its dense blocks is."""
    yield state
    if not dense:
        return
    parts: list[nn.Module] = [block.rdb1, block.rdb2, block.rdb3]
    for left_out in range(len(parts)):
        inner = state
        for number, part in enumerate(parts):
            if number != left_out:
                inner = part(inner)
        yield block.add(inner, state)


def _finished(network: RRDBNet, first: Tensor, state: Tensor, start: int) -> Tensor:
    """The pictures, (B, C, s*H, s*W) in [0, 1], that comes of the trunk's state before block `start`."""
    for block in _blocks(network)[start:]:
        state = block(state)
    return network.enlarge(network.joined(first, state)).clamp(0, 1)
