"""The generator of the ESRGAN-Pytorch notebook: RRDBNet with one convolution shared by both enlargements.

Attribute names are those of its published weights. Files of it can be used as an RRDBNet (tessera.dialects); this class
is for training it as it was meant.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features.
"""

from collections.abc import Iterator
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from tessera.generators.config import Blocks, Conv, Enlarge, Features, GeneratorConfig, Step, rrdb_steps
from tessera.generators.rrdbnet import RRDB, SLOPE


class ESRGANPytorchConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Which ESRGAN-Pytorch generator; it is always x4."""

    network: Literal["esrgan-pytorch"] = "esrgan-pytorch"
    scale: Literal[4] = 4
    features: Features = 64
    blocks: Blocks = 23
    growth: Features = 32

    def steps(self) -> Iterator[Step]:
        """Yield the layers from input to output; the shared convolution is run, so counted, twice."""
        yield Conv(self.in_channels, self.features)
        yield from rrdb_steps(self.features, self.growth, self.blocks)
        yield Conv(self.features, self.features)
        for _ in range(2):
            yield Enlarge(2)
            yield Conv(self.features, self.features)
        yield Conv(self.features, self.features)
        yield Conv(self.features, self.out_channels)

    def build(self) -> "ESRGANPytorch":
        """Make the network with fresh weights."""
        return ESRGANPytorch(self)


class ESRGANPytorch(nn.Module):
    """RRDBNet whose two enlargements share their convolution.

    (B, C, H, W) -> (B, C, 4*H, 4*W), RGB in [0, 1], not clipped.
    """

    def __init__(self, config: ESRGANPytorchConfig) -> None:
        super().__init__()
        features = config.features
        self.config = config
        self.conv1 = nn.Conv2d(config.in_channels, features, 3, padding=1)
        self.trunk = nn.Sequential(*(RRDB(features, config.growth) for _ in range(config.blocks)))
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.upsampling = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.conv3 = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.conv4 = nn.Conv2d(features, config.out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge a batch of pictures."""
        first = self.conv1(x)
        feat: Tensor = first + self.conv2(self.trunk(first))
        for _ in range(2):
            feat = self.upsampling(F.interpolate(feat, scale_factor=2, mode="nearest"))
        return self.conv4(self.conv3(feat))
