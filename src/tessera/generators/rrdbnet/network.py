"""RRDBNet, the generator of ESRGAN, Real-ESRGAN and A-ESRGAN (ESRGAN, section 3.1).

Attribute names are those of BasicSR, which the published weights of Real-ESRGAN have.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, G growth, u the unshuffle factor, s the scale.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.generators.rrdbnet.declaration import RESIDUAL, SLOPE, RRDBNetConfig


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each reading the outputs of all before it (ESRGAN, section 3.1).

    (B, F, H, W) -> (B, F, H, W)
    """

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()

        def conv(earlier: int, out: int) -> nn.Conv2d:
            return nn.Conv2d(features + earlier * growth, out, 3, padding=1)

        self.conv1 = conv(0, growth)
        self.conv2 = conv(1, growth)
        self.conv3 = conv(2, growth)
        self.conv4 = conv(3, growth)
        self.conv5 = conv(4, features)

    def forward(self, x: Tensor) -> Tensor:
        """Add a fifth of the convolutions' result to the input."""
        x1 = F.leaky_relu(self.conv1(x), SLOPE)
        x2 = F.leaky_relu(self.conv2(torch.cat((x, x1), 1)), SLOPE)
        x3 = F.leaky_relu(self.conv3(torch.cat((x, x1, x2), 1)), SLOPE)
        x4 = F.leaky_relu(self.conv4(torch.cat((x, x1, x2, x3), 1)), SLOPE)
        x5 = self.conv5(torch.cat((x, x1, x2, x3, x4), 1))
        return x5 * RESIDUAL + x


class RRDB(nn.Module):
    """A residual of three dense blocks: (B, F, H, W) -> (B, F, H, W)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(features, growth)
        self.rdb2 = ResidualDenseBlock(features, growth)
        self.rdb3 = ResidualDenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        """Add a fifth of the three blocks' result to the input."""
        return self.add_residual(self.rdb3(self.rdb2(self.rdb1(x))), x)

    @staticmethod
    def add_residual(residual: Tensor, x: Tensor) -> Tensor:
        """Add a fifth of the dense blocks' result to the block's input, (B, F, H, W) each."""
        return residual * RESIDUAL + x

    def run_without(self, removed: int, x: Tensor) -> Tensor:
        """Run the block without one of its dense blocks, numbered from 0: (B, F, H, W) -> (B, F, H, W)."""
        residual = x
        for number, part in enumerate((self.rdb1, self.rdb2, self.rdb3)):
            if number != removed:
                residual = part(residual)
        return self.add_residual(residual, x)


class RRDBNet(nn.Module):
    """Trunk of dense blocks at low resolution, then nearest-neighbor upsampling with a convolution after each.

    (B, C, H, W) -> (B, C, s*H, s*W), RGB in [0, 1], not clipped. H and W must divide by u.
    """

    def __init__(self, config: RRDBNetConfig) -> None:
        super().__init__()
        features = config.features
        self.config = config
        self.conv_first = nn.Conv2d(config.in_channels * config.unshuffle**2, features, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(features, config.growth) for _ in range(config.blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        for number in range(1, len(config.stages) + 1):
            self.add_module(f"conv_up{number}", nn.Conv2d(features, features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, config.out_channels, 3, padding=1)

    @property
    def blocks(self) -> list[RRDB]:
        """The blocks of the trunk."""
        return [block for block in self.body if isinstance(block, RRDB)]

    def forward(self, x: Tensor) -> Tensor:
        """Upscale a batch of pictures."""
        return self.reconstruct(self.extract_features(x))

    def extract_features(self, x: Tensor) -> Tensor:
        """Run the trunk with its long skip connection: (B, C, H, W) -> (B, F, H/u, W/u)."""
        shallow = self.extract_shallow(x)
        return self.join_trunk(shallow, self.body(shallow))

    def extract_shallow(self, x: Tensor) -> Tensor:
        """Run the first convolution: (B, C, H, W) -> (B, F, H/u, W/u), the input of the trunk."""
        if self.config.unshuffle > 1:
            x = F.pixel_unshuffle(x, self.config.unshuffle)
        return self.conv_first(x)

    def join_trunk(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """Add the convolved output of the last block to the trunk's input, (B, F, H/u, W/u) each."""
        return shallow + self.conv_body(deep)

    def run_from(self, block: int, shallow: Tensor, features: Tensor) -> Tensor:
        """Run the network from one of its blocks, numbered from 0, on.

        `shallow` is the input of the trunk and `features` that of the block, (B, F, H/u, W/u) -> (B, C, s*H, s*W).
        """
        for each in self.blocks[block:]:
            features = each(features)
        return self.reconstruct(self.join_trunk(shallow, features))

    def reconstruct(self, feat: Tensor) -> Tensor:
        """Upsample features to a picture: (B, F, H/u, W/u) -> (B, C, s*H, s*W)."""
        for number, stage in enumerate(self.config.stages, start=1):
            feat = F.interpolate(feat, scale_factor=stage, mode="nearest")
            feat = F.leaky_relu(self.get_submodule(f"conv_up{number}")(feat), SLOPE)
        return self.conv_last(F.leaky_relu(self.conv_hr(feat), SLOPE))
