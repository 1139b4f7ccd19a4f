"""GeneratorRRDB of PyTorch-GAN: configuration, drawing, the names of its weights, and its declaration.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, s the scale.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from tessera.generators.config import Blocks, Features, GeneratorConfig
from tessera.generators.dialect import Dialect, ScaleHint, Shapes, convolution_shape, count_numbers
from tessera.generators.drawing import DenseBlock, Map, Pen, draw_trunk
from tessera.generators.generator import Generator, own_names
from tessera.generators.structure import LayerList

SLOPE = 0.01
"""Of the leaky ReLUs, PyTorch's default."""
RESIDUAL = 0.2
"""The factor of each residual."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's colors, RGB in [0, 1] (Simonyan and Zisserman 2015)."""


class PyTorchGANConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Sizes of a GeneratorRRDB; with `imagenet_space` its layers see ImageNet-normalized colors."""

    network_class: ClassVar[str] = "tessera.generators.pytorch_gan.network:GeneratorRRDB"

    network: Literal["pytorch-gan"] = "pytorch-gan"
    scale: Literal[1, 2, 4, 8] = 4
    features: Features = 64
    blocks: Blocks = 23
    imagenet_space: bool = True

    @model_validator(mode="before")
    @classmethod
    def _normalize_color_only(cls, values: Any) -> Any:
        if isinstance(values, dict) and "imagenet_space" not in values:
            color = values.get("in_channels", 3) == 3 and values.get("out_channels", 3) == 3
            return {**values, "imagenet_space": color}
        return values

    @model_validator(mode="after")
    def _compare_channels(self) -> PyTorchGANConfig:
        if self.imagenet_space and (self.in_channels, self.out_channels) != (3, 3):
            raise ValueError("ImageNet's mean and deviation are known for three channels only")
        return self

    @property
    def doublings(self) -> int:
        """The number of x2 stages."""
        return self.scale.bit_length() - 1

    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        """Draw the dense trunk and the pixel shuffles, between a change of color space and its inverse."""
        features, x = self.features, picture
        mean, deviation = IMAGENET_MEAN, IMAGENET_DEVIATION
        if self.imagenet_space:
            x = pen.affine(x, [1 / d for d in deviation], [-m / d for m, d in zip(mean, deviation, strict=True)])
        first = pen.conv("conv1", x, features)

        def names(i: int, j: int) -> list[str]:
            return [f"res_blocks.{i}.dense_blocks.{j}.b{k}.0" for k in range(1, 6)]

        block = DenseBlock(features, features, SLOPE, RESIDUAL)
        trunk = draw_trunk(pen, block, names, self.blocks, first, residual=RESIDUAL)
        x = pen.add(pen.conv("conv2", trunk, features), first)
        for stage in range(self.doublings):
            x = pen.shuffle(pen.conv(f"upsampling.{3 * stage}", x, 4 * features, slope=SLOPE), 2)
        x = pen.conv("conv3.2", pen.conv("conv3.0", x, features, slope=SLOPE), self.out_channels)
        return pen.affine(x, deviation, mean) if self.imagenet_space else x


def infer_from_layers(layers: LayerList) -> PyTorchGANConfig:
    """Infer the sizes from the layers without names."""
    convolutions, stages = layers.convolutions, len(layers.shuffles)
    return PyTorchGANConfig.model_validate(
        {
            "in_channels": convolutions[0][0],
            "out_channels": convolutions[-1][1],
            "scale": 2**stages,
            "features": convolutions[0][1],
            "blocks": (len(convolutions) - 4 - stages) // 15,
            "imagenet_space": layers.affines > 0,
        }
    )


def _infer_from_names(shapes: Shapes, hint: ScaleHint) -> PyTorchGANConfig:
    features, inputs, _ = convolution_shape(shapes, "conv1.weight")
    return PyTorchGANConfig.model_validate(
        {
            "in_channels": inputs,
            "out_channels": convolution_shape(shapes, "conv3.2.weight")[0],
            "scale": 2 ** count_numbers(shapes, r"upsampling\.(\d+)\."),
            "features": features,
            "blocks": count_numbers(shapes, r"res_blocks\.(\d+)\."),
        }
    )


PYTORCH_GAN = Generator(
    name="pytorch-gan",
    summary="GeneratorRRDB of PyTorch-GAN, wide dense blocks and pixel shuffle",
    config=PyTorchGANConfig,
    dialects=(
        Dialect(
            name="pytorch-gan",
            description="GeneratorRRDB of PyTorch-GAN",
            marks=("conv1.weight", "res_blocks.0.dense_blocks.0.b1.0.weight"),
            pattern=re.compile(
                r"(conv[12]|conv3\.[02]|upsampling\.\d+|res_blocks\.\d+\.dense_blocks\.[012]\.b[1-5]\.0)"
                r"\.(?:weight|bias)$"
            ),
            infer=_infer_from_names,
            names=own_names(PyTorchGANConfig),
        ),
    ),
    from_layers=infer_from_layers,
)
