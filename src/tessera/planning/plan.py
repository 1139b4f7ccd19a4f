"""What was measured of each engine for one network on one machine, and the choice that follows from it.

A plan is a value: it can be printed, stored and asked again. What it holds are seconds to get ready and seconds per
megapixel, so a small picture and a folder of a thousand may get different engines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field

from tessera.engines.engine import Precision, Products
from tessera.engines.opening import EngineName

TILES = (512, 384, 256, 192, 128)
LEAST_SHARE_WITHIN_ONE_LEVEL = 0.99
LEAST_PSNR_DB = 50.0
"""Of `fast`: what is still allowed is not seen side by side, but is no longer the same picture to the level."""
_LARGEST_TILE_BYTES = 4 * 2**30
_WORTH_A_LARGER_TILE = 0.9
"""A larger tile takes more memory, so it has to save a tenth of the time."""
UNANNOUNCED_PIXELS = 2**20
"""The size of the job where nobody says: a picture of a megapixel."""

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Timing(BaseModel, frozen=True, extra="forbid"):
    """How fast tiles of one size were, without what seams cost."""

    side: Annotated[int, Field(ge=1, le=65_536)]
    seconds_per_megapixel: _Seconds
    """Of input."""


class Difference(BaseModel, frozen=True, extra="forbid"):
    """How far an engine's output is from the reference's, both rounded to 255 levels."""

    within_one_level: Annotated[float, Field(ge=0, le=1)]
    """Share of the samples that differ by at most one level."""
    largest: Annotated[int, Field(ge=0, le=255)]
    """In levels."""
    psnr_db: Annotated[float, Field(allow_inf_nan=False)] | None
    """Before rounding; None when nothing differs."""

    def is_allowed(self, policy: Precision) -> bool:
        """Whether the policy of the user lets this pass: for `exact` no sample may differ by more than one level."""
        if policy == "exact":
            return self.within_one_level == 1
        alike = self.within_one_level >= LEAST_SHARE_WITHIN_ONE_LEVEL
        return alike or (policy == "fast" and (self.psnr_db is None or self.psnr_db >= LEAST_PSNR_DB))

    def worse(self, other: Difference) -> Difference:
        """The worse of the two in each respect."""
        known = [each for each in (self.psnr_db, other.psnr_db) if each is not None]
        return Difference(
            within_one_level=min(self.within_one_level, other.within_one_level),
            largest=max(self.largest, other.largest),
            psnr_db=min(known, default=None),
        )

    def __str__(self) -> str:
        far = "" if self.psnr_db is None else f", {self.psnr_db:.1f} dB"
        return f"{self.within_one_level:.2%} within 1 level of fp32, at most {self.largest} off{far}"


class Candidate(BaseModel, frozen=True, extra="forbid"):
    """One way to run the network, and what was found out about it."""

    engine: EngineName
    precision: Products
    fast: bool = False
    """Whether the engine goes the way that it has for the policy `fast` alone."""
    stated_drop_db: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """What it was measured to lose of PSNR to the truth, where that stands in a file of its own (int8); then that is
    what it is judged by, and not how far it is from fp32."""
    threads: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """None where threads mean nothing (on a GPU)."""
    startup_seconds: _Seconds = 0.0
    """From nothing to the first tile: import, conversion, compilation."""
    timings: tuple[Timing, ...] = ()
    """Smallest tile first; empty when it was not measured."""
    bytes_per_pixel: Annotated[int, Field(ge=0)] = 0
    difference: Difference | None = None
    """None as long as it was not checked, which is done before it is used."""
    problem: str | None = None
    """Why it is left out."""

    def seconds_per_megapixel(self, side: int) -> float:
        """Of input in tiles of this side, without what seams cost: between two that were measured, else the nearest."""
        before, *rest = self.timings
        for timing in rest:
            if before.side < side < timing.side:
                part = (side - before.side) / (timing.side - before.side)
                return before.seconds_per_megapixel + part * (
                    timing.seconds_per_megapixel - before.seconds_per_megapixel
                )
            if side >= timing.side:
                before = timing
        return before.seconds_per_megapixel

    def seconds(self, pixels: int, side: int, overlap: int) -> float:
        """To be ready and to enlarge so many input pixels in tiles of this side; what fits in one has no seams."""
        more = 1.0 if pixels <= side**2 else waste(side, overlap)
        return self.startup_seconds + self.seconds_per_megapixel(side) * more * pixels / 1e6

    def best_tile(self, overlap: int) -> int:
        """The side of tiles: the smallest that is not a tenth slower than a larger one, within the memory for one."""
        affordable = [side for side in TILES if side**2 * self.bytes_per_pixel <= _LARGEST_TILE_BYTES]
        sides = [side for side in affordable if side > 3 * overlap] or [TILES[-1]]
        costs = {side: self.seconds_per_megapixel(side) * waste(side, overlap) for side in sides}
        least = min(costs.values())
        return min(side for side, cost in costs.items() if cost * _WORTH_A_LARGER_TILE <= least)

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.threads else ""
        return f"{self.engine} {self.precision}{' fast' if self.fast else ''}{threads}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a job is run with."""

    candidate: Candidate
    tile: int | None
    """None where nothing was measured: as memory allows."""
    seconds: float | None
    """What the whole job is expected to take, reading and writing files aside."""
    batch: int = 1
    """Tiles at a time: pictures are run tile by tile, so that is all there is to choose."""


class Plan(BaseModel, frozen=True, extra="forbid"):
    """All candidates for one network, one policy and one machine, in the order in which they were tried."""

    policy: Precision
    candidates: tuple[Candidate, ...]
    seconds: _Seconds = 0.0
    """How long measuring took."""

    def ranking(self, pixels: int, overlap: int = 0, tile: int | None = None) -> list[Choice]:
        """Who is to run a job of so many input pixels: the fastest first, at the end those that were not measured.

        What was dropped is not among them. `tile` is the side of tiles where that is not to be chosen, 0 for one piece.
        """
        usable = [each for each in self.candidates if each.problem is None]
        measured: list[Choice] = []
        for each in usable:
            if each.timings:
                side = each.best_tile(overlap) if tile is None else tile
                seconds = each.seconds(pixels, side or max(round(pixels**0.5), 1), overlap if side else 0)
                measured.append(Choice(candidate=each, tile=side, seconds=seconds))
        measured.sort(key=lambda choice: choice.seconds or 0.0)
        # Last of all the reference, which is never wrong.
        unknown = sorted((each for each in usable if not each.timings), key=lambda each: each.engine != "pytorch")
        return measured + [Choice(candidate=each, tile=None, seconds=None) for each in unknown]

    def choose(self, pixels: int, overlap: int = 0, tile: int | None = None) -> Choice | None:
        """The first of the ranking, or None when all have been dropped."""
        return next(iter(self.ranking(pixels, overlap, tile)), None)

    def replacing(self, old: Candidate, new: Candidate) -> Plan:
        """The plan with more known about one candidate."""
        return self.model_copy(update={"candidates": tuple(new if each == old else each for each in self.candidates)})

    def lines(self, choice: Choice | None, overlap: int = 0, tile: int | None = None) -> Iterator[str]:
        """The plan in words: what is used, and what was measured of each candidate."""
        if choice is not None:
            tiles = f", tiles of {choice.tile}" if choice.tile else ""
            yield f"plan: {choice.candidate}{tiles}, precision {self.policy} (measured in {self.seconds:.1f} s)"
        for each in self.candidates:
            told: list[str] = []
            if each.stated_drop_db is not None:
                told.append(f"loses {each.stated_drop_db:.3f} dB by its file")
            if each.timings:
                side = tile or each.best_tile(overlap)
                rate = each.seconds_per_megapixel(side) * waste(side, overlap)
                told += [f"{rate:.1f} s per megapixel in tiles of {side}", f"{each.startup_seconds:.1f} s to be ready"]
            if each.difference is not None:
                told.append(str(each.difference))
            if each.problem is not None:
                told.append(f"left out: {each.problem}")
            yield f"  {each}: {'; '.join(told) or 'not measured'}"


def waste(side: int, overlap: int) -> float:
    """How many pixels are computed for each that is kept, far from the borders of the picture.

    >>> waste(256, 32), waste(100, 0)
    (1.7777777777777777, 1.0)
    """
    kept = max(side - 2 * min(overlap, side * 3 // 8), 1)
    return (side / kept) ** 2


def sentence_of(error: BaseException) -> str:
    """What is told of an error that keeps an engine out: its kind and its first line."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}"[:300]
