"""Importance of each block of an RRDBNet: how much the output changes if that block alone is removed.

A block adds a residual to its input. Removed, it passes its input on unchanged (Veit et al. 2016 remove blocks of
residual networks in this way).

Shapes: B pictures, H and W an input, s the scale, F features, N blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tessera.generators.rrdbnet.network import RRDBNet

_DENSE_BLOCKS = 3
"""Dense blocks in a block."""


@dataclass(frozen=True)
class BlockImportance:
    """Mean squared errors of the output in [0, 1] without one block."""

    block: int
    error: float
    dense: tuple[float, ...]
    """Errors without each of its dense blocks alone."""

    @property
    def psnr_db(self) -> float:
        """PSNR of the output without the block to the original network's; infinite if they are equal."""
        return to_decibels(self.error)

    @property
    def dense_psnr_db(self) -> tuple[float, ...]:
        """PSNR without each dense block."""
        return tuple(to_decibels(error) for error in self.dense)


def to_decibels(error: float) -> float:
    """Convert a mean squared error of values in [0, 1] to PSNR.

    >>> to_decibels(0.01), to_decibels(0.0)
    (20.0, inf)
    """
    return math.inf if error == 0 else -10 * math.log10(error)


@torch.inference_mode()
def compute_outputs(network: nn.Module, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Run a network on batches of pictures: (B, C, H, W) -> (B, C, s*H, s*W), clipped to [0, 1]."""
    return [network(batch).clamp(0, 1) for batch in pictures]


@torch.inference_mode()
def measure_importance(
    network: RRDBNet, pictures: Sequence[Tensor], references: Sequence[Tensor], *, dense: bool = True
) -> tuple[BlockImportance, ...]:
    """Remove each block in turn, and each dense block: batches (B, C, H, W) in [0, 1] -> N importances.

    `references` are the outputs to compare with (`compute_outputs`). The trunk before a block is computed once, the
    rest for each measurement: the work of N / 2 passes through the network, or of 2 N with `dense`.
    """
    blocks = network.blocks
    parts = range(_DENSE_BLOCKS if dense else 0)
    errors = torch.zeros(len(blocks), 1 + len(parts), dtype=torch.float64)
    for batch, reference in zip(pictures, references, strict=True):
        shallow = network.extract_shallow(batch)
        state = shallow
        for number, block in enumerate(blocks):
            for column, reduced in enumerate([state, *(block.run_without(part, state) for part in parts)]):
                output = network.run_from(number + 1, shallow, reduced).clamp(0, 1)
                errors[number, column] += float(sum_squared_errors(output, reference))
            state = block(state)
    means = (errors / sum(len(batch) for batch in pictures)).tolist()
    return tuple(BlockImportance(number, row[0], tuple(row[1:])) for number, row in enumerate(means))


def sum_squared_errors(output: Tensor, reference: Tensor) -> Tensor:
    """Sum the mean squared errors of all pictures of a batch: (B, C, H, W) twice -> () float64."""
    return (output.double() - reference.double()).square().flatten(1).mean(1).sum()


def find_least_important(measured: Sequence[BlockImportance]) -> BlockImportance:
    """Find the block to remove first; the last one of equals."""
    return min(measured, key=lambda each: (each.error, -each.block))
