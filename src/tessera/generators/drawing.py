"""The protocol by which a network describes its layers, and the parts that several networks share.

A configuration draws its network once (`GeneratorConfig.draw`): it goes from the input to the output and passes each
operation to a pen. Every description of a network comes from that one drawing: ONNX, OpenVINO, TorchScript and ncnn
files, the receptive field, costs and memory, quantization, and the structure that ncnn files are compared with.

Shapes: B pictures in a batch, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

Map = TypeVar("Map")
"""A pen's handle for a feature map."""


class Pen(Protocol[Map]):
    """Receives the operations of a network in order; each method returns the handle of its result."""

    def conv(self, module: str, x: Map, outputs: int, *, kernel: int = 3, slope: float | None = None) -> Map:
        """Convolve with bias and stride 1 at constant height and width, then apply a leaky ReLU if a slope is given."""
        ...

    def prelu(self, module: str, x: Map) -> Map:
        """Apply a leaky ReLU with one learned slope per channel."""
        ...

    def concat(self, maps: Sequence[Map]) -> Map:
        """Concatenate channels in this order."""
        ...

    def add(self, x: Map, y: Map, factor: float = 1.0) -> Map:
        """Compute factor * x + y."""
        ...

    def affine(self, x: Map, factors: Sequence[float], offsets: Sequence[float]) -> Map:
        """Compute factor * x + offset, with one factor and one offset per channel."""
        ...

    def nearest(self, x: Map, factor: int) -> Map:
        """Upsample by repeating pixels: (B, C, H, W) -> (B, C, f*H, f*W)."""
        ...

    def shuffle(self, x: Map, factor: int) -> Map:
        """Rearrange channels into factor x factor pixels, in the order of `torch.pixel_shuffle`."""
        ...

    def unshuffle(self, x: Map, factor: int) -> Map:
        """Rearrange factor x factor pixels into channels, in the order of `torch.pixel_unshuffle`."""
        ...


@dataclass(frozen=True)
class DenseBlock:
    """The sizes of a dense block: five convolutions, each of which reads the outputs of all before it."""

    features: int
    growth: int
    slope: float
    """Of the leaky ReLU after each convolution but the last."""
    residual: float
    """The factor of the block's result, which is added to its input (ESRGAN, section 3.1)."""
    last_kernel: int = 3


def draw_dense_block(pen: Pen[Map], block: DenseBlock, names: Sequence[str], x: Map) -> Map:
    """Draw a dense block whose convolutions have these names: (B, F, H, W) -> (B, F, H, W)."""
    *inner, last = names
    found = [x]
    for name in inner:
        found.append(pen.conv(name, _concat(pen, found), block.growth, slope=block.slope))
    result = pen.conv(last, _concat(pen, found), block.features, kernel=block.last_kernel)
    return pen.add(result, x, block.residual)


def draw_trunk(
    pen: Pen[Map],
    block: DenseBlock,
    names: Callable[[int, int], Sequence[str]],
    blocks: int,
    x: Map,
    *,
    residual: float,
) -> Map:
    """Draw residual blocks of three dense blocks each; `names` gives those of dense block j (0, 1, 2) of block i."""
    for i in range(blocks):
        before = x
        for j in range(3):
            x = draw_dense_block(pen, block, names(i, j), x)
        x = pen.add(x, before, residual)
    return x


def _concat(pen: Pen[Map], maps: Sequence[Map]) -> Map:
    return maps[0] if len(maps) == 1 else pen.concat(maps)
