"""The multi-scale discriminator of A-ESRGAN: attention U-Nets for a picture at full size, half size, and so on.

Attribute names are those of its weights. The last layer sees the picture at full size: of two, `layer1` does, and
`layer0` sees it at half size. Pictures are downsampled by the mean of 4x4 pixels with stride 2; at the borders, zeros
are averaged in, which darkens them. This is kept, because the weights were trained with it.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, n scales.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tessera.discriminators.attention_unet import AttentionUNetConfig
from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.declaration import Discriminator, own_names
from tessera.generators.dialect import Dialect, ScaleHint, Shapes, convolution_shape, count_numbers


class MultiScaleConfig(DiscriminatorConfig, frozen=True, extra="forbid"):
    """Configuration of a multi-scale discriminator: the number of scales. For one scale, use attention-unet."""

    network_class: ClassVar[str] = "tessera.discriminators.multi_scale_network:MultiScaleDiscriminator"

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
