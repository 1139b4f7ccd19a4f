"""VGG, AlexNet and SqueezeNet without their classifiers.

Shapes: B pictures, C channels of a map, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tessera.trunks.trunk import IMAGENET, NO_NORMALIZATION, Normalization, Trunk

Widths = tuple[tuple[int, ...], ...]

VGG16_WIDTHS: Widths = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
VGG19_WIDTHS: Widths = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)


def vgg(
    widths: Widths,
    normalization: Normalization = IMAGENET,
    *,
    mixing: bool = False,
    mirrored: bool = False,
    ceil_pools: bool = False,
) -> Trunk:
    """Build VGG with these channels per block: conv1_1, relu1_1, conv1_2, relu1_2, pool1, conv2_1 ... (Simonyan 2014).

    `conv` maps are before the activation. `mirrored` pads by reflection instead of zeros. With `ceil_pools`, a pool
    includes the last row and column of an odd map, as in TensorFlow; otherwise it drops them.
    """
    parts: list[tuple[str, nn.Module]] = []
    inputs = 3
    for block, row in enumerate(widths, 1):
        if block > 1:
            parts.append((f"pool{block - 1}", nn.MaxPool2d(2, ceil_mode=ceil_pools)))
        for number, width in enumerate(row, 1):
            conv = nn.Conv2d(inputs, width, 3, padding=1, padding_mode="reflect" if mirrored else "zeros")
            parts += [(f"conv{block}_{number}", conv), (f"relu{block}_{number}", nn.ReLU())]
            inputs = width
    return Trunk(parts, normalization, mixing=mixing)


DISTILLED_WIDTHS: Widths = ((16,) * 2, (32,) * 2, (64,) * 4, (128,) * 4, (128,))


def build_distilled_vgg19(normalization: Normalization = NO_NORMALIZATION, widths: Widths = DISTILLED_WIDTHS) -> Trunk:
    """Build VGG19 up to relu5_1 with fewer channels, reflection padding, and a 1x1 convolution as normalization.

    Wang et al. 2020, "Collaborative Distillation for Ultra-Resolution Universal Style Transfer". The
    convolution converts RGB in [0, 1] to BGR in 0..255 minus the mean.
    """
    return vgg(widths, normalization, mixing=True, mirrored=True)


def alexnet(normalization: Normalization = IMAGENET) -> Trunk:
    """Build AlexNet as in torchvision: conv1, relu1, pool1, conv2 ... relu5 (Krizhevsky 2014, "one weird trick")."""

    def conv(inputs: int, outputs: int, kernel: int, padding: int, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding)

    convs = (
        conv(3, 64, 11, 2, 4),
        conv(64, 192, 5, 2),
        conv(192, 384, 3, 1),
        conv(384, 256, 3, 1),
        conv(256, 256, 3, 1),
    )
    parts: list[tuple[str, nn.Module]] = []
    for number, each in enumerate(convs, 1):
        parts += [(f"conv{number}", each), (f"relu{number}", nn.ReLU())]
        if number < 3:
            parts.append((f"pool{number}", nn.MaxPool2d(3, stride=2)))
    return Trunk(parts, normalization)


class Fire(nn.Module):
    """A fire module: squeeze to few channels, expand by 1x1 and 3x3 (Iandola 2016, section 3.2).

    (B, C, H, W) -> (B, 2E, H, W)
    """

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze, expand in both ways, and concatenate."""
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat((self.expand1x1(x), self.expand3x3(x)), dim=1))


def squeezenet(normalization: Normalization = IMAGENET) -> Trunk:
    """Build SqueezeNet 1.1 as in torchvision: conv1, relu1, pool1, fire2, fire3, pool3, fire4 ... fire9."""
    parts: list[tuple[str, nn.Module]] = [("conv1", nn.Conv2d(3, 64, 3, stride=2)), ("relu1", nn.ReLU())]
    inputs = 64
    for number, expanded in enumerate((64, 64, 128, 128, 192, 192, 256, 256), 2):
        if number in (2, 4, 6):
            parts.append((f"pool{number - 1}", nn.MaxPool2d(3, stride=2, ceil_mode=True)))
        parts.append((f"fire{number}", Fire(inputs, expanded // 4, expanded)))
        inputs = 2 * expanded
    return Trunk(parts, normalization)
