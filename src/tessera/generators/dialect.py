"""How other programs name the weights of a network, and how its sizes follow from names and shapes.

The same record describes generators and discriminators. Nothing here needs PyTorch: weights are names and shapes.

Shapes of the tensors: O output channels, I input channels, K the kernel's height and width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of weights by their names in a file."""
ConfigT = TypeVar("ConfigT", bound=BaseModel)


@dataclass(frozen=True)
class ScaleHint:
    """The scale that the caller asked for, and the one that the file's name contains."""

    requested: int | None = None
    named: int | None = None


class MisfitError(Exception):
    """The names fit a dialect and the rest does not; the text says what."""


def _no_notes(_: BaseModel) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Dialect(Generic[ConfigT]):
    """One way to name the weights of one network."""

    name: str
    description: str
    """The network and the names, as messages have it: "RRDBNet with the names of BasicSR"."""
    marks: tuple[str, ...]
    """Names that only this dialect has all of."""
    infer: Callable[[Shapes, ScaleHint], ConfigT]
    """The configuration that the shapes belong to. Raises MisfitError, or pydantic's ValidationError."""
    names: Callable[[Any], Mapping[str, str] | None]
    """For a configuration the name in the file of each name in the network; None where the dialect has none."""
    pattern: re.Pattern[str] | None = None
    """All names of the dialect; used to find the nearest one for weights that fit none."""
    program: str = ""
    """The program that writes such files, where it is not the dialect's name."""
    bgr: bool = False
    """Whether its networks were trained on BGR."""
    zeros: re.Pattern[str] | None = None
    """Names of the network that files do not hold because their values are zero."""
    notes: Callable[[ConfigT], tuple[str, ...]] = _no_notes
    """Notes for the user about weights read in this dialect."""


def convolution_shape(shapes: Shapes, name: str) -> tuple[int, int, int]:
    """Look up a convolution: (O, I, K, K) -> outputs, inputs, kernel. Raises MisfitError if it is not one."""
    if name not in shapes:
        raise MisfitError(f"`{name}` is missing")
    shape = shapes[name]
    if len(shape) != 4:
        raise MisfitError(f"`{name}` has the shape {shape} and should have four sizes, as convolutions have")
    return shape[0], shape[1], shape[2]


def count_numbers(shapes: Shapes, pattern: str) -> int:
    """Count the different matches of the pattern's group, in names that match from their beginning."""
    return len(collect_matches(shapes, pattern))


def find_highest_number(shapes: Shapes, pattern: str) -> int:
    """Find the highest number that the pattern's group matches, 0 where no name matches from its beginning."""
    return max((int(found) for found in collect_matches(shapes, pattern)), default=0)


def collect_matches(shapes: Shapes, pattern: str) -> set[str]:
    """Collect what the pattern's group matches in names that match from their beginning."""
    compiled = re.compile(pattern)
    return {match[1] for name in shapes if (match := compiled.match(name))}
