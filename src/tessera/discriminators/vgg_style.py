"""The VGG-style discriminator of SRGAN and ESRGAN, as in BasicSR.

Attribute names are those of BasicSR's weights. ESRGAN-Pytorch has the same network under other names, and the files of
ESRGAN's first training code have a bias in every convolution.

Shapes: B pictures in a batch, C channels, S the required side of a picture, F features.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.declaration import Discriminator, compute_map_side, own_names
from tessera.generators.dialect import Dialect, ScaleHint, Shapes, convolution_shape, count_numbers

WIDTHS = (1, 2, 4, 8, 8, 8)
SMALLEST_MAP = 4
HIDDEN = 100


class VGGStyleConfig(DiscriminatorConfig, frozen=True, extra="forbid"):
    """Configuration of a VGG-style discriminator; `biases` selects whether all convolutions or only the first have one.

    Published for pictures of 128 and 256 pixels a side. Other sizes are halved at most 6 times, as long as the maps
    have integer sides of 4 pixels or more; the last layers then depend on that size.
    """

    network_class: ClassVar[str] = "tessera.discriminators.vgg_style_network:VGGStyleDiscriminator"

    network: Literal["vgg-style"] = "vgg-style"
    input_size: Annotated[int, Field(ge=8, le=1024)] = 128
    biases: Literal["first", "all"] = "first"

    @model_validator(mode="after")
    def _check_size(self) -> "VGGStyleConfig":
        if self.input_size % 2:
            raise ValueError(f"an input_size of {self.input_size} cannot be halved: give an even one")
        return self

    @property
    def levels(self) -> int:
        """Number of times the sides are halved.

        >>> [VGGStyleConfig(input_size=size).levels for size in (32, 96, 128, 256)]
        [3, 4, 5, 6]
        """
        size, levels = self.input_size, 0
        while size % 2 == 0 and size // 2 >= SMALLEST_MAP and levels < len(WIDTHS):
            size, levels = size // 2, levels + 1
        return levels

    @property
    def required_side(self) -> int:
        """The required height and width."""
        return self.input_size


def _build_config(shapes: Shapes, first: str, last: str, levels: int, *, biases: bool) -> DiscriminatorConfig:
    features, inputs, _ = convolution_shape(shapes, first)
    levels = min(levels, len(WIDTHS))
    side = compute_map_side(shapes, last, features * WIDTHS[levels - 1]) if levels else 0
    return VGGStyleConfig.model_validate(
        {
            "in_channels": inputs,
            "features": features,
            "input_size": side << levels,
            "biases": "all" if biases else "first",
        }
    )


def _infer(shapes: Shapes, hint: ScaleHint) -> DiscriminatorConfig:
    del hint
    levels = count_numbers(shapes, r"conv(\d+)_0\.")
    return _build_config(shapes, "conv0_0.weight", "linear1.weight", levels, biases="conv0_1.bias" in shapes)


def _infer_sequential(shapes: Shapes, hint: ScaleHint) -> DiscriminatorConfig:
    del hint
    norms = count_numbers(shapes, r"features\.(\d+)\.running_mean")
    biases = "features.2.bias" in shapes
    return _build_config(shapes, "features.0.weight", "classifier.0.weight", (norms + 1) // 2, biases=biases)


def _list_sequential_names(config: DiscriminatorConfig) -> Mapping[str, str]:
    """The names in one `nn.Sequential`, where activations also have an index."""
    assert isinstance(config, VGGStyleConfig)
    modules = {"conv0_0": "features.0", "linear1": "classifier.0", "linear2": "classifier.2"}
    index = 2
    for level in range(config.levels):
        for half in (0, 1) if level else (1,):
            modules[f"conv{level}_{half}"] = f"features.{index}"
            modules[f"bn{level}_{half}"] = f"features.{index + 1}"
            index += 3
    own = own_names(config)
    return {name: f"{modules[module]}.{kind}" for name in own for module, kind in [name.split(".")]}


VGG_STYLE = Discriminator(
    name="vgg-style",
    config=VGGStyleConfig,
    dialects=(
        Dialect(
            name="basicsr",
            description="a VGG-style discriminator of BasicSR",
            marks=("conv0_0.weight", "linear1.weight"),
            infer=_infer,
            names=own_names,
        ),
        Dialect(
            name="esrgan-old",
            description="a VGG-style discriminator of ESRGAN's first training code",
            marks=("features.0.weight", "features.2.bias", "classifier.0.weight", "classifier.2.weight"),
            infer=_infer_sequential,
            names=_list_sequential_names,
        ),
        Dialect(
            name="esrgan-pytorch",
            description="a VGG-style discriminator with the names of ESRGAN-Pytorch",
            marks=("features.0.weight", "classifier.0.weight", "classifier.2.weight"),
            infer=_infer_sequential,
            names=_list_sequential_names,
        ),
    ),
    summary="the VGG-style discriminator of ESRGAN, for one size of picture",
)
