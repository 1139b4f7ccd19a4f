"""Network of AttentionUNetConfig; its declaration is in `attention_unet`.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.discriminators.attention_unet import DIVISORS, LEAST_SIDE, AttentionUNetConfig
from tessera.discriminators.config import SLOPE
from tessera.discriminators.inputs import check_batch, crop_to, pad_to_side
from tessera.discriminators.spectral_norm import SpectralConv2d


class AttentionMaps(NamedTuple):
    """Attention of the three gates of one attention U-Net, from the deepest to the shallowest, in (0, 1).

    a1: (B, 1, ceil(H/4), ceil(W/4)), a2: (B, 1, ceil(H/2), ceil(W/2)), a3: (B, 1, H, W)
    """

    a1: Tensor
    a2: Tensor
    a3: Tensor


class AttentionGate(nn.Module):
    """Weights a skip connection by attention computed from a deeper signal (A-ESRGAN's `add_attn`).

    (B, C, H, W) and its attention -> (B, C, H, W); the attention comes from the signal (B, G, h, w).
    """

    def __init__(self, channels: int, signal_channels: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, channels, 2, stride=2, bias=False)
        self.phi = nn.Conv2d(signal_channels, channels, 1)
        self.psi = nn.Conv2d(channels, 1, 1)
        self.W = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))

    def compute_attention(self, x: Tensor, signal: Tensor) -> Tensor:
        """Compute the attention of each pixel: (B, 1, H, W) in (0, 1)."""
        theta = self.theta(x)
        phi = F.interpolate(self.phi(signal), size=theta.shape[-2:], mode="bilinear", align_corners=False)
        small = torch.sigmoid(self.psi(F.relu(theta + phi)))
        return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)

    def forward(self, x: Tensor, attention: Tensor) -> Tensor:
        """Multiply the skip connection by its attention (B, 1, H, W), convolve, normalize."""
        return self.W(attention * x)


class DoublingJoin(nn.Module):
    """Upsamples the deeper features by 2, crops them to the gated skip connection and concatenates both.

    (B, C, H, W) and (B, I, ceil(H/2), ceil(W/2)) -> (B, C + O, H, W)
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convU = SpectralConv2d(inputs, outputs, 3, padding=1)

    def forward(self, gated: Tensor, below: Tensor) -> Tensor:
        """Upsample, crop, convolve, concatenate."""
        doubled = F.interpolate(below, scale_factor=2, mode="bilinear", align_corners=False)
        doubled = crop_to(doubled, gated.shape[-2:])
        return torch.cat((gated, F.leaky_relu(self.convU(doubled), SLOPE)), 1)


class _EncoderFeatures(NamedTuple):
    """Features of the encoder at full, half, quarter and eighth size, and the attention of the gates."""

    x0: Tensor
    x1: Tensor
    x2: Tensor
    x3: Tensor
    maps: AttentionMaps


class AttentionUNet(nn.Module):
    """A U-Net of three scales below full size, whose skip connections pass through attention gates.

    (B, C, H, W), RGB in [0, 1] -> ((B, 1, H, W),), logits. Pictures of any size; sides of less than 5 pixels, which the
    original does not support, are padded first. Raises UsageError for anything but a batch of such pictures.
    """

    def __init__(self, config: AttentionUNetConfig) -> None:
        super().__init__()
        width = config.features
        self.config = config

        def halve(inputs: int) -> SpectralConv2d:
            return SpectralConv2d(inputs, 2 * inputs, 3, stride=2, padding=1)

        def conv_same(inputs: int, outputs: int) -> SpectralConv2d:
            return SpectralConv2d(inputs, outputs, 3, padding=1)

        self.conv0 = nn.Conv2d(config.in_channels, width, 3, padding=1)
        self.conv1 = halve(width)
        self.conv2 = halve(2 * width)
        self.conv3 = halve(4 * width)
        self.gating = SpectralConv2d(8 * width, 4 * width, 1, padding=1)
        self.attn_1 = AttentionGate(4 * width, 4 * width)
        self.attn_2 = AttentionGate(2 * width, 4 * width)
        self.attn_3 = AttentionGate(width, 4 * width)
        self.cat_1 = DoublingJoin(8 * width, 4 * width)
        self.cat_2 = DoublingJoin(4 * width, 2 * width)
        self.cat_3 = DoublingJoin(2 * width, width)
        self.conv4 = conv_same(8 * width, 4 * width)
        self.conv5 = conv_same(4 * width, 2 * width)
        self.conv6 = conv_same(2 * width, width)
        self.conv7 = conv_same(width, width)
        self.conv8 = conv_same(width, width)
        self.conv9 = nn.Conv2d(width, 1, 3, padding=1)

    def _encode(self, x: Tensor) -> _EncoderFeatures:
        check_batch(x, self.config)
        x0 = F.leaky_relu(self.conv0(pad_to_side(x, LEAST_SIDE)), SLOPE)
        x1 = F.leaky_relu(self.conv1(x0), SLOPE)
        x2 = F.leaky_relu(self.conv2(x1), SLOPE)
        x3 = F.leaky_relu(self.conv3(x2), SLOPE)
        signal = F.leaky_relu(self.gating(x3), SLOPE)
        gates = ((self.attn_1, x2), (self.attn_2, x1), (self.attn_3, x0))
        return _EncoderFeatures(
            x0, x1, x2, x3, AttentionMaps(*(gate.compute_attention(skip, signal) for gate, skip in gates))
        )

    def _decode(self, down: _EncoderFeatures) -> Tensor:
        feat = F.leaky_relu(self.conv4(self.cat_1(self.attn_1(down.x2, down.maps.a1), down.x3)), SLOPE)
        feat = F.leaky_relu(self.conv5(self.cat_2(self.attn_2(down.x1, down.maps.a2), feat)), SLOPE)
        feat = F.leaky_relu(self.conv6(self.cat_3(self.attn_3(down.x0, down.maps.a3), feat)), SLOPE)
        feat = F.leaky_relu(self.conv7(feat), SLOPE)
        feat = F.leaky_relu(self.conv8(feat), SLOPE)
        return self.conv9(feat)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute logits for each pixel of a batch of pictures."""
        return (crop_to(self._decode(self._encode(x)), x.shape[-2:]),)

    def iterate_scales(self, x: Tensor, *, with_logits: bool) -> Iterator[tuple[AttentionMaps, Tensor | None]]:
        """Yield attention maps and logits, if they are wanted, from one pass of the encoder.

        (B, C, H, W), RGB in [0, 1] -> see AttentionMaps and `forward`. Set the network to eval mode first: in training
        mode this run, like every other, updates the estimates of the spectral norms.
        """
        down = self._encode(x)
        size = x.shape[-2:]
        maps = AttentionMaps(*(crop_to(a, size, divisor) for a, divisor in zip(down.maps, DIVISORS, strict=True)))
        yield maps, crop_to(self._decode(down), size) if with_logits else None

    def compute_attention(self, x: Tensor) -> tuple[AttentionMaps, ...]:
        """Compute the attention maps of `forward`, as a tuple of one, as `iterate_scales` does."""
        return tuple(maps for maps, _ in self.iterate_scales(x, with_logits=False))
