"""UNetDiscriminatorSN, the discriminator of Real-ESRGAN (Real-ESRGAN, section 3.4): one logit per pixel.

Attribute names are those of its weights.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features.
"""

from typing import ClassVar, Literal

from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.declaration import Discriminator, own_names
from tessera.generators.dialect import Dialect, ScaleHint, Shapes, convolution_shape


class UNetConfig(DiscriminatorConfig, frozen=True, extra="forbid"):
    """Configuration of a U-Net, with or without `skip_connections`."""

    network_class: ClassVar[str] = "tessera.discriminators.unet_network:UNetDiscriminator"

    network: Literal["unet"] = "unet"
    skip_connections: bool = True

    @property
    def multiple(self) -> int:
        """The network downsamples by 2 three times."""
        return 8


def _infer(shapes: Shapes, hint: ScaleHint) -> DiscriminatorConfig:
    del hint
    features, inputs, _ = convolution_shape(shapes, "conv0.weight")
    return UNetConfig(in_channels=inputs, features=features)


UNET = Discriminator(
    name="unet",
    config=UNetConfig,
    dialects=(
        Dialect(
            name="basicsr",
            description="the U-Net discriminator of Real-ESRGAN",
            marks=("conv0.weight", "conv1.weight_orig", "conv9.weight"),
            infer=_infer,
            names=own_names,
        ),
    ),
    summary="the U-Net of Real-ESRGAN, one logit per pixel",
)
