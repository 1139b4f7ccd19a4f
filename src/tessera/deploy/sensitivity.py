"""Which layers lose most: each unit of a network rounded alone, and how far the picture then is from that of fp32.

A unit is what reads the same map first: a dense block is one, and so is a convolution by itself. What a unit does not
touch is made once and looked up afterwards.

Shapes: B pictures, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.deploy.calibrating import Calibrated, round_layer
from tessera.deploy.drawing import Drawing, Made
from tessera.deploy.int8_network import activated, apply


@dataclass(frozen=True)
class Unit:
    """Layers that are rounded or kept together, in order."""

    layers: tuple[str, ...]

    @property
    def name(self) -> str:
        """The only layer, or the part of the names that all layers share."""
        if len(self.layers) == 1:
            return self.layers[0]
        words = [layer.split(".") for layer in self.layers]
        shared = [column[0] for column in zip(*words, strict=False) if len(set(column)) == 1]
        return ".".join(shared) or f"{self.layers[0]} to {self.layers[-1]}"


@dataclass(frozen=True)
class Sensitivity:
    """What rounding one unit alone does to the result."""

    unit: Unit
    mean_square: float
    """Of the difference to fp32, in levels of 255 squared."""


def units(drawing: Drawing) -> tuple[Unit, ...]:
    """All convolutions, those together that begin with the same map."""
    found: dict[int, list[str]] = {}
    for _, made in drawing.convolutions:
        found.setdefault(drawing.parts(made.reads[0])[0], []).append(made.layer)
    return tuple(Unit(tuple(layers)) for layers in found.values())


@torch.inference_mode()
def sensitivities(calibrated: Calibrated, pictures: Tensor, *, per_channel: bool = True) -> tuple[Sensitivity, ...]:
    """Round one unit after another, alone: the most costly first; pictures (B, C, H, W) in [0, 1]."""
    memory = _Memory(calibrated, pictures)
    found = [Sensitivity(unit, memory.error_of(unit, per_channel=per_channel)) for unit in units(calibrated.drawing)]
    return tuple(sorted(found, key=lambda each: (-each.mean_square, each.unit.layers)))


class _Memory:
    """Every map of the fp32 network but joins and enlargements, which are made again where they are wanted."""

    def __init__(self, calibrated: Calibrated, pictures: Tensor) -> None:
        self._of = calibrated
        self._maps: dict[int, Tensor] = {0: pictures}
        for number, made in enumerate(calibrated.drawing.maps):
            if made.kind not in ("picture", "concat", "nearest"):
                self._maps[number] = apply(made, [self._exact(read) for read in made.reads], calibrated.arrays)

    def error_of(self, unit: Unit, *, per_channel: bool) -> float:
        """Mean squared difference of the result, in levels squared, with this unit alone in whole numbers."""
        drawing = self._of.drawing
        last = {read: number for number, made in enumerate(drawing.maps) for read in made.reads}
        touched: dict[int, Tensor] = {}
        for number, made in enumerate(drawing.maps):
            if made.layer in unit.layers:
                touched[number] = self._rounded(made, touched, per_channel=per_channel)
            elif any(read in touched for read in made.reads):
                inputs = [touched[read] if read in touched else self._exact(read) for read in made.reads]
                touched[number] = apply(made, inputs, self._of.arrays)
            for read in set(made.reads):
                if last[read] == number:
                    touched.pop(read, None)
        end = drawing.end
        return float((touched[end] - self._exact(end)).mul_(255).double().square().mean()) if end in touched else 0.0

    def _rounded(self, made: Made, touched: dict[int, Tensor], *, per_channel: bool) -> Tensor:
        read = made.reads[0]
        exact = self._exact(read)
        _, _, got = round_layer(self._of, made, exact, touched.get(read, exact), per_channel=per_channel)
        return activated(got, made)

    def _exact(self, number: int) -> Tensor:
        if number in self._maps:
            return self._maps[number]
        made = self._of.drawing.maps[number]
        return apply(made, [self._exact(read) for read in made.reads], self._of.arrays)


def shares(found: Sequence[Sensitivity]) -> dict[str, float]:
    """Each unit's share of the sum of all errors, by name."""
    total = sum(each.mean_square for each in found) or 1.0
    return {each.unit.name: each.mean_square / total for each in found}
