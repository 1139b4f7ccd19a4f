"""The generator of ESRGAN+ (Rakotonirina and Rasoanaivo, 2020): RRDBNet with further residuals in its dense blocks.

In each dense block a 1x1 convolution of the input is added to the second result, and the second result to the fourth.
In training, ESRGAN+ also adds Gaussian noise after each dense block; it is left out here and has no effect afterwards.
The published 1x1 convolutions have no bias, which is a bias of zero here.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, G growth, s the scale.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.generators.esrgan_plus.declaration import RESIDUAL, SLOPE, ESRGANPlusConfig


class PlusDenseBlock(nn.Module):
    """Five dense convolutions with two residuals among them: (B, F, H, W) -> (B, F, H, W)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()

        def conv(earlier: int, out: int) -> nn.Conv2d:
            return nn.Conv2d(features + earlier * growth, out, 3, padding=1)

        self.conv1 = conv(0, growth)
        self.conv2 = conv(1, growth)
        self.conv1x1 = nn.Conv2d(features, growth, 1)
        self.conv3 = conv(2, growth)
        self.conv4 = conv(3, growth)
        self.conv5 = conv(4, features)

    def forward(self, x: Tensor) -> Tensor:
        """Add a fifth of the convolutions' result to the input."""
        x1 = F.leaky_relu(self.conv1(x), SLOPE)
        x2 = F.leaky_relu(self.conv2(torch.cat((x, x1), 1)), SLOPE) + self.conv1x1(x)
        x3 = F.leaky_relu(self.conv3(torch.cat((x, x1, x2), 1)), SLOPE)
        x4 = F.leaky_relu(self.conv4(torch.cat((x, x1, x2, x3), 1)), SLOPE) + x2
        x5 = self.conv5(torch.cat((x, x1, x2, x3, x4), 1))
        return x5 * RESIDUAL + x


class PlusBlock(nn.Module):
    """A residual of three dense blocks: (B, F, H, W) -> (B, F, H, W)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = PlusDenseBlock(features, growth)
        self.rdb2 = PlusDenseBlock(features, growth)
        self.rdb3 = PlusDenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        """Add a fifth of the three blocks' result to the input."""
        return self.rdb3(self.rdb2(self.rdb1(x))) * RESIDUAL + x


class ESRGANPlus(nn.Module):
    """Trunk of dense blocks, then x2 stages: (B, C, H, W) -> (B, C, s*H, s*W), RGB in [0, 1], not clipped."""

    def __init__(self, config: ESRGANPlusConfig) -> None:
        super().__init__()
        features = config.features
        self.config = config
        self.conv_first = nn.Conv2d(config.in_channels, features, 3, padding=1)
        self.body = nn.Sequential(*(PlusBlock(features, config.growth) for _ in range(config.blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        for number in range(1, config.doublings + 1):
            self.add_module(f"conv_up{number}", nn.Conv2d(features, features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, config.out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale a batch of pictures."""
        first = self.conv_first(x)
        feat: Tensor = first + self.conv_body(self.body(first))
        for number in range(1, self.config.doublings + 1):
            feat = F.interpolate(feat, scale_factor=2, mode="nearest")
            feat = F.leaky_relu(self.get_submodule(f"conv_up{number}")(feat), SLOPE)
        return self.conv_last(F.leaky_relu(self.conv_hr(feat), SLOPE))
