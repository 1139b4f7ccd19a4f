"""The layers of a network as a list, recorded from its drawing, and properties computed from the list.

Each layer produces one feature map. They are numbered in the order of the drawing; layer 0 is the picture. A module
that is drawn in two places is two layers with different names.

Shapes: C channels, H rows, W columns of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

from tessera.generators.drawing import Map, Pen

Kind = Literal["picture", "conv", "prelu", "concat", "add", "affine", "nearest", "shuffle", "unshuffle"]


@dataclass(frozen=True)
class Layer:
    """One operation and the feature map that it produces."""

    kind: Kind
    reads: tuple[int, ...]
    channels: int
    """Of its result."""
    zoom: Fraction
    """Height and width of its result, relative to the input's."""
    module: str = ""
    """The module with its weights, for convolutions and PReLUs."""
    name: str = ""
    """The module, numbered from its second use on; unique among the layers."""
    kernel: int = 0
    slope: float | None = None
    """Of the leaky ReLU that follows a convolution."""
    factor: float = 1.0
    """Of a sum, an upsampling or a rearrangement."""
    factors: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()


@dataclass(frozen=True)
class Layers:
    """All layers of a network, in order, and the number of the last one."""

    all: tuple[Layer, ...]
    end: int

    @property
    def convolutions(self) -> tuple[tuple[int, Layer], ...]:
        """The convolutions with their numbers."""
        return tuple((number, layer) for number, layer in enumerate(self.all) if layer.kind == "conv")

    @property
    def features(self) -> int:
        """The channels of the first convolution's result, which are those of the trunk."""
        return self.all[self.convolutions[0][0]].channels

    @property
    def is_chain(self) -> bool:
        """Whether the network is a chain of convolutions at the input's size, without concatenations."""
        return not any(layer.kind == "concat" or (layer.kind == "conv" and layer.zoom > 1) for layer in self.all)

    @property
    def weights_in_order(self) -> tuple[str, ...]:
        """The names of the weights in the order in which the network uses them; shared ones are repeated."""
        parts = {"conv": ("weight", "bias"), "prelu": ("weight",)}
        return tuple(f"{layer.module}.{part}" for layer in self.all for part in parts.get(layer.kind, ()))

    @property
    def weight_names(self) -> tuple[str, ...]:
        """The names of the weights, in the order in which the network uses them first."""
        return tuple(dict.fromkeys(self.weights_in_order))

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the weights, in the order of `weight_names`: (O, I, K, K), (O,) or (C,)."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in self.all:
            if layer.kind == "conv":
                inputs = self.all[layer.reads[0]].channels
                shapes[f"{layer.module}.weight"] = (layer.channels, inputs, layer.kernel, layer.kernel)
                shapes[f"{layer.module}.bias"] = (layer.channels,)
            elif layer.kind == "prelu":
                shapes[f"{layer.module}.weight"] = (layer.channels,)
        return shapes

    def multiply_adds_of(self, layer: Layer, height: int, width: int) -> int:
        """Count the multiply-adds of a layer for an input of this size, without the biases."""
        pixels = layer.zoom**2 * height * width
        match layer.kind:
            case "conv":
                return int(self.all[layer.reads[0]].channels * layer.channels * layer.kernel**2 * pixels)
            case "affine":
                return int(layer.channels * pixels)
            case "add" if layer.factor != 1:
                return int(layer.channels * pixels)
            case _:
                return 0

    def multiply_adds(self, height: int, width: int) -> int:
        """Count the multiply-adds of all convolutions for an input of this size, without the biases."""
        return sum(self.multiply_adds_of(layer, height, width) for _, layer in self.convolutions)

    def receptive_radius(self, scale: int, multiple: int) -> int:
        """Find the distance in input pixels up to which a pixel of the result depends on the input, along one axis.

        Follows the layers backwards from every phase of an output pixel, so it is exact.
        """
        return max(self._find_radius_at(phase, phase // scale) for phase in range(scale * multiple))

    def _find_radius_at(self, phase: int, here: int) -> int:
        spans = {self.end: (phase, phase)}
        for number in range(self.end, 0, -1):
            if number not in spans:
                continue
            layer = self.all[number]
            low, high = _find_read_span(layer, *spans[number])
            for read in layer.reads:
                before = spans.get(read, (low, high))
                spans[read] = (min(before[0], low), max(before[1], high))
        low, high = spans.get(0, (here, here))
        return max(0, here - low, high - here)


def _find_read_span(layer: Layer, low: int, high: int) -> tuple[int, int]:
    """Find the first and the last pixel that a layer reads to make the pixels from `low` to `high`."""
    factor = int(layer.factor)
    match layer.kind:
        case "conv":
            return low - layer.kernel // 2, high + layer.kernel // 2
        case "nearest" | "shuffle":
            return low // factor, high // factor
        case "unshuffle":
            return low * factor, high * factor + factor - 1
        case _:
            return low, high


class Drawable(Protocol):
    """A network that can be drawn: the configuration of a generator."""

    @property
    def in_channels(self) -> int:
        """Number of channels of the picture."""
        ...

    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        """Pass every operation to a pen and return the handle of the result."""
        ...


def record_layers(network: Drawable) -> Layers:
    """Draw a network into a list. Raises EngineError for a network that cannot be drawn."""
    pen = _Recorder(network.in_channels)
    end = network.draw(pen, 0)
    return Layers(tuple(pen.layers), end)


class _Recorder:
    """The pen that records each operation; a map is the number of its layer."""

    def __init__(self, channels: int) -> None:
        self._uses: dict[str, int] = {}
        self.layers = [Layer("picture", (), channels, Fraction(1))]

    def conv(self, module: str, x: int, outputs: int, *, kernel: int = 3, slope: float | None = None) -> int:
        name = self._name(module)
        return self._add(Layer("conv", (x,), outputs, self._get_zoom(x), module, name, kernel, slope))

    def prelu(self, module: str, x: int) -> int:
        return self._add(Layer("prelu", (x,), self._count_channels(x), self._get_zoom(x), module, self._name(module)))

    def concat(self, maps: Sequence[int]) -> int:
        channels = sum(self._count_channels(each) for each in maps)
        return self._add(Layer("concat", tuple(maps), channels, self._get_zoom(maps[0])))

    def add(self, x: int, y: int, factor: float = 1.0) -> int:
        channels = max(self._count_channels(x), self._count_channels(y))
        return self._add(Layer("add", (x, y), channels, self._get_zoom(x), factor=factor))

    def affine(self, x: int, factors: Sequence[float], offsets: Sequence[float]) -> int:
        layer = Layer(
            "affine", (x,), self._count_channels(x), self._get_zoom(x), factors=tuple(factors), offsets=tuple(offsets)
        )
        return self._add(layer)

    def nearest(self, x: int, factor: int) -> int:
        return self._add(Layer("nearest", (x,), self._count_channels(x), self._get_zoom(x) * factor, factor=factor))

    def shuffle(self, x: int, factor: int) -> int:
        channels = self._count_channels(x) // factor**2
        return self._add(Layer("shuffle", (x,), channels, self._get_zoom(x) * factor, factor=factor))

    def unshuffle(self, x: int, factor: int) -> int:
        channels = self._count_channels(x) * factor**2
        return self._add(Layer("unshuffle", (x,), channels, self._get_zoom(x) / factor, factor=factor))

    def _name(self, module: str) -> str:
        self._uses[module] = use = self._uses.get(module, 0) + 1
        return module if use == 1 else f"{module}@{use}"

    def _count_channels(self, x: int) -> int:
        return self.layers[x].channels

    def _get_zoom(self, x: int) -> Fraction:
        return self.layers[x].zoom

    def _add(self, layer: Layer) -> int:
        self.layers.append(layer)
        return len(self.layers) - 1
