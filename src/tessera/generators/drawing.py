"""The networks of the family as graphs, drawn once for everybody who writes them down.

`draw` goes through a network from input to output and tells a pen each operation with the module that has its weights.
What a pen makes of it is its own affair: an OpenVINO graph, an ONNX graph, a TorchScript program, or sums of work and
memory.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from tessera.errors import EngineError
from tessera.generators import (
    ESRDnetConfig,
    ESRGANPytorchConfig,
    GeneratorConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)
from tessera.generators.family import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    PYTORCH_GAN_RESIDUAL,
    RESIDUAL,
    SLOPE,
)

PYTORCH_GAN_SLOPE = 0.01

Map = TypeVar("Map")
"""What a pen hands out for a feature map."""


class Pen(Protocol[Map]):
    """Writes operations down; each method gives what stands for the operation's result."""

    def conv(self, module: str, x: Map, slope: float | None = None) -> Map:
        """A convolution with bias that keeps height and width, with a leaky ReLU after it if there is a slope."""
        ...

    def prelu(self, module: str, x: Map) -> Map:
        """A leaky ReLU with a slope for each channel."""
        ...

    def concat(self, maps: Sequence[Map]) -> Map:
        """Join channels, in this order."""
        ...

    def add(self, x: Map, y: Map, factor: float = 1.0) -> Map:
        """factor * x + y."""
        ...

    def affine(self, x: Map, factors: Sequence[float], offsets: Sequence[float]) -> Map:
        """factor * x + offset, with one of each for a channel."""
        ...

    def nearest(self, x: Map, factor: int) -> Map:
        """Repeat each pixel: (B, C, H, W) -> (B, C, f*H, f*W)."""
        ...

    def shuffle(self, x: Map, factor: int) -> Map:
        """Channels become factor x factor pixels, as `torch.pixel_shuffle` orders them."""
        ...

    def unshuffle(self, x: Map, factor: int) -> Map:
        """Pixels become channels, as `torch.pixel_unshuffle` orders them."""
        ...


def can_draw(config: GeneratorConfig) -> bool:
    """Whether `draw` knows the network: it does for the whole family, not for networks from outside."""
    return isinstance(
        config, RRDBNetConfig | SRVGGNetCompactConfig | ESRDnetConfig | ESRGANPytorchConfig | PyTorchGANConfig
    )


def draw(config: GeneratorConfig, pen: Pen[Map], picture: Map) -> Map:
    """Tell a pen every operation from the picture to the result, which is returned: (B, C, H, W) -> (B, C, s*H, s*W).

    Raises EngineError for a network from outside the family.
    """
    match config:
        case RRDBNetConfig():
            return _rrdbnet(pen, config, picture)
        case SRVGGNetCompactConfig():
            return _srvgg(pen, config, picture)
        case ESRDnetConfig():
            return _esrdnet(pen, config, picture)
        case ESRGANPytorchConfig():
            return _esrgan_pytorch(pen, config, picture)
        case PyTorchGANConfig():
            return _pytorch_gan(pen, config, picture)
        case _:
            raise EngineError(f"The layers of a network of the kind {config.network} are not known here.")


def _dense(pen: Pen[Map], convolutions: Sequence[str], x: Map, slope: float, residual: float) -> Map:
    """A dense block: each convolution reads what all before it found; the last has no activation."""
    seen = [x]
    *inner, last = convolutions
    for name in inner:
        seen.append(pen.conv(name, _joined(pen, seen), slope))
    return pen.add(pen.conv(last, _joined(pen, seen)), x, residual)


def _joined(pen: Pen[Map], maps: Sequence[Map]) -> Map:
    return maps[0] if len(maps) == 1 else pen.concat(maps)


def _trunk(pen: Pen[Map], prefix: str, blocks: int, x: Map) -> Map:
    for block in range(blocks):
        before = x
        for dense in (1, 2, 3):
            name = f"{prefix}.{block}.rdb{dense}"
            x = _dense(pen, [f"{name}.conv{number}" for number in range(1, 6)], x, SLOPE, RESIDUAL)
        x = pen.add(x, before, RESIDUAL)
    return x


def _rrdbnet(pen: Pen[Map], config: RRDBNetConfig, x: Map) -> Map:
    first = pen.conv("conv_first", pen.unshuffle(x, config.unshuffle) if config.unshuffle > 1 else x)
    x = pen.add(pen.conv("conv_body", _trunk(pen, "body", config.blocks, first)), first)
    for number, stage in enumerate(config.stages, start=1):
        x = pen.conv(f"conv_up{number}", pen.nearest(x, stage), SLOPE)
    return pen.conv("conv_last", pen.conv("conv_hr", x, SLOPE))


def _srvgg(pen: Pen[Map], config: SRVGGNetCompactConfig, picture: Map) -> Map:
    slope = {"relu": 0.0, "leakyrelu": 0.1}.get(config.activation)
    x = picture
    for index in range(config.convolutions + 1):
        x = pen.conv(f"body.{2 * index}", x, slope)
        if slope is None:
            x = pen.prelu(f"body.{2 * index + 1}", x)
    x = pen.conv(f"body.{2 * config.convolutions + 2}", x)
    if config.scale == 1:
        return pen.add(x, picture)
    return pen.add(pen.shuffle(x, config.scale), pen.nearest(picture, config.scale))


def _esrdnet(pen: Pen[Map], config: ESRDnetConfig, x: Map) -> Map:
    first = x = pen.conv("model.0", x)
    for block in range(config.blocks):
        before = x
        for dense in range(3):
            name = f"model.1.module.{block}.rdbs.{dense}"
            convolutions = [*(f"{name}.conv{number}.conv.0" for number in range(1, 5)), f"{name}.LFF"]
            x = _dense(pen, convolutions, x, config.slope, config.rdb_residual)
        x = pen.add(x, before, config.rrdb_residual)
    x = pen.add(pen.conv(f"model.1.module.{config.blocks}", x), first)
    for stage in range(config.doublings):
        x = pen.conv(f"model.{2 + stage}.upconv.1", pen.nearest(x, 2), config.slope)
    after = 2 + config.doublings
    return pen.conv(f"model.{after + 2}", pen.conv(f"model.{after}", x, config.slope))


def _esrgan_pytorch(pen: Pen[Map], config: ESRGANPytorchConfig, x: Map) -> Map:
    first = pen.conv("conv1", x)
    x = pen.add(pen.conv("conv2", _trunk(pen, "trunk", config.blocks, first)), first)
    for _ in range(2):
        x = pen.conv("upsampling.0", pen.nearest(x, 2), SLOPE)
    return pen.conv("conv4", pen.conv("conv3.0", x, SLOPE))


def _pytorch_gan(pen: Pen[Map], config: PyTorchGANConfig, x: Map) -> Map:
    mean, deviation = IMAGENET_MEAN, IMAGENET_DEVIATION
    if config.imagenet_space:
        x = pen.affine(x, [1 / d for d in deviation], [-m / d for m, d in zip(mean, deviation, strict=True)])
    first = x = pen.conv("conv1", x)
    for block in range(config.blocks):
        before = x
        for dense in range(3):
            name = f"res_blocks.{block}.dense_blocks.{dense}"
            convolutions = [f"{name}.b{number}.0" for number in range(1, 6)]
            x = _dense(pen, convolutions, x, PYTORCH_GAN_SLOPE, PYTORCH_GAN_RESIDUAL)
        x = pen.add(x, before, PYTORCH_GAN_RESIDUAL)
    x = pen.add(pen.conv("conv2", x), first)
    for stage in range(config.doublings):
        x = pen.shuffle(pen.conv(f"upsampling.{3 * stage}", x, PYTORCH_GAN_SLOPE), 2)
    x = pen.conv("conv3.2", pen.conv("conv3.0", x, PYTORCH_GAN_SLOPE))
    return pen.affine(x, deviation, mean) if config.imagenet_space else x
