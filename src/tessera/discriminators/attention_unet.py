"""The attention U-Net discriminator of A-ESRGAN: a U-Net whose skip connections pass through attention gates.

Attribute names are those of its weights. Details of its code that its paper does not show are kept, because the weights
were trained with them:

- the 1x1 convolution of the gating signal has a padding of 1, so the signal is two pixels larger than its input, with a
  border that stays zero after the activation (there is no bias); the gates resize it to their own size;
- each gate ends in a 1x1 convolution and a batch normalization (`W`).

Encoder and gates take every size, so the maps are the original's at every size. Its decoder fails where a side is not a
multiple of 8, because the upsampled features are then larger than the skip connection; here they are cropped to it.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features.
"""

from typing import ClassVar, Literal

from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.declaration import Discriminator, own_names
from tessera.generators.dialect import Dialect, ScaleHint, Shapes, convolution_shape

LEAST_SIDE = 5
"""Shortest side of the encoder's input: the deepest gate halves a quarter of it, rounded up."""
DIVISORS = (4, 2, 1)
"""Size of the input divided by the size of each map, the deepest first."""


class AttentionUNetConfig(DiscriminatorConfig, frozen=True, extra="forbid"):
    """Configuration of an attention U-Net."""

    network_class: ClassVar[str] = "tessera.discriminators.attention_unet_network:AttentionUNet"

    network: Literal["attention-unet"] = "attention-unet"

    @property
    def multiple(self) -> int:
        """The network downsamples by 2 three times."""
        return 8

    @property
    def attention_scales(self) -> int:
        """Attention gates see the picture at full size only."""
        return 1


def _infer(shapes: Shapes, hint: ScaleHint) -> DiscriminatorConfig:
    del hint
    features, inputs, _ = convolution_shape(shapes, "conv0.weight")
    return AttentionUNetConfig(in_channels=inputs, features=features)


ATTENTION_UNET = Discriminator(
    name="attention-unet",
    config=AttentionUNetConfig,
    dialects=(
        Dialect(
            name="a-esrgan",
            description="the attention U-Net discriminator of A-ESRGAN",
            marks=("conv0.weight", "gating.weight_orig"),
            infer=_infer,
            names=own_names,
        ),
    ),
    summary="the attention U-Net of A-ESRGAN",
)
