"""VGG128Discriminator, the discriminator of esrdgan: VGG-style with a choice of kernel and normalization.

Attribute names are those of its weights. Its own weights expect BGR; they are converted when a file is read, so that
the network takes RGB like all others.

Shapes: B pictures in a batch, C channels, F features.
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from tessera.discriminators.config import SLOPE, DiscriminatorConfig, Features, InitScale
from tessera.discriminators.declaration import Discriminator, own_names
from tessera.discriminators.inputs import check_batch, compute_map_side
from tessera.generators.dialect import Dialect, ScaleHint, Shapes, convolution_shape

WIDTHS = (1, 2, 4, 8, 8)
HALVED = 1 << len(WIDTHS)
HIDDEN = 100


class ESRDGANConfig(DiscriminatorConfig, frozen=True, extra="forbid"):
    """Configuration of a VGG128Discriminator; `kernel` is that of the convolutions with stride 1.

    Published for pictures of 128 pixels a side; its last layers depend on the size. Initial weights are Kaiming's times
    `init_scale`.
    """

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

    def build(self) -> "ESRDGANDiscriminator":
        """Build the network with random weights."""
        return ESRDGANDiscriminator(self)


class HalvingBlock(nn.Module):
    """A convolution with stride 1 and one with stride 2: (B, I, H, W) -> (B, O, H/2, W/2)."""

    def __init__(self, inputs: int, outputs: int, config: ESRDGANConfig, *, first: bool) -> None:
        super().__init__()

        def make_activation(*, normalized: bool = True) -> list[nn.Module]:
            norms: dict[str, list[nn.Module]] = {
                "batch": [nn.BatchNorm2d(outputs)],
                "instance": [nn.InstanceNorm2d(outputs)],
                "none": [],
            }
            slope = SLOPE if config.activation == "leakyrelu" else 0.0
            return [*(norms[config.norm] if normalized else []), nn.LeakyReLU(slope)]

        self.strideddownconv = nn.Sequential(
            nn.Conv2d(inputs, outputs, config.kernel, padding=config.kernel // 2),
            *make_activation(normalized=not first),
            nn.Conv2d(outputs, outputs, 4, stride=2, padding=1),
            *make_activation(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply both convolutions."""
        return self.strideddownconv(x)


class ESRDGANDiscriminator(nn.Module):
    """Five downsampling blocks, then two linear layers with one logit.

    (B, C, S, S), RGB in [0, 1] -> ((B, 1),), logits, S the input size. Raises UsageError for any other size.
    """

    def __init__(self, config: ESRDGANConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.in_channels, *(width * config.features for width in WIDTHS)]
        self.features = nn.Sequential(
            *(
                HalvingBlock(inputs, outputs, config, first=number == 0)
                for number, (inputs, outputs) in enumerate(pairwise(widths))
            )
        )
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * (config.input_size // HALVED) ** 2, HIDDEN),
            nn.LeakyReLU(SLOPE if config.activation == "leakyrelu" else 0.0),
            nn.Linear(HIDDEN, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                module.weight.data.mul_(config.init_scale)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute one logit for each picture of a batch."""
        check_batch(x, self.config)
        return (self.classifier(self.features(x).flatten(1)),)


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
