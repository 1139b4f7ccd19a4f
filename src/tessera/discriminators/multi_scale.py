"""The multi-scale discriminator of A-ESRGAN: attention U-Nets for a picture at full size, half size, and so on.

Attribute names are those of its weights. The last layer sees the picture at full size: of two, `layer1` does, and
`layer0` sees it at half size. Pictures are downsampled by the mean of 4x4 pixels with stride 2; at the borders, zeros
are averaged in, which darkens them. This is kept, because the weights were trained with it.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, n scales.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.discriminators.attention_unet import (
    DIVISORS,
    LEAST_SIDE,
    AttentionMaps,
    AttentionUNet,
    AttentionUNetConfig,
)
from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.declaration import Discriminator, own_names
from tessera.discriminators.inputs import check_batch, crop_to, pad_to_side
from tessera.generators.dialect import Dialect, ScaleHint, Shapes, convolution_shape, count_numbers


class MultiScaleConfig(DiscriminatorConfig, frozen=True, extra="forbid"):
    """Configuration of a multi-scale discriminator: the number of scales. For one scale, use attention-unet."""

    network: Literal["multi-scale"] = "multi-scale"
    scales: Annotated[int, Field(ge=2, le=4)] = 2

    @property
    def single(self) -> AttentionUNetConfig:
        """The configuration of each of its networks."""
        return AttentionUNetConfig(in_channels=self.in_channels, features=self.features)

    @property
    def multiple(self) -> int:
        """The smallest version of the picture must be a multiple for its network."""
        return self.single.multiple << (self.scales - 1)

    @property
    def attention_scales(self) -> int:
        """Each of its networks has attention gates."""
        return self.scales

    def build(self) -> "MultiScaleDiscriminator":
        """Build the network with random weights."""
        return MultiScaleDiscriminator(self)


class MultiScaleDiscriminator(nn.Module):
    """One attention U-Net for each scale of a picture, with separate weights.

    (B, C, H, W), RGB in [0, 1] -> ((B, 1, H, W), (B, 1, floor(H/2), floor(W/2)), ...), n maps of logits, full size
    first, none smaller than 1x1. Pictures of any size; sides of less than 5 * 2^(n-1) pixels, which the original does
    not support, are padded first. Raises UsageError for anything but a batch of such pictures.
    """

    def __init__(self, config: MultiScaleConfig) -> None:
        super().__init__()
        self.config = config
        for number in range(config.scales):
            self.add_module(f"layer{number}", config.single.build())

    def _iterate_levels(self, x: Tensor) -> Iterator[tuple[AttentionUNet, Tensor, tuple[int, int]]]:
        """Yield the network for each scale, the picture at that scale, and the size (H, W) of its logits."""
        check_batch(x, self.config)
        height, width = x.shape[-2:]
        x = pad_to_side(x, LEAST_SIDE << (self.config.scales - 1))
        for level in range(self.config.scales):
            if level:
                x = F.avg_pool2d(x, 4, stride=2, padding=1, count_include_pad=True)
            network = self.get_submodule(f"layer{self.config.scales - 1 - level}")
            assert isinstance(network, AttentionUNet)
            yield network, x, (max(1, height >> level), max(1, width >> level))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute logits for each pixel of a batch of pictures, at every scale."""
        return tuple(crop_to(network(small)[0], size) for network, small, size in self._iterate_levels(x))

    def iterate_scales(self, x: Tensor, *, with_logits: bool) -> Iterator[tuple[AttentionMaps, Tensor | None]]:
        """Yield attention maps and logits, if they are wanted, of each scale, from one pass of its encoder.

        (B, C, H, W), RGB in [0, 1] -> see AttentionMaps, for pictures of the sizes of the logits. Set the network to
        eval mode first: in training mode this run updates the estimates of the spectral norms.
        """
        for network, small, size in self._iterate_levels(x):
            for maps, logits in network.iterate_scales(small, with_logits=with_logits):
                cropped = AttentionMaps(*(crop_to(a, size, inner) for a, inner in zip(maps, DIVISORS, strict=True)))
                yield cropped, None if logits is None else crop_to(logits, size)

    def compute_attention(self, x: Tensor) -> tuple[AttentionMaps, ...]:
        """Compute the attention maps at every scale, in the order of the logits, as `iterate_scales` does."""
        return tuple(maps for maps, _ in self.iterate_scales(x, with_logits=False))


def _infer(shapes: Shapes, hint: ScaleHint) -> DiscriminatorConfig:
    del hint
    features, inputs, _ = convolution_shape(shapes, "layer0.conv0.weight")
    scales = count_numbers(shapes, r"layer(\d{1,2})\.")
    return MultiScaleConfig(in_channels=inputs, features=features, scales=scales)


MULTI_SCALE = Discriminator(
    name="multi-scale",
    config=MultiScaleConfig,
    dialects=(
        Dialect(
            name="a-esrgan",
            description="the multi-scale discriminator of A-ESRGAN",
            marks=("layer0.conv0.weight",),
            infer=_infer,
            names=own_names,
        ),
    ),
    summary="attention U-Nets of A-ESRGAN at several sizes",
)
