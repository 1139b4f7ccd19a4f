"""RRDBNets whose output is known without running them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stand_ins import loaded
from tessera.generators import RRDBNetConfig
from tessera.generators.rrdbnet.network import RRDBNet
from tessera.weights.loaded_generator import LoadedGenerator


def made(blocks: int = 4, *, features: int = 8, growth: int = 4, seed: int = 0) -> LoadedGenerator:
    """A random network of x4."""
    torch.manual_seed(seed)
    config = RRDBNetConfig(features=features, growth=growth, blocks=blocks)
    return loaded(config.build(), config)


def adding(amounts: Sequence[float]) -> LoadedGenerator:
    """A network of x4 that gives back repeated pixels plus the sum of `amounts`, one of them from each block.

    All convolutions pass on what they get, or nothing. The dense blocks take away what they were given, so that a block
    is its input and a constant.
    """
    config = RRDBNetConfig(features=3, growth=1, blocks=len(amounts))
    network = config.build()
    assert isinstance(network, RRDBNet)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for name in ("conv_first", "conv_body", "conv_up1", "conv_up2", "conv_hr"):
            pass_on(network.get_submodule(name), 1.0)
        pass_on(network.conv_last, 0.5)  # what the trunk was given is added to what it found
        for block, amount in zip(network.body, amounts, strict=True):
            pass_on(block.get_submodule("rdb1.conv5"), -5.0)  # of which a fifth is added: nothing is left
            bias = block.get_submodule("rdb3.conv5").bias
            assert isinstance(bias, torch.Tensor)
            bias.fill_(2 * amount * 25)  # a fifth of a fifth; half at the end
    return loaded(network, config)


def pass_on(conv: nn.Module, factor: float) -> None:
    """Let each output channel be one input channel times a factor."""
    assert isinstance(conv, nn.Conv2d)
    conv.weight.zero_()
    for channel in range(min(conv.in_channels, conv.out_channels)):
        conv.weight[channel, channel, 1, 1] = factor


def pictures(count: int = 2, side: int = 12, seed: int = 0) -> Tensor:
    """Pictures between 0.3 and 0.6, in steps of a 256th, which products with small whole numbers leave exact."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(77, 154, (count, 3, side, side), generator=rng) / 256
