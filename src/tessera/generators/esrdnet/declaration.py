"""ESRDnet: configuration, drawing, the names of its weights, and its declaration.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, G growth, s the scale.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from tessera.generators.config import Blocks, Factor, Features, GeneratorConfig, OddKernel
from tessera.generators.dialect import Dialect, ScaleHint, Shapes, convolution_shape, count_numbers
from tessera.generators.drawing import DenseBlock, Map, Pen, draw_trunk
from tessera.generators.generator import Generator, keep_names
from tessera.generators.rrdbnet.declaration import RRDBNetConfig, note_ambiguous_stage, pair_modules, rrdb_names
from tessera.generators.structure import LayerList


class ESRDnetConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Sizes of an ESRDnet: widths, kernels, slope of the leaky ReLUs and factors of the residuals."""

    network_class: ClassVar[str] = "tessera.generators.esrdnet.network:ESRDnet"

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
        """The number of x2 stages."""
        return self.scale.bit_length() - 1

    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        """Draw the dense trunk, then each upsampling with its convolution."""
        features, slope = self.features, self.slope
        block = DenseBlock(features, self.growth, slope, self.rdb_residual, self.lff_kernel)

        def names(i: int, j: int) -> list[str]:
            prefix = f"model.1.module.{i}.rdbs.{j}"
            return [*(f"{prefix}.conv{k}.conv.0" for k in range(1, 5)), f"{prefix}.LFF"]

        first = pen.conv("model.0", picture, features)
        trunk = draw_trunk(pen, block, names, self.blocks, first, residual=self.rrdb_residual)
        x = pen.add(pen.conv(f"model.1.module.{self.blocks}", trunk, features), first)
        for stage in range(self.doublings):
            x = pen.conv(f"model.{2 + stage}.upconv.1", pen.nearest(x, 2), features, slope=slope)
        after, kernel = 2 + self.doublings, self.hr_kernel
        x = pen.conv(f"model.{after}", x, features, kernel=kernel, slope=slope)
        return pen.conv(f"model.{after + 2}", x, self.out_channels, kernel=kernel)


def infer_from_layers(layers: LayerList) -> ESRDnetConfig:
    """Infer the sizes from the layers without names."""
    convolutions = layers.convolutions
    blocks = (len(convolutions) - 4 - len(layers.nearest)) // 15
    # Three dense blocks and one residual block scale their results, unless the factor is 1.
    factors = layers.factors
    inner = factors[0] if blocks > 0 and len(factors) >= 3 * blocks else 1.0
    outer = factors[-1] if blocks > 0 and len(factors) in (blocks, 4 * blocks) else 1.0
    return ESRDnetConfig.model_validate(
        {
            "in_channels": convolutions[0][0],
            "out_channels": convolutions[-1][1],
            "scale": 2 ** len(layers.nearest),
            "features": convolutions[0][1],
            "blocks": blocks,
            "growth": convolutions[1][1],
            "lff_kernel": convolutions[min(5, len(convolutions) - 1)][2],
            "hr_kernel": convolutions[-1][2],
            "slope": layers.slopes[0] if layers.slopes else 1.0,
            "rdb_residual": inner,
            "rrdb_residual": outer,
        }
    )


def _infer_from_names(shapes: Shapes, hint: ScaleHint) -> GeneratorConfig:
    """With 3x3 kernels everywhere it is an RRDBNet under other names."""
    stages = count_numbers(shapes, r"model\.(\d+)\.upconv\.")
    features, inputs, _ = convolution_shape(shapes, "model.0.weight")
    outputs, _, hr_kernel = convolution_shape(shapes, f"model.{4 + stages}.weight")
    growth, _, _ = convolution_shape(shapes, "model.1.module.0.rdbs.0.conv1.conv.0.weight")
    _, _, lff_kernel = convolution_shape(shapes, "model.1.module.0.rdbs.0.LFF.weight")
    common: dict[str, Any] = {
        "in_channels": inputs,
        "out_channels": outputs,
        "scale": 2**stages,
        "features": features,
        "blocks": count_numbers(shapes, r"model\.1\.module\.(\d+)\.rdbs"),
        "growth": growth,
    }
    if lff_kernel == hr_kernel == 3:
        return RRDBNetConfig(**common, unshuffle=1, stages=(2,) * stages)
    return ESRDnetConfig(**common, lff_kernel=lff_kernel, hr_kernel=hr_kernel)


def _pair_with_rrdbnet(config: RRDBNetConfig) -> Iterator[tuple[str, str]]:
    stages = len(config.stages)
    pairs = pair_modules(
        config,
        first="model.0",
        dense="model.1.module.{i}.rdbs.{j0}.conv{k}.conv.0",
        trunk=f"model.1.module.{config.blocks}",
        up="model.{m1}.upconv.1",
        hr=f"model.{2 + stages}",
        last=f"model.{4 + stages}",
    )
    return ((ours, theirs.replace("conv5.conv.0", "LFF")) for ours, theirs in pairs)


_names_of_rrdbnet = rrdb_names(_pair_with_rrdbnet, plain=True)


def _name_weights(config: Any) -> Mapping[str, str] | None:
    return keep_names(config) if isinstance(config, ESRDnetConfig) else _names_of_rrdbnet(config)


ESRDNET = Generator(
    name="esrdnet",
    summary="ESRDnet of esrdgan, RRDBNet with a choice of kernel sizes",
    config=ESRDnetConfig,
    dialects=(
        Dialect(
            name="esrdgan",
            description="ESRDnet with the names of esrdgan",
            marks=("model.0.weight", "model.1.module.0.rdbs.0.LFF.weight"),
            pattern=re.compile(
                r"model\.(\d+|1\.module\.\d+(\.rdbs\.\d+\.(conv[1-4]\.conv\.0|LFF))?|\d+\.upconv\.1)\.(?:weight|bias)$"
            ),
            infer=_infer_from_names,
            names=_name_weights,
            bgr=True,
            notes=note_ambiguous_stage,
        ),
    ),
    from_layers=infer_from_layers,
)
