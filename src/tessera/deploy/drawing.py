"""A network's drawing as a list that can be read back and forth: which maps there are, who makes them, who reads them.

Maps are numbered in the order in which they are drawn: 0 is the picture. A convolution that is drawn twice (one module,
two places) is two layers with names of their own, so that each place can have its own numbers.

Shapes: C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tessera.generators import GeneratorConfig
from tessera.generators.drawing import draw

Kind = Literal["picture", "conv", "prelu", "concat", "add", "affine", "nearest", "shuffle", "unshuffle"]


@dataclass(frozen=True)
class Made:
    """How a map is made: by what, from which maps, with which numbers."""

    kind: Kind
    reads: tuple[int, ...] = ()
    layer: str = ""
    """Name of a convolution's place or of a PReLU's module."""
    module: str = ""
    slope: float | None = None
    factor: float = 1.0
    """Of a sum, an enlargement or a rearrangement."""
    factors: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """Every map of a network, in order."""

    maps: tuple[Made, ...]
    end: int
    channels: tuple[int, ...]
    """Of each map."""

    @property
    def convolutions(self) -> tuple[tuple[int, Made], ...]:
        """The convolutions with the numbers of what they make."""
        return tuple((number, made) for number, made in enumerate(self.maps) if made.kind == "conv")

    def parts(self, number: int) -> tuple[int, ...]:
        """The maps whose values a map holds unchanged, in the order of its channels: itself, or what was joined."""
        made = self.maps[number]
        if made.kind == "concat":
            return tuple(part for read in made.reads for part in self.parts(read))
        return self.parts(made.reads[0]) if made.kind == "nearest" else (number,)

    def sources(self) -> tuple[int, ...]:
        """The maps that convolutions read, joins and enlargements looked through."""
        return tuple(sorted({part for _, made in self.convolutions for part in self.parts(made.reads[0])}))

    def read_together(self) -> tuple[tuple[int, ...], ...]:
        """The sources in groups: what a convolution reads at once is in one, and so is what any of it is read with."""
        group = {number: {number} for number in self.sources()}
        for _, made in self.convolutions:
            merged = set[int]().union(*(group[part] for part in self.parts(made.reads[0])))
            group.update(dict.fromkeys(merged, merged))
        return tuple(tuple(sorted(each)) for number, each in group.items() if number == min(each))

    def free(self) -> tuple[int, ...]:
        """The maps whose channels may be scaled: those of a convolution and its activation, read by convolutions."""
        bound = {self.end}
        for made in self.maps:
            if made.kind not in ("conv", "concat", "nearest", "prelu"):
                bound.update(part for read in made.reads for part in self.parts(read))
        return tuple(
            number
            for number in self.sources()
            if number not in bound and self.maker(number) is not None and not self._goes_through_prelu(number)
        )

    def maker(self, number: int) -> Made | None:
        """The convolution whose result a map is, behind an activation at the most."""
        made = self.maps[number]
        if made.kind == "prelu":
            made = self.maps[made.reads[0]]
        return made if made.kind == "conv" else None

    def _goes_through_prelu(self, number: int) -> bool:
        return any(made.kind == "prelu" and number in made.reads for made in self.maps)


def record(config: GeneratorConfig, state: Mapping[str, Tensor]) -> Drawing:
    """Draw a network into a list. Raises EngineError for one from outside the family."""
    pen = _Recorder(state, config.in_channels)
    end = draw(config, pen, 0)
    return Drawing(tuple(pen.maps), end, tuple(pen.channels))


class _Recorder:
    """The pen that keeps what it is told; a map is its number."""

    def __init__(self, state: Mapping[str, Tensor], channels: int) -> None:
        self._state = state
        self._places: dict[str, int] = {}
        self.maps = [Made("picture")]
        self.channels = [channels]

    def conv(self, module: str, x: int, slope: float | None = None) -> int:
        self._places[module] = place = self._places.get(module, 0) + 1
        layer = module if place == 1 else f"{module}@{place}"
        made = Made("conv", (x,), layer=layer, module=module, slope=slope)
        return self._kept(made, self._state[f"{module}.weight"].shape[0])

    def prelu(self, module: str, x: int) -> int:
        return self._kept(Made("prelu", (x,), layer=module, module=module), self.channels[x])

    def concat(self, maps: Sequence[int]) -> int:
        return self._kept(Made("concat", tuple(maps)), sum(self.channels[each] for each in maps))

    def add(self, x: int, y: int, factor: float = 1.0) -> int:
        return self._kept(Made("add", (x, y), factor=factor), max(self.channels[x], self.channels[y]))

    def affine(self, x: int, factors: Sequence[float], offsets: Sequence[float]) -> int:
        made = Made("affine", (x,), factors=tuple(factors), offsets=tuple(offsets))
        return self._kept(made, self.channels[x])

    def nearest(self, x: int, factor: int) -> int:
        return self._kept(Made("nearest", (x,), factor=factor), self.channels[x])

    def shuffle(self, x: int, factor: int) -> int:
        return self._kept(Made("shuffle", (x,), factor=factor), self.channels[x] // factor**2)

    def unshuffle(self, x: int, factor: int) -> int:
        return self._kept(Made("unshuffle", (x,), factor=factor), self.channels[x] * factor**2)

    def _kept(self, made: Made, channels: int) -> int:
        self.maps.append(made)
        self.channels.append(channels)
        return len(self.maps) - 1
