"""Networks in the format of ncnn, written from their drawing: the text of layers and the bytes of their values.

`tessera.weights.ncnn` explains the format. ncnn recognizes a float by its point or exponent; where it wants one, it
reads the bits of `1` as a tiny number, so floats are written with an exponent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tessera.generators import GeneratorConfig
from tessera.weights.arrays import State, to_float32
from tessera.weights.ncnn_text import MAGIC, TAG_FP16, TAG_FP32

Constants = tuple[tuple[float, ...], tuple[float, ...]]
"""Factors and offsets of a layer without weights."""


@dataclass(frozen=True)
class _Line:
    kind: str
    inputs: tuple[str, ...]
    output: str
    settings: str


@dataclass
class _TextPen:
    """The pen that writes layers; a map is a blob and its channels."""

    lines: list[_Line] = field(default_factory=list[_Line])
    values: list[str | Constants] = field(default_factory=list["str | Constants"])
    """What the `.bin` has, in order: the values of a module, or constants."""

    def input(self, channels: int) -> tuple[str, int]:
        """Add the picture."""
        return self._write("Input", [], channels)

    def conv(
        self, module: str, x: tuple[str, int], outputs: int, *, kernel: int = 3, slope: float | None = None
    ) -> tuple[str, int]:
        activation = "" if slope is None else f" 9=2 -23310=1,{slope:e}"
        weights = outputs * x[1] * kernel**2
        self.values.append(module)
        settings = f"0={outputs} 1={kernel} 4={kernel // 2} 5=1 6={weights}{activation}"
        return self._write("Convolution", [x], outputs, settings)

    def prelu(self, module: str, x: tuple[str, int]) -> tuple[str, int]:
        self.values.append(module)
        return self._write("PReLU", [x], x[1], f"0={x[1]}")

    def concat(self, maps: Sequence[tuple[str, int]]) -> tuple[str, int]:
        return self._write("Concat", maps, sum(channels for _, channels in maps), "0=0")

    def add(self, x: tuple[str, int], y: tuple[str, int], factor: float = 1.0) -> tuple[str, int]:
        # Two layers of ncnn do the same; which one a sum gets is kept as it was, so that files stay the same bytes.
        if factor == 1 and self.lines[-1].kind == "Interp":
            return self._write("BinaryOp", [x, y], x[1], "0=0")
        return self._write("Eltwise", [x, y], x[1], f"0=1 -23301=2,{factor:e},{1:e}")

    def affine(self, x: tuple[str, int], factors: Sequence[float], offsets: Sequence[float]) -> tuple[str, int]:
        # Not a Scale layer: that works in place, on memory that belongs to the caller.
        channels = x[1]
        self.values.append((tuple(factors), tuple(offsets)))
        settings = f"0={channels} 1=1 5=1 6={channels} 7={channels}"
        return self._write("ConvolutionDepthWise", [x], channels, settings)

    def nearest(self, x: tuple[str, int], factor: int) -> tuple[str, int]:
        return self._write("Interp", [x], x[1], f"0=1 1={factor:e} 2={factor:e}")

    def shuffle(self, x: tuple[str, int], factor: int) -> tuple[str, int]:
        return self._write("PixelShuffle", [x], x[1] // factor**2, f"0={factor}")

    def unshuffle(self, x: tuple[str, int], factor: int) -> tuple[str, int]:
        return self._write("Reorg", [x], x[1] * factor**2, f"0={factor}")

    def _write(
        self, kind: str, inputs: Sequence[tuple[str, int]], channels: int, settings: str = ""
    ) -> tuple[str, int]:
        output = f"b{len(self.lines)}" if inputs else "in0"
        self.lines.append(_Line(kind, tuple(blob for blob, _ in inputs), output, settings))
        return output, channels


def write_param(config: GeneratorConfig) -> tuple[str, list[str | Constants]]:
    """Write the layers of a network as ncnn's text, from `in0` to `out0`, and list the values of the `.bin` in order.

    Raises EngineError for a network that cannot be drawn.
    """
    pen = _TextPen()
    config.draw(pen, pen.input(config.in_channels))
    return _join_lines(pen.lines), pen.values


def _join_lines(layers: Sequence[_Line]) -> str:
    """Write the whole text. In ncnn a blob has one reader, so those that are read more often are split."""
    reads: dict[str, int] = {}
    for layer in layers:
        for name in layer.inputs:
            reads[name] = reads.get(name, 0) + 1
    given = dict.fromkeys(reads, 0)
    lines: list[str] = []
    blobs = 0

    def write(kind: str, name: str, inputs: Sequence[str], outputs: Sequence[str], settings: str) -> None:
        nonlocal blobs
        blobs += len(outputs)
        lines.append(" ".join([kind, name, f"{len(inputs)}", f"{len(outputs)}", *inputs, *outputs, settings]))

    for number, layer in enumerate(layers):
        copies: list[str] = []
        for name in layer.inputs:
            copies.append(name if reads[name] == 1 else f"{name}_{given[name]}")
            given[name] += 1
        output = "out0" if number == len(layers) - 1 else layer.output
        write(layer.kind, f"{layer.kind.lower()}{number}", copies, [output], layer.settings)
        count = reads.get(layer.output, 0)
        if count > 1:
            write("Split", f"split{number}", [layer.output], [f"{layer.output}_{copy}" for copy in range(count)], "")
    return "\n".join([MAGIC, f"{len(lines)} {blobs}", *lines, ""])


def write_values(state: State, values: Sequence[str | Constants], *, half: bool = False) -> bytes:
    """Write the `.bin` of a network: for each convolution the tag, the weights, the bias.

    With `half` the weights of convolutions are fp16, padded to multiples of 4 bytes; all else is fp32.
    """
    parts: list[bytes] = []
    for each in values:
        if not isinstance(each, str):
            parts.append(TAG_FP32.to_bytes(4, "little") + np.array(each, "<f4").tobytes())
            continue
        weight = to_float32(state[f"{each}.weight"])
        kind = "<f2" if half and weight.ndim == 4 else "<f4"
        if weight.ndim == 4:
            parts.append((TAG_FP16 if half else TAG_FP32).to_bytes(4, "little"))
        content = weight.astype(kind, copy=False).tobytes()
        parts.append(content + bytes(-len(content) % 4))
        if f"{each}.bias" in state:
            parts.append(to_float32(state[f"{each}.bias"]).astype("<f4", copy=False).tobytes())
    return b"".join(parts)
