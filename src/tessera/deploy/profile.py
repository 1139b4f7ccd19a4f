"""What a network costs: parameters, work by kind of layer, memory of what is between its layers.

Counted from the network's own operations, so nothing is run and no weights are needed. Work is told in two conventions,
because tables disagree about the word FLOP: twice the multiply-adds of the convolutions, and what VastModelZOO prints.

Shapes: C channels, H height, W width of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from tessera.errors import UsageError
from tessera.generators import GeneratorConfig, find_generator
from tessera.generators import layers as drawn
from tessera.weights.dialects import state_shapes

Kind = Literal["convolution", "activation", "sum", "join", "upsampling", "rearrangement", "scaling"]
KINDS: tuple[Kind, ...] = ("convolution", "activation", "sum", "join", "upsampling", "rearrangement", "scaling")
KIND_OF: dict[drawn.Kind, Kind] = {
    "conv": "convolution",
    "prelu": "activation",
    "add": "sum",
    "concat": "join",
    "nearest": "upsampling",
    "shuffle": "rearrangement",
    "unshuffle": "rearrangement",
    "affine": "scaling",
}
"""Layers of a drawing by what they are called here."""

VACC_DIVISOR = 0.9e9
"""VastModelZOO's export script divides by this and calls the result G."""


@dataclass(frozen=True)
class Operation:
    """One operation: what it reads (by number) and what it makes."""

    kind: Kind
    reads: tuple[int, ...]
    values: int
    """Numbers in its result."""
    multiply_adds: int = 0
    """Without biases; a sum with a factor is one for each value."""
    biases: int = 0
    """Additions of biases."""
    leaky: bool = False
    """Whether it is a leaky ReLU with one slope that is not 0, which is the only activation that VACC counts."""


@dataclass(frozen=True)
class LayerCost:
    """All operations of one kind together."""

    kind: Kind
    count: int
    multiply_adds: int
    values: int
    """Numbers in their results."""


@dataclass(frozen=True)
class Profile:
    """What a network costs for one picture of C x H x W."""

    network: str
    scale: int
    shape: tuple[int, int, int]
    parameters: int
    parameters_without_slopes: int
    """As VastModelZOO's tables have them: slopes of PReLU are left out."""
    layers: tuple[LayerCost, ...]
    multiply_adds: int
    """Of the convolutions, without biases."""
    biases: int
    leaky_values: int
    peak_values: int
    """Most numbers that lie between layers at one time, the input and what is being written included."""
    sum_values: int
    """Numbers that all operations write."""

    @property
    def gflop(self) -> float:
        """The plain convention: two operations for each multiply-add of the convolutions, in 10^9."""
        return 2 * self.multiply_adds / 1e9

    @property
    def vacc_gflops(self) -> float:
        """The figure of VastModelZOO's tables: biases and leaky ReLUs counted as well, and divided by 0.9 * 10^9."""
        return 2 * (self.multiply_adds + self.biases + self.leaky_values) / VACC_DIVISOR

    def compute_peak_bytes(self, bytes_per_value: int = 4) -> int:
        """Peak of what lies between layers, with numbers of so many bytes."""
        return self.peak_values * bytes_per_value

    def compute_sum_bytes(self, bytes_per_value: int = 4) -> int:
        """All that operations write, with numbers of so many bytes."""
        return self.sum_values * bytes_per_value


def profile_network(config: GeneratorConfig, height: int, width: int) -> Profile:
    """Count what a network of this configuration costs for one picture (C, H, W).

    Memory is that of a plain program: each operation writes a new tensor, which is freed after its last reader. Engines
    that work in place or fuse layers need less, those that unfold convolutions more. Raises UsageError for a network
    from outside the family and for sizes that it cannot take.
    """
    if find_generator(config) is None:
        raise UsageError("Only networks of the ESRGAN family have a cost profile: the layers of others are unknown.")
    if min(height, width) < 1 or height % config.multiple or width % config.multiple:
        raise UsageError(
            f"This network does not accept a picture of {width}x{height}: both sides must be multiples of"
            f" {config.multiple}."
        )
    operations, end = list_operations(config.layers, height, width)
    convolutions = [each for each in operations if each.kind == "convolution"]
    shapes = state_shapes(config)
    slopes = sum(prod(shape) for name, shape in shapes.items() if len(shape) == 1 and not name.endswith(".bias"))
    parameters = sum(prod(shape) for shape in shapes.values())
    return Profile(
        network=config.network,
        scale=config.scale,
        shape=(config.in_channels, height, width),
        parameters=parameters,
        parameters_without_slopes=parameters - slopes,
        layers=tuple(_sum_costs(kind, operations) for kind in KINDS if any(each.kind == kind for each in operations)),
        multiply_adds=config.multiply_adds(height, width),
        biases=sum(each.biases for each in convolutions),
        leaky_values=sum(each.values for each in operations if each.leaky),
        peak_values=find_peak_values(operations, config.in_channels * height * width, end),
        sum_values=sum(each.values for each in operations),
    )


def find_peak_values(operations: Sequence[Operation], picture_values: int, end: int) -> int:
    """Most numbers alive at one time: 0 is the picture, operation n makes tensor n + 1, `end` is kept.

    >>> grow = Operation("upsampling", (0,), 40)
    >>> find_peak_values([grow, Operation("sum", (1, 1), 40)], 10, 2)
    80
    """
    last = {end: len(operations)}
    for number, operation in enumerate(operations):
        for read in operation.reads:
            last[read] = max(last.get(read, 0), number)
    alive = {0: picture_values}
    most = picture_values
    for number, operation in enumerate(operations):
        alive[number + 1] = operation.values
        most = max(most, sum(alive.values()))
        alive = {each: values for each, values in alive.items() if last.get(each, -1) > number}
    return most


def _sum_costs(kind: Kind, operations: Sequence[Operation]) -> LayerCost:
    ours = [each for each in operations if each.kind == kind]
    return LayerCost(kind, len(ours), sum(each.multiply_adds for each in ours), sum(each.values for each in ours))


def list_operations(layers: drawn.Layers, height: int, width: int) -> tuple[list[Operation], int]:
    """List what a plain program would do, and give the number of the result; an activation is an operation."""
    operations: list[Operation] = []
    numbers = {0: 0}
    for number, layer in enumerate(layers.all):
        if layer.kind == "picture":
            continue
        pixels = int(layer.zoom**2 * height * width)
        values = layer.channels * pixels
        reads = tuple(numbers[read] for read in layer.reads)
        products = layers.multiply_adds_of(layer, height, width)
        biases = values if layer.kind == "conv" else 0
        operations.append(Operation(KIND_OF[layer.kind], reads, values, products, biases))
        if layer.slope is not None:
            operations.append(Operation("activation", (len(operations),), values, leaky=layer.slope != 0))
        numbers[number] = len(operations)
    return operations, numbers[layers.end]
