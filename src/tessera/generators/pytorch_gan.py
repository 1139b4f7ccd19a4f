"""GeneratorRRDB of PyTorch-GAN's ESRGAN, the network that the ESRGAN blog article walks through.

It differs from RRDBNet: every convolution of a dense block yields F features, slopes are 0.01, and each enlargement is
a pixel shuffle after the activation. It was trained on pictures normalised with ImageNet's mean and deviation; here the
module does that itself, so it takes and gives RGB in [0, 1] like every other. Attribute names are those of its weights.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, s the scale.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from tessera.generators.config import Blocks, Conv, Enlarge, Features, GeneratorConfig, Step, rrdb_steps

RESIDUAL = 0.2
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class PyTorchGANConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Which GeneratorRRDB; `imagenet_space` says that the layers see ImageNet-normalised colours."""

    network: Literal["pytorch-gan"] = "pytorch-gan"
    scale: Literal[1, 2, 4, 8] = 4
    features: Features = 64
    blocks: Blocks = 23
    imagenet_space: bool = True

    @model_validator(mode="before")
    @classmethod
    def _only_colour_has_imagenet_statistics(cls, values: Any) -> Any:
        if isinstance(values, dict) and "imagenet_space" not in values:
            colour = values.get("in_channels", 3) == 3 and values.get("out_channels", 3) == 3
            return {**values, "imagenet_space": colour}
        return values

    @model_validator(mode="after")
    def _agree(self) -> "PyTorchGANConfig":
        if self.imagenet_space and (self.in_channels, self.out_channels) != (3, 3):
            raise ValueError("ImageNet's mean and deviation are known for three channels only")
        return self

    @property
    def doublings(self) -> int:
        """How many x2 stages make the scale."""
        return self.scale.bit_length() - 1

    def steps(self) -> Iterator[Step]:
        """Yield the layers from input to output."""
        yield Conv(self.in_channels, self.features)
        yield from rrdb_steps(self.features, self.features, self.blocks)
        yield Conv(self.features, self.features)
        for _ in range(self.doublings):
            yield Conv(self.features, 4 * self.features)
            yield Enlarge(2)
        yield Conv(self.features, self.features)
        yield Conv(self.features, self.out_channels)

    def build(self) -> "GeneratorRRDB":
        """Make the network with fresh weights."""
        return GeneratorRRDB(self)


class DenseResidualBlock(nn.Module):
    """Five convolutions of equal width, each reading all before it: (B, F, H, W) -> (B, F, H, W)."""

    def __init__(self, features: int) -> None:
        super().__init__()

        def conv(earlier: int, *after: nn.Module) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d((earlier + 1) * features, features, 3, padding=1), *after)

        self.b1 = conv(0, nn.LeakyReLU())
        self.b2 = conv(1, nn.LeakyReLU())
        self.b3 = conv(2, nn.LeakyReLU())
        self.b4 = conv(3, nn.LeakyReLU())
        self.b5 = conv(4)

    def forward(self, x: Tensor) -> Tensor:
        """Add a fifth of what the five convolutions found to the input."""
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
        """Add a fifth of what the three blocks found to the input."""
        return self.dense_blocks(x) * RESIDUAL + x


class GeneratorRRDB(nn.Module):
    """Trunk of dense blocks, then pixel shuffles: (B, C, H, W) -> (B, C, s*H, s*W), RGB in [0, 1], not clipped."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: PyTorchGANConfig) -> None:
        super().__init__()
        features = config.features
        self.config = config
        # Named devices, so that they are numbers even where the network is laid out without memory (device "meta").
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
                [nn.Conv2d(features, 4 * features, 3, padding=1), nn.LeakyReLU(), nn.PixelShuffle(2)]
            )
        self.conv3 = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.LeakyReLU(),
            nn.Conv2d(features, config.out_channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge a batch of pictures."""
        if self.config.imagenet_space:
            x = (x - self.mean) / self.deviation
        first = self.conv1(x)
        feat = first + self.conv2(self.res_blocks(first))
        out: Tensor = self.conv3(self.upsampling(feat))
        return out * self.deviation + self.mean if self.config.imagenet_space else out
