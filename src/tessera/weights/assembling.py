"""A PyTorch network built around the weights of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from tessera.weights.arrays import State
from tessera.weights.torch_tensors import to_tensor


class NetworkConfig(Protocol):
    """The configuration of a generator or a discriminator."""

    def build(self) -> nn.Module:
        """Build the network with fresh weights."""
        ...


def assemble(config: NetworkConfig, state: State | Mapping[str, Tensor]) -> nn.Module:
    """Build the network of a configuration around these weights, in fp32, in eval mode, without gradients."""
    with torch.device("meta"):
        network = config.build()
    types = {name: tensor.dtype for name, tensor in network.state_dict().items()}
    # Copies, because sums over memory that a file laid out (at odd addresses) are rounded in another order, and a
    # training that is resumed from a file would then differ from one that was not stopped.
    copies = {
        name: to_tensor(array).to(types.get(name, torch.float32), copy=True).contiguous()
        for name, array in state.items()
    }
    network.load_state_dict(copies, assign=True)
    return network.eval().requires_grad_(False)
