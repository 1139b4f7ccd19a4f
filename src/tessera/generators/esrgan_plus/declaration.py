"""ESRGAN+: configuration, drawing, the names that files give its weights, and its declaration.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, G growth, s the scale.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, ClassVar, Literal

from tessera.generators.config import Blocks, Features, GeneratorConfig
from tessera.generators.dialect import (
    Dialect,
    ScaleHint,
    Shapes,
    convolution_shape,
    count_numbers,
    find_highest_number,
)
from tessera.generators.drawing import Map, Pen
from tessera.generators.generator import Generator, rename_modules
from tessera.generators.structure import LayerList

SLOPE = 0.2
"""Of the leaky ReLUs."""
RESIDUAL = 0.2
"""The factor of each residual."""


class ESRGANPlusConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Sizes of the generator of ESRGAN+, with x2 stages."""

    network_class: ClassVar[str] = "tessera.generators.esrgan_plus.network:ESRGANPlus"

    network: Literal["esrgan-plus"] = "esrgan-plus"
    scale: Literal[1, 2, 4, 8] = 4
    features: Features = 64
    blocks: Blocks = 23
    growth: Features = 32

    @property
    def doublings(self) -> int:
        """The number of x2 stages."""
        return self.scale.bit_length() - 1

    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        """Draw the trunk at low resolution, then each upsampling with its convolution."""
        first = pen.conv("conv_first", picture, self.features)
        x = first
        for i in range(self.blocks):
            before = x
            for j in (1, 2, 3):
                x = self._draw_dense_block(pen, f"body.{i}.rdb{j}", x)
            x = pen.add(x, before, RESIDUAL)
        x = pen.add(pen.conv("conv_body", x, self.features), first)
        for number in range(1, self.doublings + 1):
            x = pen.conv(f"conv_up{number}", pen.nearest(x, 2), self.features, slope=SLOPE)
        return pen.conv("conv_last", pen.conv("conv_hr", x, self.features, slope=SLOPE), self.out_channels)

    def _draw_dense_block(self, pen: Pen[Map], name: str, x: Map) -> Map:
        def conv(k: int, maps: Sequence[Map]) -> Map:
            joined = maps[0] if len(maps) == 1 else pen.concat(maps)
            return pen.conv(f"{name}.conv{k}", joined, self.growth, slope=SLOPE)

        x1 = conv(1, [x])
        x2 = conv(2, [x, x1])
        x2 = pen.add(pen.conv(f"{name}.conv1x1", x, self.growth, kernel=1), x2)
        x3 = conv(3, [x, x1, x2])
        x4 = pen.add(conv(4, [x, x1, x2, x3]), x2)
        return pen.add(pen.conv(f"{name}.conv5", pen.concat([x, x1, x2, x3, x4]), self.features), x, RESIDUAL)


def infer_from_layers(layers: LayerList) -> ESRGANPlusConfig:
    """Infer the sizes from the layers without names."""
    convolutions = layers.convolutions
    return ESRGANPlusConfig.model_validate(
        {
            "in_channels": convolutions[0][0],
            "out_channels": convolutions[-1][1],
            "scale": prod(layers.nearest),
            "features": convolutions[0][1],
            "blocks": (len(convolutions) - 4 - len(layers.nearest)) // 18,
            "growth": convolutions[1][1],
        }
    )


def _infer_from_names(shapes: Shapes, hint: ScaleHint) -> ESRGANPlusConfig:
    highest = find_highest_number(shapes, r"model\.(\d{1,3})\.weight$")
    features, inputs, _ = convolution_shape(shapes, "model.0.weight")
    outputs, _, _ = convolution_shape(shapes, f"model.{highest}.weight")
    growth, _, _ = convolution_shape(shapes, "model.1.sub.0.RDB1.conv1.0.weight")
    return ESRGANPlusConfig.model_validate(
        {
            "in_channels": inputs,
            "out_channels": outputs,
            "scale": 2 ** max((highest - 4) // 3, 0),
            "features": features,
            "blocks": count_numbers(shapes, r"model\.1\.sub\.(\d+)\.RDB"),
            "growth": growth,
        }
    )


def _name_in_files(config: Any) -> Mapping[str, str] | None:
    if not isinstance(config, ESRGANPlusConfig):
        return None
    stages = config.doublings
    pairs = [("conv_first", "model.0"), ("conv_body", f"model.1.sub.{config.blocks}")]
    for i in range(config.blocks):
        for j in (1, 2, 3):
            pairs += [(f"body.{i}.rdb{j}.conv{k}", f"model.1.sub.{i}.RDB{j}.conv{k}.0") for k in range(1, 6)]
            pairs.append((f"body.{i}.rdb{j}.conv1x1", f"model.1.sub.{i}.RDB{j}.conv1x1"))
    pairs += [(f"conv_up{m}", f"model.{3 * m}") for m in range(1, stages + 1)]
    pairs += [("conv_hr", f"model.{3 * stages + 2}"), ("conv_last", f"model.{3 * stages + 4}")]
    return rename_modules(config, pairs)


ESRGAN_PLUS = Generator(
    name="esrgan-plus",
    summary="ESRGAN+, RRDBNet with further residuals inside its dense blocks",
    config=ESRGANPlusConfig,
    dialects=(
        Dialect(
            name="esrgan-plus",
            description="ESRGAN+ with the names of the original ESRGAN and `conv1x1`",
            marks=("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight", "model.1.sub.0.RDB1.conv1x1.weight"),
            pattern=re.compile(r"model\.(\d+|1\.sub\.\d+(\.RDB[123]\.(conv[1-5]\.0|conv1x1))?)\.(?:weight|bias)$"),
            infer=_infer_from_names,
            names=_name_in_files,
            zeros=re.compile(r"\.conv1x1\.bias$"),
        ),
    ),
    from_layers=infer_from_layers,
)
