"""The exponential moving average of a generator's parameters, which is validated, stored and published.

average <- decay * average + (1 - decay) * parameter, after each of the generator's steps. Buffers are copied.
"""

from __future__ import annotations

import copy

import torch
from torch import nn


def copy_for_averaging(network: nn.Module) -> nn.Module:
    """Copy a network to hold its average: in eval mode, without gradients."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average toward the network, in place."""
    for mean, now in zip(average.parameters(), network.parameters(), strict=True):
        mean.mul_(decay).add_(now, alpha=1 - decay)
    for mean, now in zip(average.buffers(), network.buffers(), strict=True):
        mean.copy_(now)
