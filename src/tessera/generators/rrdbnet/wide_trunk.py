"""RRDBNet in bf16 with its trunk in fp32: sums across blocks stay precise, products are bf16.

Each residual is small against the trunk, and bf16 has 8 bits: rounding after each of 69 sums loses much of it. With
the trunk and the last convolution in fp32, the squared error on photographs falls by a third (1.8 dB), for 6 % more
time.

Shapes: B tiles, C channels, F features, h and w the tile, s the scale.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.generators.rrdbnet.declaration import RESIDUAL, SLOPE
from tessera.generators.rrdbnet.network import RRDB, ResidualDenseBlock, RRDBNet


class WideTrunk(nn.Module):
    """Wrapper that runs a bf16 network with its trunk and its last convolution in fp32."""

    def __init__(self, network: RRDBNet) -> None:
        super().__init__()
        self.network = network
        network.conv_last.to(torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale a batch: (B, C, h, w) -> (B, C, s*h, s*w) fp32."""
        return run_with_wide_trunk(self.network, x)


def run_with_wide_trunk(network: RRDBNet, x: Tensor) -> Tensor:
    """Run a network whose convolutions are in bf16, the last one in fp32: (B, C, h, w) -> (B, C, s*h, s*w) fp32.

    With all weights of one type, the arithmetic is the network's own.
    """
    products, last = network.conv_first.weight.dtype, network.conv_last.weight.dtype
    first = network.extract_shallow(x.to(products)).to(last)
    trunk = first
    for block in network.body:
        assert isinstance(block, RRDB)
        before = trunk
        for dense in (block.rdb1, block.rdb2, block.rdb3):
            trunk = trunk + RESIDUAL * _run_dense_block(dense, trunk.to(products)).to(last)
        trunk = block.add_residual(trunk, before)
    feat: Tensor = (first + network.conv_body(trunk.to(products)).to(last)).to(products)
    for number, stage in enumerate(network.config.stages, start=1):
        feat = F.interpolate(feat, scale_factor=stage, mode="nearest")
        feat = F.leaky_relu(network.get_submodule(f"conv_up{number}")(feat), SLOPE)
    return network.conv_last(F.leaky_relu(network.conv_hr(feat), SLOPE).to(last))


def _run_dense_block(dense: ResidualDenseBlock, x: Tensor) -> Tensor:
    """Run the five convolutions of a dense block without its residual: (B, F, h, w) -> (B, F, h, w)."""
    seen = x
    for conv in (dense.conv1, dense.conv2, dense.conv3, dense.conv4):
        seen = torch.cat((seen, F.leaky_relu(conv(seen), SLOPE)), 1)
    return dense.conv5(seen)
