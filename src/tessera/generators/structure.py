"""The structure of a network without names: operations and their inputs only.

Equal operations on equal inputs have the same number, sums have no order, and nested concatenations are merged. So two
networks compute the same function of the same weights exactly if their results have the same number. ncnn files are
recognized this way, and networks that Tessera's kernels can run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tessera.generators.layers import Layers

Operation = tuple[object, ...]


@dataclass
class Structure:
    """Operations by number."""

    known: dict[Operation, int] = field(default_factory=dict[Operation, int])
    operations: list[Operation] = field(default_factory=list[Operation])

    def node(self, *operation: object) -> int:
        """Give the number of an operation."""
        if operation not in self.known:
            self.known[operation] = len(self.operations)
            self.operations.append(operation)
        return self.known[operation]

    def input(self) -> int:
        """The picture."""
        return self.node("input")

    def conv(self, x: int, outputs: int, kernel: int) -> int:
        """Convolve."""
        return self.node("conv", outputs, kernel, x)

    def leaky(self, x: int, slope: float) -> int:
        """Apply a leaky ReLU; a slope of 0 is ReLU."""
        return self.node("leaky", round(slope, 6), x)

    def prelu(self, x: int, slopes: int) -> int:
        """Apply a leaky ReLU with so many learned slopes."""
        return self.node("prelu", slopes, x)

    def multiply(self, x: int, factor: float) -> int:
        """Multiply by a constant."""
        return x if factor == 1 else self.node("scaled", round(factor, 6), x)

    def affine(self, x: int, channels: int) -> int:
        """Multiply and add constants of each channel; their values are compared elsewhere."""
        return self.node("affine", channels, x)

    def add(self, *terms: int) -> int:
        """Add, in any order."""
        return self.node("add", *sorted(terms))

    def concat(self, *parts: int) -> int:
        """Concatenate channels, in order."""
        return self.node("concat", *self.flatten(parts))

    def flatten(self, parts: Sequence[int]) -> tuple[object, ...]:
        """Resolve concatenations among the parts of a concatenation."""
        flat: list[object] = []
        for part in parts:
            operation = self.operations[part]
            flat.extend(operation[1:] if operation[0] == "concat" else [part])
        return tuple(flat)

    def resize(self, x: int, kind: str, factor: float) -> int:
        """Resize by a factor."""
        return x if factor == 1 else self.node("resize", kind, float(factor), x)

    def shuffle(self, x: int, factor: int) -> int:
        """Rearrange channels into pixels."""
        return x if factor == 1 else self.node("shuffle", factor, x)

    def unshuffle(self, x: int, factor: int) -> int:
        """Rearrange pixels into channels."""
        return x if factor == 1 else self.node("unshuffle", factor, x)

    def inputs_of(self, number: int) -> tuple[int, ...]:
        """Numbers of the operations that an operation reads."""
        operation = self.operations[number]
        return tuple(item for item in operation[_READS_FROM.get(str(operation[0]), 2) :] if isinstance(item, int))

    def settings_of(self, number: int) -> tuple[object, ...]:
        """Kind and settings of an operation, without its inputs."""
        operation = self.operations[number]
        return operation[: _READS_FROM.get(str(operation[0]), 2)]


_READS_FROM = {"input": 1, "add": 1, "concat": 1, "conv": 3, "resize": 3}
"""Where the inputs of an operation begin in its tuple; 2 for all others."""


@dataclass(frozen=True)
class Drawn:
    """A network in a structure: the number of its result, and the numbers of the layers with weights or constants."""

    end: int
    modules: Mapping[int, str]
    """The modules of convolutions and PReLUs."""
    constants: Mapping[int, tuple[tuple[float, ...], tuple[float, ...]]]
    """Factors and offsets of affine layers."""


def draw_structure(layers: Layers, structure: Structure) -> Drawn:
    """Add a network to a structure."""
    numbers: list[int] = []
    modules: dict[int, str] = {}
    constants: dict[int, tuple[tuple[float, ...], tuple[float, ...]]] = {}
    for layer in layers.all:
        read = [numbers[number] for number in layer.reads]
        match layer.kind:
            case "picture":
                found = structure.input()
            case "conv":
                found = structure.conv(read[0], layer.channels, layer.kernel)
                modules[found] = layer.module
                if layer.slope is not None:
                    found = structure.leaky(found, layer.slope)
            case "prelu":
                found = structure.prelu(read[0], layer.channels)
                modules[found] = layer.module
            case "concat":
                found = structure.concat(*read)
            case "add":
                found = structure.add(structure.multiply(read[0], layer.factor), read[1])
            case "affine":
                found = structure.affine(read[0], layer.channels)
                constants[found] = (layer.factors, layer.offsets)
            case "nearest":
                found = structure.resize(read[0], "nearest", layer.factor)
            case "shuffle":
                found = structure.shuffle(read[0], int(layer.factor))
            case "unshuffle":
                found = structure.unshuffle(read[0], int(layer.factor))
        numbers.append(found)
    return Drawn(numbers[layers.end], modules, constants)


@dataclass(frozen=True, kw_only=True)
class LayerList:
    """The layers of a network in order, without names: from these a declaration infers the sizes of its network."""

    convolutions: tuple[tuple[int, int, int], ...]
    """Inputs, outputs and kernel of each."""
    prelus: int
    affines: int
    slopes: tuple[float, ...]
    """The different slopes of leaky ReLUs, in order."""
    factors: tuple[float, ...]
    """Of the scaled terms of sums."""
    nearest: tuple[int, ...]
    """Factors of nearest-neighbor upsampling."""
    shuffles: tuple[int, ...]
    unshuffles: tuple[int, ...]


def list_layers(structure: Structure, convolutions: Sequence[tuple[int, int, int]]) -> LayerList:
    """List the operations of a structure that holds one network; its convolutions are given with their inputs."""

    def settings(kind: str) -> list[object]:
        return [operation[1] for operation in structure.operations if operation[0] == kind]

    resizes = [operation[2] for operation in structure.operations if operation[:2] == ("resize", "nearest")]
    return LayerList(
        convolutions=tuple(convolutions),
        prelus=len(settings("prelu")),
        affines=len(settings("affine")),
        slopes=tuple(dict.fromkeys(slope for slope in settings("leaky") if isinstance(slope, float))),
        factors=tuple(factor for factor in settings("scaled") if isinstance(factor, float)),
        nearest=tuple(round(factor) for factor in resizes if isinstance(factor, float) and factor > 1),
        shuffles=tuple(factor for factor in settings("shuffle") if isinstance(factor, int)),
        unshuffles=tuple(factor for factor in settings("unshuffle") if isinstance(factor, int)),
    )


def list_unnamed_layers(layers: Layers) -> LayerList:
    """List the layers of a drawn network as a file without names would."""
    structure = Structure()
    draw_structure(layers, structure)
    convolutions = [(layers.all[each.reads[0]].channels, each.channels, each.kernel) for _, each in layers.convolutions]
    return list_layers(structure, convolutions)


def compute_the_same(first: Layers, second: Layers) -> bool:
    """Tell whether two networks compute the same from the same weights in the order of their layers."""
    structure = Structure()
    one, other = draw_structure(first, structure), draw_structure(second, structure)
    return one.end == other.end and one.constants == other.constants
