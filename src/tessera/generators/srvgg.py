"""SRVGGNetCompact, the small generator of Real-ESRGAN (realesr-general-x4v3, realesr-animevideov3).

Attribute names are those of the published weights.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, s the scale.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.generators.config import Blocks, Conv, Enlarge, Features, GeneratorConfig, Step

Activation = Literal["prelu", "relu", "leakyrelu"]


class SRVGGNetCompactConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Which SRVGGNetCompact: how wide, how many inner convolutions, which activation."""

    network: Literal["srvggnetcompact"] = "srvggnetcompact"
    features: Features = 64
    convolutions: Blocks = 16
    activation: Activation = "prelu"

    @model_validator(mode="after")
    def _agree(self) -> "SRVGGNetCompactConfig":
        if self.out_channels != self.in_channels and self.in_channels != 1:
            raise ValueError("the input is added to the output, so both need the same number of channels")
        return self

    def steps(self) -> Iterator[Step]:
        """Yield the layers from input to output."""
        yield Conv(self.in_channels, self.features)
        for _ in range(self.convolutions):
            yield Conv(self.features, self.features)
        yield Conv(self.features, self.out_channels * self.scale**2)
        yield Enlarge(self.scale)

    def build(self) -> "SRVGGNetCompact":
        """Make the network with fresh weights."""
        return SRVGGNetCompact(self)


def _activation(config: SRVGGNetCompactConfig) -> nn.Module:
    match config.activation:
        case "prelu":
            return nn.PReLU(config.features)
        case "relu":
            return nn.ReLU()
        case "leakyrelu":
            return nn.LeakyReLU(0.1)


class SRVGGNetCompact(nn.Module):
    """A chain of convolutions at low resolution, one pixel shuffle, added to the nearest-neighbour enlargement.

    (B, C, H, W) -> (B, C, s*H, s*W), RGB in [0, 1], not clipped.
    """

    def __init__(self, config: SRVGGNetCompactConfig) -> None:
        super().__init__()
        features = config.features
        self.config = config
        self.body = nn.ModuleList([nn.Conv2d(config.in_channels, features, 3, padding=1), _activation(config)])
        for _ in range(config.convolutions):
            self.body.extend([nn.Conv2d(features, features, 3, padding=1), _activation(config)])
        self.body.append(nn.Conv2d(features, config.out_channels * config.scale**2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge a batch of pictures."""
        feat = x
        for layer in self.body:
            feat = layer(feat)
        return F.pixel_shuffle(feat, self.config.scale) + F.interpolate(
            x, scale_factor=self.config.scale, mode="nearest"
        )
