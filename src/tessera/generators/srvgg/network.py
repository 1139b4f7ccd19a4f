"""SRVGGNetCompact, the small generator of Real-ESRGAN (realesr-general-x4v3, realesr-animevideov3).

Attribute names are those of the published weights.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, s the scale.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from tessera.generators.srvgg.declaration import SLOPES, SRVGGNetCompactConfig


def _activation(config: SRVGGNetCompactConfig) -> nn.Module:
    match config.activation:
        case "prelu":
            return nn.PReLU(config.features)
        case "relu":
            return nn.ReLU()
        case "leakyrelu":
            return nn.LeakyReLU(SLOPES["leakyrelu"])


class SRVGGNetCompact(nn.Module):
    """A chain of convolutions at low resolution, one pixel shuffle, added to the nearest-neighbor upsampling.

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
        """Upscale a batch of pictures."""
        feat = x
        for layer in self.body:
            feat = layer(feat)
        return F.pixel_shuffle(feat, self.config.scale) + F.interpolate(
            x, scale_factor=self.config.scale, mode="nearest"
        )
