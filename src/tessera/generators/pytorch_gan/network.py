"""GeneratorRRDB of PyTorch-GAN's ESRGAN, the network that the ESRGAN blog article walks through.

It differs from RRDBNet: every convolution of a dense block yields F features, slopes are 0.01, and each upsampling is
a pixel shuffle after the activation. It was trained on pictures normalized with ImageNet's mean and deviation; here the
module does that itself, so it takes and gives RGB in [0, 1] like every other. Attribute names are those of its weights.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, s the scale.
"""

import torch
from torch import Tensor, nn

from tessera.generators.pytorch_gan.declaration import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    RESIDUAL,
    SLOPE,
    PyTorchGANConfig,
)


class DenseResidualBlock(nn.Module):
    """Five convolutions of equal width, each reading all before it: (B, F, H, W) -> (B, F, H, W)."""

    def __init__(self, features: int) -> None:
        super().__init__()

        def conv(earlier: int, *after: nn.Module) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d((earlier + 1) * features, features, 3, padding=1), *after)

        self.b1 = conv(0, nn.LeakyReLU(SLOPE))
        self.b2 = conv(1, nn.LeakyReLU(SLOPE))
        self.b3 = conv(2, nn.LeakyReLU(SLOPE))
        self.b4 = conv(3, nn.LeakyReLU(SLOPE))
        self.b5 = conv(4)

    def forward(self, x: Tensor) -> Tensor:
        """Add a fifth of the convolutions' result to the input."""
        seen = x
        for block in (self.b1, self.b2, self.b3, self.b4):
            seen = torch.cat((seen, block(seen)), 1)
        return self.b5(seen) * RESIDUAL + x


class ResidualInResidualDenseBlock(nn.Module):
    """A residual of three dense blocks: (B, F, H, W) -> (B, F, H, W)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.dense_blocks = nn.Sequential(*(DenseResidualBlock(features) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """Add a fifth of the three blocks' result to the input."""
        return self.dense_blocks(x) * RESIDUAL + x


class GeneratorRRDB(nn.Module):
    """Trunk of dense blocks, then pixel shuffles: (B, C, H, W) -> (B, C, s*H, s*W), RGB in [0, 1], not clipped."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: PyTorchGANConfig) -> None:
        super().__init__()
        features = config.features
        self.config = config
        # Named devices, so that they have values even when the network is built without memory (device "meta").
        mean = torch.tensor(IMAGENET_MEAN, device="cpu").reshape(1, 3, 1, 1)
        deviation = torch.tensor(IMAGENET_DEVIATION, device="cpu").reshape(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

        self.conv1 = nn.Conv2d(config.in_channels, features, 3, padding=1)
        self.res_blocks = nn.Sequential(*(ResidualInResidualDenseBlock(features) for _ in range(config.blocks)))
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.upsampling = nn.Sequential()
        for _ in range(config.doublings):
            self.upsampling.extend(
                [nn.Conv2d(features, 4 * features, 3, padding=1), nn.LeakyReLU(SLOPE), nn.PixelShuffle(2)]
            )
        self.conv3 = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(features, config.out_channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Upscale a batch of pictures."""
        if self.config.imagenet_space:
            x = (x - self.mean) / self.deviation
        first = self.conv1(x)
        feat = first + self.conv2(self.res_blocks(first))
        out: Tensor = self.conv3(self.upsampling(feat))
        return out * self.deviation + self.mean if self.config.imagenet_space else out
