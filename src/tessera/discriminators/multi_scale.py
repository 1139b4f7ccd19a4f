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

from tessera.discriminators.attention_unet import AttentionMaps, AttentionUNet, AttentionUNetConfig
from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.declaration import Discriminator, own_names
from tessera.discriminators.inputs import check_batch, crop_to, pad_to_multiple
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

    (B, C, H, W), RGB in [0, 1] -> ((B, 1, H, W), (B, 1, ceil(H/2), ceil(W/2)), ...), n maps of logits, full size first.
    Sides that are not multiples of 8 * 2^(n-1) are padded at the right and bottom (by reflection, or repetition if they
    are too short) and the logits cropped. Raises UsageError for anything but a batch of such pictures.
    """

    def __init__(self, config: MultiScaleConfig) -> None:
        super().__init__()
        self.config = config
        for number in range(config.scales):
            self.add_module(f"layer{number}", config.single.build())

    def _iterate_levels(self, x: Tensor) -> Iterator[tuple[int, AttentionUNet, Tensor]]:
        """Yield the downsampling factor, the network for that scale, and the picture at that scale."""
        check_batch(x, self.config)
        x = pad_to_multiple(x, self.config.multiple)
        for level in range(self.config.scales):
            if level:
                x = F.avg_pool2d(x, 4, stride=2, padding=1, count_include_pad=True)
            network = self.get_submodule(f"layer{self.config.scales - 1 - level}")
            assert isinstance(network, AttentionUNet)
            yield 1 << level, network, x

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute logits for each pixel of a batch of pictures, at every scale."""
        return tuple(
            crop_to(network(small)[0], x.shape[-2:], divisor) for divisor, network, small in self._iterate_levels(x)
        )

    def compute_attention(self, x: Tensor) -> tuple[AttentionMaps, ...]:
        """Compute the attention maps at every scale, in the order of the logits.

        (B, C, H, W), RGB in [0, 1] -> see AttentionMaps, whose sides are 1, 2, 4 ... times smaller. Set the network to
        eval mode first: in training mode this run updates the estimates of the spectral norms.
        """
        found: list[AttentionMaps] = []
        for divisor, network, small in self._iterate_levels(x):
            (maps,) = network.compute_attention(small)
            cropped = (crop_to(a, x.shape[-2:], divisor * inner) for a, inner in zip(maps, (4, 2, 1), strict=True))
            found.append(AttentionMaps(*cropped))
        return tuple(found)


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
