"""RRDBNet: configuration, drawing, the names that programs give its weights, and its declaration.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, G growth, u the unshuffle factor, s the scale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tessera.generators.config import Blocks, Features, GeneratorConfig
from tessera.generators.dialect import (
    Dialect,
    ScaleHint,
    Shapes,
    convolution_shape,
    count_numbers,
    find_highest_number,
)
from tessera.generators.drawing import DenseBlock, Map, Pen, draw_trunk
from tessera.generators.generator import Generator, own_names, rename_modules
from tessera.generators.structure import LayerList

SLOPE = 0.2
"""Of the leaky ReLUs."""
RESIDUAL = 0.2
"""The factor of each residual (residual scaling; ESRGAN, section 3.1)."""

# scale -> (unshuffle, stages) as BasicSR builds them; 3 and 8 as files of the original architecture have them.
LAYOUTS: dict[int, tuple[int, tuple[int, ...]]] = {
    1: (4, (2, 2)),
    2: (2, (2, 2)),
    3: (1, (3,)),
    4: (1, (2, 2)),
    8: (1, (2, 2, 2)),
}


class RRDBNetConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Sizes of an RRDBNet.

    Given only a `scale`, the layout is BasicSR's: two x2 stages, after a pixel unshuffle for scales 1 and 2. Files of
    the original architecture have as many stages as they need and no unshuffle: give `unshuffle=1` and `stages`.
    """

    network_class: ClassVar[str] = "tessera.generators.rrdbnet.network:RRDBNet"

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
    def _compare_stages_with_scale(self) -> RRDBNetConfig:
        if prod(self.stages) != self.scale * self.unshuffle:
            raise ValueError(
                f"stages {self.stages} after an unshuffle by {self.unshuffle} do not make a scale of {self.scale}"
            )
        return self

    @property
    def multiple(self) -> int:
        """Height and width of the input must divide by the unshuffle factor."""
        return self.unshuffle

    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        """Draw the trunk at low resolution, then each upsampling with its convolution."""
        x = pen.unshuffle(picture, self.unshuffle) if self.unshuffle > 1 else picture
        first = pen.conv("conv_first", x, self.features)
        trunk = draw_rrdb_trunk(pen, "body", (self.features, self.growth), self.blocks, first)
        x = pen.add(pen.conv("conv_body", trunk, self.features), first)
        for number, stage in enumerate(self.stages, start=1):
            x = pen.conv(f"conv_up{number}", pen.nearest(x, stage), self.features, slope=SLOPE)
        return pen.conv("conv_last", pen.conv("conv_hr", x, self.features, slope=SLOPE), self.out_channels)


def draw_rrdb_trunk(pen: Pen[Map], prefix: str, widths: tuple[int, int], blocks: int, x: Map) -> Map:
    """Draw the trunk of RRDBNet; `widths` are F and G: (B, F, H, W) -> (B, F, H, W)."""
    block = DenseBlock(*widths, slope=SLOPE, residual=RESIDUAL)

    def names(i: int, j: int) -> list[str]:
        return [f"{prefix}.{i}.rdb{j + 1}.conv{k}" for k in range(1, 6)]

    return draw_trunk(pen, block, names, blocks, x, residual=RESIDUAL)


def infer_from_layers(layers: LayerList) -> RRDBNetConfig:
    """Infer the sizes from the layers without names."""
    convolutions, stages = layers.convolutions, layers.nearest
    unshuffle = max(layers.unshuffles[0], 1) if layers.unshuffles else 1
    inputs, features, _ = convolutions[0]
    return RRDBNetConfig(
        in_channels=inputs // unshuffle**2,
        out_channels=convolutions[-1][1],
        scale=prod(stages) // unshuffle,
        features=features,
        blocks=(len(convolutions) - 4 - len(stages)) // 15,
        growth=convolutions[1][1],
        unshuffle=unshuffle,
        stages=stages,
    )


# ------------------------------------------------------------------------------------------------------- dialects


def rrdb_names(
    style: Callable[[RRDBNetConfig], Iterator[tuple[str, str]]], *, plain: bool = False
) -> Callable[[Any], Mapping[str, str] | None]:
    """Make the `names` of a dialect from pairs of modules; `plain` is for programs that only know x2 stages."""

    def names(config: Any) -> Mapping[str, str] | None:
        if not isinstance(config, RRDBNetConfig):
            return None
        if plain and (config.unshuffle > 1 or any(stage != 2 for stage in config.stages)):
            return None
        return rename_modules(config, list(style(config)))

    return names


def pair_modules(
    config: RRDBNetConfig, *, first: str, dense: str, trunk: str, up: str, hr: str, last: str
) -> Iterator[tuple[str, str]]:
    """Yield (module of RRDBNet, module in the file).

    In `dense`, i is the block, j the dense block from 1 (j0 from 0), k the convolution; in `up`, m is the stage
    from 1, m1 is m + 1 and m3 is 3 * m.
    """
    yield "conv_first", first
    for i in range(config.blocks):
        for j in (1, 2, 3):
            for k in (1, 2, 3, 4, 5):
                yield f"body.{i}.rdb{j}.conv{k}", dense.format(i=i, j=j, j0=j - 1, k=k)
    yield "conv_body", trunk
    for m in range(1, len(config.stages) + 1):
        yield f"conv_up{m}", up.format(m=m, m1=m + 1, m3=3 * m)
    yield "conv_hr", hr
    yield "conv_last", last


def _xinntao_modules(config: RRDBNetConfig) -> Iterator[tuple[str, str]]:
    return pair_modules(
        config,
        first="conv_first",
        dense="RRDB_trunk.{i}.RDB{j}.conv{k}",
        trunk="trunk_conv",
        up="upconv{m}",
        hr="HRconv",
        last="conv_last",
    )


def _original_modules(config: RRDBNetConfig) -> Iterator[tuple[str, str]]:
    stages = len(config.stages)
    return pair_modules(
        config,
        first="model.0",
        dense="model.1.sub.{i}.RDB{j}.conv{k}.0",
        trunk=f"model.1.sub.{config.blocks}",
        up="model.{m3}",
        hr=f"model.{3 * stages + 2}",
        last=f"model.{3 * stages + 4}",
    )


def _infer_config(
    shapes: Shapes, hint: ScaleHint, *, first: str, last: str, dense: str, blocks: int, stages: int
) -> RRDBNetConfig:
    features, inputs, _ = convolution_shape(shapes, first)
    outputs, _, _ = convolution_shape(shapes, last)
    growth, _, _ = convolution_shape(shapes, dense)
    layout, total = (2,) * stages, 2**stages
    if stages == 1 and 3 in (hint.requested, hint.named) and hint.requested != 2:
        layout, total = (3,), 3
    unshuffle = {4: 2, 16: 4}.get(inputs // outputs if outputs and inputs % outputs == 0 else 0, 1)
    if total % unshuffle:
        unshuffle = 1
    return RRDBNetConfig(
        in_channels=inputs // unshuffle**2,
        out_channels=outputs,
        scale=total // unshuffle,
        features=features,
        blocks=blocks,
        growth=growth,
        unshuffle=unshuffle,
        stages=layout,
    )


def _infer_basicsr(shapes: Shapes, hint: ScaleHint) -> RRDBNetConfig:
    return _infer_config(
        shapes,
        hint,
        first="conv_first.weight",
        last="conv_last.weight",
        dense="body.0.rdb1.conv1.weight",
        blocks=count_numbers(shapes, r"body\.(\d+)\."),
        stages=count_numbers(shapes, r"conv_up(\d+)\."),
    )


def _infer_xinntao(shapes: Shapes, hint: ScaleHint) -> RRDBNetConfig:
    return _infer_config(
        shapes,
        hint,
        first="conv_first.weight",
        last="conv_last.weight",
        dense="RRDB_trunk.0.RDB1.conv1.weight",
        blocks=count_numbers(shapes, r"RRDB_trunk\.(\d+)\."),
        stages=count_numbers(shapes, r"upconv(\d+)\."),
    )


def _infer_original(shapes: Shapes, hint: ScaleHint) -> RRDBNetConfig:
    highest = find_highest_number(shapes, r"model\.(\d{1,3})\.weight$")
    return _infer_config(
        shapes,
        hint,
        first="model.0.weight",
        last=f"model.{highest}.weight",
        dense="model.1.sub.0.RDB1.conv1.0.weight",
        blocks=count_numbers(shapes, r"model\.1\.sub\.(\d+)\.RDB"),
        stages=max((highest - 4) // 3, 0),
    )


def note_ambiguous_stage(config: GeneratorConfig) -> tuple[str, ...]:
    """State the guess where one stage can be x2 or x3."""
    if not isinstance(config, RRDBNetConfig) or len(config.stages) != 1:
        return ()
    return (f"One upsampling stage can be x2 or x3, and its weights do not tell; x{config.scale} was assumed.",)


RRDBNET = Generator(
    name="rrdbnet",
    summary="RRDBNet of ESRGAN, Real-ESRGAN and A-ESRGAN",
    config=RRDBNetConfig,
    dialects=(
        Dialect(
            name="basicsr",
            description="RRDBNet with the names of BasicSR and Real-ESRGAN",
            marks=("conv_first.weight", "body.0.rdb1.conv1.weight"),
            pattern=re.compile(r"(conv_(first|body|up\d|hr|last)|body\.\d+\.rdb[123]\.conv[1-5])\.(?:weight|bias)$"),
            infer=_infer_basicsr,
            names=own_names(RRDBNetConfig),
            notes=note_ambiguous_stage,
        ),
        Dialect(
            name="esrgan-new",
            description="RRDBNet with the names of xinntao/ESRGAN",
            marks=("conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight"),
            pattern=re.compile(
                r"(conv_first|trunk_conv|upconv\d|HRconv|conv_last|RRDB_trunk\.\d+\.RDB[123]\.conv[1-5])"
                r"\.(?:weight|bias)$"
            ),
            infer=_infer_xinntao,
            names=rrdb_names(_xinntao_modules),
            notes=note_ambiguous_stage,
        ),
        Dialect(
            name="esrgan-old",
            description="RRDBNet with the names of the original ESRGAN (`model.0`, `model.1.sub`)",
            marks=("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"),
            pattern=re.compile(r"model\.(\d+|1\.sub\.\d+(\.RDB[123]\.conv[1-5]\.0)?)\.(?:weight|bias)$"),
            infer=_infer_original,
            names=rrdb_names(_original_modules),
            notes=note_ambiguous_stage,
        ),
    ),
    from_layers=infer_from_layers,
    bf16_wrapper="tessera.generators.rrdbnet.wide_trunk:WideTrunk",
)
