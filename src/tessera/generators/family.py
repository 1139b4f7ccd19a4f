"""The family: which networks there are, each by its configuration alone.

Nothing here needs PyTorch: what a network reaches, costs and divides by follows from its configuration. `build` imports
the network, which lies in a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from tessera.generators.config import Blocks, Conv, Enlarge, Features, GeneratorConfig, Step, Unshuffle, rrdb_steps

if TYPE_CHECKING:
    from tessera.generators.esrdnet import ESRDnet
    from tessera.generators.esrgan_pytorch import ESRGANPytorch
    from tessera.generators.pytorch_gan import GeneratorRRDB
    from tessera.generators.rrdbnet import RRDBNet
    from tessera.generators.srvgg import SRVGGNetCompact

SLOPE = 0.2
"""Of RRDBNet's leaky ReLUs."""
RESIDUAL = 0.2
"""How much of what RRDBNet's blocks find is added to what they were given (residual scaling; ESRGAN, section 3.1)."""
PYTORCH_GAN_RESIDUAL = 0.2
"""The same of PyTorch-GAN's blocks."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""What PyTorch-GAN takes from colors, and divides them by (Simonyan and Zisserman 2015)."""

# scale -> (unshuffle, stages) as BasicSR builds them; 3 and 8 as files of the original architecture have them.
LAYOUTS: dict[int, tuple[int, tuple[int, ...]]] = {
    1: (4, (2, 2)),
    2: (2, (2, 2)),
    3: (1, (3,)),
    4: (1, (2, 2)),
    8: (1, (2, 2, 2)),
}

Activation = Literal["prelu", "relu", "leakyrelu"]


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError(f"a kernel of {kernel} would shift the picture by half a pixel: give an odd size")
    return kernel


OddKernel = Annotated[int, Field(ge=1, le=15), AfterValidator(_odd)]
Factor = Annotated[float, Field(ge=0, le=1)]


class RRDBNetConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Which RRDBNet.

    Given only a `scale`, the layout is BasicSR's: two x2 stages, after a pixel unshuffle for scales 1 and 2. Files of
    the original architecture have as many stages as they need and no unshuffle: give `unshuffle=1` and `stages`.
    """

    network: Literal["rrdbnet"] = "rrdbnet"
    features: Features = 64
    blocks: Blocks = 23
    growth: Features = 32
    unshuffle: Annotated[int, Field(ge=1, le=4)] = 1
    stages: Annotated[tuple[Annotated[int, Field(ge=2, le=3)], ...], Field(max_length=4)] = (2, 2)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_layout(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if isinstance(values.get("stages"), list):  # as JSON has it
            values = {**values, "stages": tuple(values["stages"])}
        if "unshuffle" not in values and "stages" not in values:
            layout = LAYOUTS.get(values.get("scale", 4))
            if layout is None:
                raise ValueError(f"scale {values.get('scale')} has no usual layout: give `unshuffle` and `stages`")
            return {**values, "unshuffle": layout[0], "stages": layout[1]}
        return values

    @model_validator(mode="after")
    def _agree(self) -> RRDBNetConfig:
        if prod(self.stages) != self.scale * self.unshuffle:
            raise ValueError(
                f"stages {self.stages} after an unshuffle by {self.unshuffle} do not make a scale of {self.scale}"
            )
        return self

    @property
    def multiple(self) -> int:
        """Height and width of the input must divide by the unshuffle factor."""
        return self.unshuffle

    def steps(self) -> Iterator[Step]:
        """Yield the layers from input to output."""
        if self.unshuffle > 1:
            yield Unshuffle(self.unshuffle)
        yield Conv(self.in_channels * self.unshuffle**2, self.features)
        yield from rrdb_steps(self.features, self.growth, self.blocks)
        yield Conv(self.features, self.features)
        for stage in self.stages:
            yield Enlarge(stage)
            yield Conv(self.features, self.features)
        yield Conv(self.features, self.features)
        yield Conv(self.features, self.out_channels)

    def build(self) -> RRDBNet:
        """Make the network with fresh weights."""
        from tessera.generators.rrdbnet import RRDBNet

        return RRDBNet(self)


class SRVGGNetCompactConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Which SRVGGNetCompact: how wide, how many inner convolutions, which activation."""

    network: Literal["srvggnetcompact"] = "srvggnetcompact"
    features: Features = 64
    convolutions: Blocks = 16
    activation: Activation = "prelu"

    @model_validator(mode="after")
    def _agree(self) -> SRVGGNetCompactConfig:
        if self.out_channels != self.in_channels and self.in_channels != 1:
            raise ValueError("the input is added to the output, so both need the same number of channels")
        return self

    def steps(self) -> Iterator[Step]:
        """Yield the layers from input to output."""
        yield Conv(self.in_channels, self.features)
        for _ in range(self.convolutions):
            yield Conv(self.features, self.features)
        yield Conv(self.features, self.out_channels * self.scale**2)
        yield Enlarge(self.scale)

    def build(self) -> SRVGGNetCompact:
        """Make the network with fresh weights."""
        from tessera.generators.srvgg import SRVGGNetCompact

        return SRVGGNetCompact(self)


class ESRDnetConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Which ESRDnet: widths, kernels, slope of the leaky ReLUs and how much of each residual is added."""

    network: Literal["esrdnet"] = "esrdnet"
    scale: Literal[1, 2, 4, 8] = 4
    features: Features = 64
    blocks: Blocks = 23
    growth: Features = 32
    lff_kernel: OddKernel = 3
    hr_kernel: OddKernel = 3
    slope: Factor = 0.2
    rdb_residual: Factor = 0.2
    rrdb_residual: Factor = 0.2

    @property
    def doublings(self) -> int:
        """How many x2 stages make the scale."""
        return self.scale.bit_length() - 1

    def steps(self) -> Iterator[Step]:
        """Yield the layers from input to output."""
        yield Conv(self.in_channels, self.features)
        yield from rrdb_steps(self.features, self.growth, self.blocks, self.lff_kernel)
        yield Conv(self.features, self.features)
        for _ in range(self.doublings):
            yield Enlarge(2)
            yield Conv(self.features, self.features)
        yield Conv(self.features, self.features, self.hr_kernel)
        yield Conv(self.features, self.out_channels, self.hr_kernel)

    def build(self) -> ESRDnet:
        """Make the network with fresh weights."""
        from tessera.generators.esrdnet import ESRDnet

        return ESRDnet(self)


class ESRGANPytorchConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Which ESRGAN-Pytorch generator; it is always x4."""

    network: Literal["esrgan-pytorch"] = "esrgan-pytorch"
    scale: Literal[4] = 4
    features: Features = 64
    blocks: Blocks = 23
    growth: Features = 32

    def steps(self) -> Iterator[Step]:
        """Yield the layers from input to output; the shared convolution is run, so counted, twice."""
        yield Conv(self.in_channels, self.features)
        yield from rrdb_steps(self.features, self.growth, self.blocks)
        yield Conv(self.features, self.features)
        for _ in range(2):
            yield Enlarge(2)
            yield Conv(self.features, self.features)
        yield Conv(self.features, self.features)
        yield Conv(self.features, self.out_channels)

    def build(self) -> ESRGANPytorch:
        """Make the network with fresh weights."""
        from tessera.generators.esrgan_pytorch import ESRGANPytorch

        return ESRGANPytorch(self)


class PyTorchGANConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Which GeneratorRRDB; `imagenet_space` says that the layers see ImageNet-normalized colors."""

    network: Literal["pytorch-gan"] = "pytorch-gan"
    scale: Literal[1, 2, 4, 8] = 4
    features: Features = 64
    blocks: Blocks = 23
    imagenet_space: bool = True

    @model_validator(mode="before")
    @classmethod
    def _only_color_has_imagenet_statistics(cls, values: Any) -> Any:
        if isinstance(values, dict) and "imagenet_space" not in values:
            color = values.get("in_channels", 3) == 3 and values.get("out_channels", 3) == 3
            return {**values, "imagenet_space": color}
        return values

    @model_validator(mode="after")
    def _agree(self) -> PyTorchGANConfig:
        if self.imagenet_space and (self.in_channels, self.out_channels) != (3, 3):
            raise ValueError("ImageNet's mean and deviation are known for three channels only")
        return self

    @property
    def doublings(self) -> int:
        """How many x2 stages make the scale."""
        return self.scale.bit_length() - 1

    def steps(self) -> Iterator[Step]:
        """Yield the layers from input to output."""
        yield Conv(self.in_channels, self.features)
        yield from rrdb_steps(self.features, self.features, self.blocks)
        yield Conv(self.features, self.features)
        for _ in range(self.doublings):
            yield Conv(self.features, 4 * self.features)
            yield Enlarge(2)
        yield Conv(self.features, self.features)
        yield Conv(self.features, self.out_channels)

    def build(self) -> GeneratorRRDB:
        """Make the network with fresh weights."""
        from tessera.generators.pytorch_gan import GeneratorRRDB

        return GeneratorRRDB(self)
