"""Weights as names and shapes: what a network needs, and how what is there differs from it."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol


class Shaped(Protocol):
    """An array or a tensor."""

    @property
    def shape(self) -> Sequence[int]:
        """Its sizes."""
        ...


class Sized(Protocol):
    """What has weights of known names and shapes: the configuration of a generator or of a discriminator."""

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the weights, in the order of the network."""
        ...


@lru_cache(maxsize=32)
def state_shapes(config: Sized) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes of the weights of a network."""
    return MappingProxyType(config.weight_shapes)


def read_shapes(state: Mapping[str, Shaped]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of weights."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def compare(expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Shaped]) -> str:
    """Say in words how weights differ from what a network needs; an empty text when they fit."""
    parts: list[str] = []
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    wrong = [
        f"`{name}` has the shape {tuple(state[name].shape)} and should have {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    if missing:
        parts.append(f"{len(missing)} of its names are missing ({format_names(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} names do not belong to it ({format_names(unexpected)})")
    if wrong:
        parts.append("; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""))
    return "; ".join(parts)


def format_names(names: Iterable[str], limit: int = 4) -> str:
    """Name the first few of many, and count the rest."""
    quoted = [f"`{name[:80]}`" for name in names]
    more = f" and {len(quoted) - limit} more" if len(quoted) > limit else ""
    return ", ".join(quoted[:limit]) + more
