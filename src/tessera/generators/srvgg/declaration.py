"""SRVGGNetCompact: configuration, drawing, the names of its weights, and its declaration.

Shapes: B pictures in a batch, C channels, H rows, W columns, F features, s the scale.
"""

from __future__ import annotations

import re
from math import isqrt
from typing import ClassVar, Literal

from pydantic import model_validator

from tessera.generators.config import Blocks, Features, GeneratorConfig
from tessera.generators.dialect import Dialect, MisfitError, ScaleHint, Shapes, convolution_shape, find_highest_number
from tessera.generators.drawing import Map, Pen
from tessera.generators.generator import Generator, own_names
from tessera.generators.structure import LayerList

Activation = Literal["prelu", "relu", "leakyrelu"]
SLOPES: dict[Activation, float] = {"relu": 0.0, "leakyrelu": 0.1}
"""Of the activations without weights."""


class SRVGGNetCompactConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """Sizes of an SRVGGNetCompact: features, number of inner convolutions, activation."""

    network_class: ClassVar[str] = "tessera.generators.srvgg.network:SRVGGNetCompact"

    network: Literal["srvggnetcompact"] = "srvggnetcompact"
    features: Features = 64
    convolutions: Blocks = 16
    activation: Activation = "prelu"

    @model_validator(mode="after")
    def _compare_channels(self) -> SRVGGNetCompactConfig:
        if self.out_channels != self.in_channels and self.in_channels != 1:
            raise ValueError("the input is added to the output, so both need the same number of channels")
        return self

    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        """Draw the chain of convolutions, the pixel shuffle and the sum with the upsampled picture."""
        slope = SLOPES.get(self.activation)
        x = picture
        for index in range(self.convolutions + 1):
            x = pen.conv(f"body.{2 * index}", x, self.features, slope=slope)
            if slope is None:
                x = pen.prelu(f"body.{2 * index + 1}", x)
        x = pen.conv(f"body.{2 * self.convolutions + 2}", x, self.out_channels * self.scale**2)
        if self.scale == 1:
            return pen.add(x, picture)
        return pen.add(pen.shuffle(x, self.scale), pen.nearest(picture, self.scale))


def infer_from_layers(layers: LayerList) -> SRVGGNetCompactConfig:
    """Infer the sizes from the layers without names."""
    scale = layers.shuffles[0] if layers.shuffles else 1
    (inputs, features, _), (_, outputs, _) = layers.convolutions[0], layers.convolutions[-1]
    return SRVGGNetCompactConfig(
        in_channels=inputs,
        out_channels=outputs // scale**2 if scale else 0,
        scale=scale,
        features=features,
        convolutions=len(layers.convolutions) - 2,
        activation="prelu" if layers.prelus else "leakyrelu" if SLOPES["leakyrelu"] in layers.slopes else "relu",
    )


def _infer_from_names(shapes: Shapes, hint: ScaleHint) -> SRVGGNetCompactConfig:
    highest = find_highest_number(shapes, r"body\.(\d{1,4})\.")
    features, inputs, _ = convolution_shape(shapes, "body.0.weight")
    outputs, _, _ = convolution_shape(shapes, f"body.{highest}.weight")
    channels = 3 if inputs == 1 and outputs % 3 == 0 and isqrt(outputs // 3) ** 2 * 3 == outputs else inputs
    scale = isqrt(outputs // channels) if channels else 0
    if channels * scale**2 != outputs:
        raise MisfitError(
            f"its last convolution has {outputs} outputs, which is not a square number times {channels} channels"
        )
    return SRVGGNetCompactConfig(
        in_channels=inputs,
        out_channels=channels,
        scale=scale,
        features=features,
        convolutions=(highest - 2) // 2,
        activation="prelu" if "body.1.weight" in shapes else "relu",
    )


def _note_unknown_activation(config: SRVGGNetCompactConfig) -> tuple[str, ...]:
    if config.activation == "prelu":
        return ()
    return ("Its activation has no weights, so it is unknown; ReLU was assumed.",)


SRVGG = Generator(
    name="srvggnetcompact",
    summary="SRVGGNetCompact, the small network of Real-ESRGAN",
    config=SRVGGNetCompactConfig,
    dialects=(
        Dialect(
            name="srvgg",
            program="basicsr",
            description="SRVGGNetCompact with the names of Real-ESRGAN",
            marks=("body.0.weight", "body.2.weight"),
            pattern=re.compile(r"body\.\d+\.(?:weight|bias)$"),
            infer=_infer_from_names,
            names=own_names(SRVGGNetCompactConfig),
            notes=_note_unknown_activation,
        ),
    ),
    from_layers=infer_from_layers,
)
