"""Networks as TorchScript programs, written from configuration and weights.

PyTorch's own way there follows a network through an example, gives another file each time a process does it again, and
puts the paths of this machine's source files into it. Here the program is drawn like the other graphs. Kernels in fp16
or bf16 are turned to fp32 where they are used, so that the file runs on every processor and only weights are rounded.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tessera.deploy.settings import ExportSettings
from tessera.deploy.stored import cast_for_storage
from tessera.generators import GeneratorConfig, find_generator
from tessera.weights.torch_tensors import to_arrays
from tessera.weights.torchscript_file import build_torchscript, name_attribute

_FP32 = 6
"""PyTorch's number for float32 in programs."""


def build_torchscript_archive(
    config: GeneratorConfig, state: Mapping[str, Tensor], settings: ExportSettings, metadata: Mapping[str, str]
) -> bytes:
    """A network as the bytes of a TorchScript file, for `torch.jit.load`; the same network gives the same bytes.

    forward: (B, C, H, W) float32 in [0, 1] -> (B, C, s*H, s*W) float32, not clipped.
    """
    tensors = {name: cast_for_storage(name, tensor, settings.precision) for name, tensor in state.items()}
    declared = find_generator(config)
    assert declared is not None, "the caller checks that the network is one of the family"
    pen = _ProgramPen(tensors)
    end = config.draw(pen, "input")
    return build_torchscript(
        declared.class_name, "\n".join([*pen.lines, f"return {end}"]), to_arrays(tensors), metadata
    )


class _ProgramPen:
    """The pen that writes statements; what it hands out is the name of a variable."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self.lines: list[str] = []

    def conv(self, module: str, x: str, outputs: int, *, kernel: int = 3, slope: float | None = None) -> str:
        """A convolution that keeps height and width, with a leaky ReLU after it if there is a slope."""
        weight = self._tensors[f"{module}.weight"]
        values = f"self.{name_attribute(f'{module}.weight')}"
        if weight.dtype != torch.float32:
            values = f"torch.to({values}, {_FP32})"
        pad = [kernel // 2, kernel // 2]
        bias = f"self.{name_attribute(f'{module}.bias')}"
        found = self._is(f"torch.conv2d({x}, {values}, {bias}, [1, 1], {pad}, [1, 1], 1)")
        return found if slope is None else self._is(f"torch.leaky_relu({found}, {slope:.17g})")

    def prelu(self, module: str, x: str) -> str:
        """A leaky ReLU with a slope for each channel."""
        return self._is(f"torch.prelu({x}, self.{name_attribute(f'{module}.weight')})")

    def concat(self, maps: Sequence[str]) -> str:
        """Join channels."""
        return self._is(f"torch.cat([{', '.join(maps)}], 1)")

    def add(self, x: str, y: str, factor: float = 1.0) -> str:
        """factor * x + y."""
        product = x if factor == 1 else self._is(f"torch.mul({x}, {float(factor)!r})")
        return self._is(f"torch.add({product}, {y})")

    def affine(self, x: str, factors: Sequence[float], offsets: Sequence[float]) -> str:
        """factor * x + offset, with one of each for a channel."""
        factor, offset = (
            self._is(f"torch.reshape(torch.tensor({[float(value) for value in values]}, dtype=6), [1, -1, 1, 1])")
            for values in (factors, offsets)
        )
        return self._is(f"torch.add(torch.mul({x}, torch.to({factor}, {x})), torch.to({offset}, {x}))")

    def nearest(self, x: str, factor: int) -> str:
        """Repeat each pixel."""
        return self._is(f"torch.upsample_nearest2d({x}, None, [{factor}., {factor}.])")

    def shuffle(self, x: str, factor: int) -> str:
        """Channels become factor x factor pixels."""
        return self._is(f"torch.pixel_shuffle({x}, {factor})")

    def unshuffle(self, x: str, factor: int) -> str:
        """Pixels become channels."""
        return self._is(f"torch.pixel_unshuffle({x}, {factor})")

    def _is(self, expression: str) -> str:
        self.lines.append(f"x{len(self.lines)} = {expression}")
        return f"x{len(self.lines) - 1}"
