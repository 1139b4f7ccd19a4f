"""ESRDnet, the generator of esrdgan: RRDBNet with a choice of kernel sizes.

The last convolution of each dense block ("local feature fusion", LFF) and the two after the upsampling may have other
kernels than 3. With 3 everywhere it is RRDBNet by other names. Published files of it work on BGR; they are turned to
RGB when they are read (weights.dialects), so this class is RGB like every other. Attribute names are the files' own.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, G growth, s the scale.
"""

import torch
from torch import Tensor, nn

from tessera.generators.esrdnet.declaration import ESRDnetConfig


class DenseConv(nn.Module):
    """A convolution that appends its result to its input: (B, C, H, W) -> (B, C + G, H, W)."""

    def __init__(self, inputs: int, growth: int, slope: float) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(inputs, growth, 3, padding=1), nn.LeakyReLU(slope))

    def forward(self, x: Tensor) -> Tensor:
        """Append."""
        return torch.cat((x, self.conv(x)), 1)


class RDB(nn.Module):
    """Four dense convolutions and the fusion: (B, F, H, W) -> (B, F, H, W)."""

    def __init__(self, config: ESRDnetConfig) -> None:
        super().__init__()
        features, growth = config.features, config.growth
        self.residual = config.rdb_residual
        self.conv1 = DenseConv(features, growth, config.slope)
        self.conv2 = DenseConv(features + growth, growth, config.slope)
        self.conv3 = DenseConv(features + 2 * growth, growth, config.slope)
        self.conv4 = DenseConv(features + 3 * growth, growth, config.slope)
        self.LFF = nn.Conv2d(features + 4 * growth, features, config.lff_kernel, padding=config.lff_kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Add a fraction of the block's result to the input."""
        return self.LFF(self.conv4(self.conv3(self.conv2(self.conv1(x))))) * self.residual + x


class RRDB(nn.Module):
    """A residual of three dense blocks: (B, F, H, W) -> (B, F, H, W)."""

    def __init__(self, config: ESRDnetConfig) -> None:
        super().__init__()
        self.residual = config.rrdb_residual
        self.rdbs = nn.Sequential(*(RDB(config) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """Add a fraction of the three blocks' result to the input."""
        return self.rdbs(x) * self.residual + x


class Skip(nn.Module):
    """A chain of layers added to its own input: (B, F, H, W) -> (B, F, H, W)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.module = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Add."""
        return x + self.module(x)


class UpConv(nn.Module):
    """Nearest-neighbor x2 and a convolution: (B, F, H, W) -> (B, F, 2*H, 2*W)."""

    def __init__(self, features: int, slope: float) -> None:
        super().__init__()
        self.upconv = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(features, features, 3, padding=1),
            nn.LeakyReLU(slope),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Upsample."""
        return self.upconv(x)


class ESRDnet(nn.Module):
    """Dense trunk, upsampling, two convolutions: (B, C, H, W) -> (B, C, s*H, s*W), RGB in [0, 1], not clipped."""

    def __init__(self, config: ESRDnetConfig) -> None:
        super().__init__()
        features, kernel = config.features, config.hr_kernel
        self.config = config
        self.model = nn.Sequential(
            nn.Conv2d(config.in_channels, features, 3, padding=1),
            Skip(*(RRDB(config) for _ in range(config.blocks)), nn.Conv2d(features, features, 3, padding=1)),
            *(UpConv(features, config.slope) for _ in range(config.doublings)),
            nn.Conv2d(features, features, kernel, padding=kernel // 2),
            nn.LeakyReLU(config.slope),
            nn.Conv2d(features, config.out_channels, kernel, padding=kernel // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Upscale a batch of pictures."""
        return self.model(x)
