"""The VGG-style discriminator of SRGAN and ESRGAN, as BasicSR has it.

Attribute names are those of BasicSR's weights. ESRGAN-Pytorch has the same arithmetic under other names, and the files
of ESRGAN's first training code have it with a bias in every convolution.

Shapes: B pictures in a batch, C channels, S the only side that a picture may have, F features.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.discriminators.config import SLOPE, DiscriminatorConfig
from tessera.discriminators.inputs import check_batch

WIDTHS = (1, 2, 4, 8, 8, 8)
SMALLEST_MAP = 4
HIDDEN = 100


class VGGStyleConfig(DiscriminatorConfig, frozen=True, extra="forbid"):
    """Which VGG-style discriminator; `biases` says whether only the first convolution or all of them have one.

    Published for pictures of 128 and 256 pixels a side. For other sizes it halves them as often as whole maps of 4
    pixels or more come out, at most 6 times; its last layers then belong to that size.
    """

    network: Literal["vgg-style"] = "vgg-style"
    input_size: Annotated[int, Field(ge=8, le=1024)] = 128
    biases: Literal["first", "all"] = "first"

    @model_validator(mode="after")
    def _can_be_halved(self) -> "VGGStyleConfig":
        if self.input_size % 2:
            raise ValueError(f"an input_size of {self.input_size} cannot be halved: give an even one")
        return self

    @property
    def levels(self) -> int:
        """How many times the sides are halved.

        >>> [VGGStyleConfig(input_size=size).levels for size in (32, 96, 128, 256)]
        [3, 4, 5, 6]
        """
        size, levels = self.input_size, 0
        while size % 2 == 0 and size // 2 >= SMALLEST_MAP and levels < len(WIDTHS):
            size, levels = size // 2, levels + 1
        return levels

    @property
    def required_side(self) -> int:
        """The one height and width that the network takes."""
        return self.input_size

    def build(self) -> "VGGStyleDiscriminator":
        """Make the network with fresh weights."""
        return VGGStyleDiscriminator(self)


class VGGStyleDiscriminator(nn.Module):
    """Pairs of convolutions, the second of each with stride 2, then two linear layers that give one logit.

    (B, C, S, S), RGB in [0, 1] -> ((B, 1),), logits. Raises UsageError for any other size.
    """

    def __init__(self, config: VGGStyleConfig) -> None:
        super().__init__()
        self.config = config
        everywhere = config.biases == "all"
        inputs = config.in_channels
        for level in range(config.levels):
            outputs = WIDTHS[level] * config.features
            self.add_module(f"conv{level}_0", nn.Conv2d(inputs, outputs, 3, padding=1, bias=everywhere or level == 0))
            if level > 0:
                self.add_module(f"bn{level}_0", nn.BatchNorm2d(outputs))
            self.add_module(f"conv{level}_1", nn.Conv2d(outputs, outputs, 4, stride=2, padding=1, bias=everywhere))
            self.add_module(f"bn{level}_1", nn.BatchNorm2d(outputs))
            inputs = outputs
        self.linear1 = nn.Linear(inputs * (config.input_size >> config.levels) ** 2, HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Judge each picture of a batch as a whole."""
        check_batch(x, self.config)
        for level in range(self.config.levels):
            for half in (0, 1):
                x = self.get_submodule(f"conv{level}_{half}")(x)
                if (level, half) != (0, 0):  # the picture itself is not normalized
                    x = self.get_submodule(f"bn{level}_{half}")(x)
                x = F.leaky_relu(x, SLOPE)
        return (self.linear2(F.leaky_relu(self.linear1(x.flatten(1)), SLOPE)),)
