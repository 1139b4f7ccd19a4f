"""The generator of the ESRGAN-Pytorch notebook: RRDBNet with one convolution shared by both upsampling steps.

Attribute names are those of its published weights. Its files load as an RRDBNet (weights.dialects); this class is for
training the network as published.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from tessera.generators.esrgan_pytorch.declaration import ESRGANPytorchConfig
from tessera.generators.rrdbnet.declaration import SLOPE
from tessera.generators.rrdbnet.network import RRDB


class ESRGANPytorch(nn.Module):
    """RRDBNet whose two upsampling steps share their convolution.

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
        """Upscale a batch of pictures."""
        first = self.conv1(x)
        feat: Tensor = first + self.conv2(self.trunk(first))
        for _ in range(2):
            feat = self.upsampling(F.interpolate(feat, scale_factor=2, mode="nearest"))
        return self.conv4(self.conv3(feat))
