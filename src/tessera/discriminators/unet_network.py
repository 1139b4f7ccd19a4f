"""Network of UNetConfig; its declaration is in `unet`.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from tessera.discriminators.config import SLOPE
from tessera.discriminators.inputs import check_batch, crop_to, pad_to_multiple
from tessera.discriminators.spectral_norm import SpectralConv2d
from tessera.discriminators.unet import UNetConfig


class UNetDiscriminator(nn.Module):
    """Three downsampling and three upsampling steps with added skip connections, spectral norm except at both ends.

    (B, C, H, W), RGB in [0, 1] -> ((B, 1, H, W),), logits. Sides that are not multiples of 8 are padded at the right
    and bottom (by reflection, or repetition if they are too short) and the logits cropped. Raises UsageError for
    anything but a batch of such pictures.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width = config.features
        self.config = config

        def halve(inputs: int) -> SpectralConv2d:
            return SpectralConv2d(inputs, 2 * inputs, 4, stride=2, padding=1)

        def conv_same(inputs: int, outputs: int) -> SpectralConv2d:
            return SpectralConv2d(inputs, outputs, 3, padding=1)

        self.conv0 = nn.Conv2d(config.in_channels, width, 3, padding=1)
        self.conv1 = halve(width)
        self.conv2 = halve(2 * width)
        self.conv3 = halve(4 * width)
        self.conv4 = conv_same(8 * width, 4 * width)
        self.conv5 = conv_same(4 * width, 2 * width)
        self.conv6 = conv_same(2 * width, width)
        self.conv7 = conv_same(width, width)
        self.conv8 = conv_same(width, width)
        self.conv9 = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute logits for each pixel of a batch of pictures."""
        check_batch(x, self.config)
        x0 = F.leaky_relu(self.conv0(pad_to_multiple(x, self.config.multiple)), SLOPE)
        x1 = F.leaky_relu(self.conv1(x0), SLOPE)
        x2 = F.leaky_relu(self.conv2(x1), SLOPE)
        feat = F.leaky_relu(self.conv3(x2), SLOPE)
        for conv, skip in ((self.conv4, x2), (self.conv5, x1), (self.conv6, x0)):
            feat = F.interpolate(feat, scale_factor=2, mode="bilinear", align_corners=False)
            feat = F.leaky_relu(conv(feat), SLOPE)
            if self.config.skip_connections:
                feat = feat + skip
        feat = F.leaky_relu(self.conv7(feat), SLOPE)
        feat = F.leaky_relu(self.conv8(feat), SLOPE)
        return (crop_to(self.conv9(feat), x.shape[-2:]),)
