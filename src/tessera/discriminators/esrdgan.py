"""VGG128Discriminator, the discriminator of esrdgan: VGG-style with a choice of kernel and normalization.

Attribute names are those of its weights. Its own weights expect BGR; they are converted when a file is read, so that
the network takes RGB like all others.

Shapes: B pictures in a batch, C channels, F features.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tessera.discriminators.config import DiscriminatorConfig, Features, InitScale
from tessera.discriminators.declaration import Discriminator, compute_map_side, own_names
from tessera.generators.dialect import Dialect, ScaleHint, Shapes, convolution_shape

WIDTHS = (1, 2, 4, 8, 8)
HALVED = 1 << len(WIDTHS)
HIDDEN = 100


class ESRDGANConfig(DiscriminatorConfig, frozen=True, extra="forbid"):
    """Configuration of a VGG128Discriminator; `kernel` is that of the convolutions with stride 1.

    Published for pictures of 128 pixels a side; its last layers depend on the size. Initial weights are Kaiming's times
    `init_scale`.
    """

    network_class: ClassVar[str] = "tessera.discriminators.esrdgan_network:ESRDGANDiscriminator"

    network: Literal["esrdgan"] = "esrdgan"
    input_size: Annotated[int, Field(ge=HALVED, le=1024, multiple_of=HALVED)] = 128
    features: Features = 96
    kernel: Literal[3, 5] = 3
    norm: Literal["batch", "instance", "none"] = "batch"
    activation: Literal["leakyrelu", "relu"] = "leakyrelu"
    init_scale: InitScale = 1.0

    @property
    def required_side(self) -> int:
        """The required height and width."""
        return self.input_size


def _infer(shapes: Shapes, hint: ScaleHint) -> DiscriminatorConfig:
    del hint
    features, inputs, kernel = convolution_shape(shapes, "features.0.strideddownconv.0.weight")
    if "features.0.strideddownconv.3.running_mean" in shapes:
        norm = "batch"
    else:  # the other two have no tensors, but instance normalization has an index in the sequence
        norm = "instance" if "features.1.strideddownconv.3.weight" in shapes else "none"
    side = compute_map_side(shapes, "classifier.0.weight", features * WIDTHS[-1])
    return ESRDGANConfig.model_validate(
        {
            "in_channels": inputs,
            "features": features,
            "kernel": kernel,
            "norm": norm,
            "input_size": side << len(WIDTHS),
        }
    )


def _notes(config: DiscriminatorConfig) -> tuple[str, ...]:
    del config
    return ("Its activation has no weights and cannot be inferred; assuming leaky ReLU.",)


ESRDGAN = Discriminator(
    name="esrdgan",
    config=ESRDGANConfig,
    dialects=(
        Dialect(
            name="esrdgan",
            description="a discriminator of esrdgan",
            marks=("features.0.strideddownconv.0.weight", "classifier.0.weight"),
            infer=_infer,
            names=own_names,
            bgr=True,
            notes=_notes,
        ),
    ),
    summary="VGG128Discriminator of esrdgan, with a choice of kernel and normalization",
)
