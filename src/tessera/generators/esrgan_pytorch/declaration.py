"""The generator of the ESRGAN-Pytorch notebook: configuration, drawing, the names of its weights, its declaration.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, G growth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from tessera.generators.config import Blocks, Features, GeneratorConfig
from tessera.generators.dialect import Dialect, ScaleHint, Shapes, convolution_shape, count_numbers
from tessera.generators.drawing import Map, Pen
from tessera.generators.generator import Generator, keep_names
from tessera.generators.rrdbnet.declaration import SLOPE, RRDBNetConfig, draw_rrdb_trunk, pair_modules, rrdb_names


class ESRGANPytorchConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Sizes of the ESRGAN-Pytorch generator; it is always x4."""

    network_class: ClassVar[str] = "tessera.generators.esrgan_pytorch.network:ESRGANPytorch"

    network: Literal["esrgan-pytorch"] = "esrgan-pytorch"
    scale: Literal[4] = 4
    features: Features = 64
    blocks: Blocks = 23
    growth: Features = 32

    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        """Draw the trunk, then two upsamplings that share their convolution."""
        features = self.features
        first = pen.conv("conv1", picture, features)
        trunk = draw_rrdb_trunk(pen, "trunk", (features, self.growth), self.blocks, first)
        x = pen.add(pen.conv("conv2", trunk, features), first)
        for _ in range(2):
            x = pen.conv("upsampling.0", pen.nearest(x, 2), features, slope=SLOPE)
        return pen.conv("conv4", pen.conv("conv3.0", x, features, slope=SLOPE), self.out_channels)


def _infer(shapes: Shapes, hint: ScaleHint) -> RRDBNetConfig:
    """Files are read as an RRDBNet whose two upsampling convolutions have the same values."""
    features, inputs, _ = convolution_shape(shapes, "conv1.weight")
    return RRDBNetConfig(
        in_channels=inputs,
        out_channels=convolution_shape(shapes, "conv4.weight")[0],
        features=features,
        blocks=count_numbers(shapes, r"trunk\.(\d+)\."),
        growth=convolution_shape(shapes, "trunk.0.rdb1.conv1.weight")[0],
        unshuffle=1,
        stages=(2, 2),
    )


def _pair_with_rrdbnet(config: RRDBNetConfig) -> Iterator[tuple[str, str]]:
    return pair_modules(
        config,
        first="conv1",
        dense="trunk.{i}.rdb{j}.conv{k}",
        trunk="conv2",
        up="upsampling.0",
        hr="conv3.0",
        last="conv4",
    )


_names_of_rrdbnet = rrdb_names(_pair_with_rrdbnet, plain=True)


def _name_weights(config: Any) -> Mapping[str, str] | None:
    if isinstance(config, ESRGANPytorchConfig):
        return keep_names(config)
    return _names_of_rrdbnet(config) if isinstance(config, RRDBNetConfig) and config.scale == 4 else None


ESRGAN_PYTORCH = Generator(
    name="esrgan-pytorch",
    summary="the generator of ESRGAN-Pytorch, RRDBNet with one shared upsampling convolution",
    config=ESRGANPytorchConfig,
    dialects=(
        Dialect(
            name="esrgan-pytorch",
            description="the generator of ESRGAN-Pytorch",
            marks=("conv1.weight", "trunk.0.rdb1.conv1.weight"),
            pattern=re.compile(r"(conv[124]|conv3\.0|upsampling\.0|trunk\.\d+\.rdb[123]\.conv[1-5])\.(?:weight|bias)$"),
            infer=_infer,
            names=_name_weights,
        ),
    ),
)
