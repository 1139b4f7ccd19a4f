"""Measurements of each engine for one network on one machine, and the choice that follows from them.

A plan is a value: it can be printed, stored and queried again. It holds startup seconds and seconds per megapixel, so a
small picture and a folder of a thousand may get different engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field

from tessera.engines.engine import Precision, Products
from tessera.engines.opening import EngineName

TILES = (512, 384, 256, 192, 128)
SMALL_TILES = (96, 64, 32)
"""For slow GPUs."""
LONGEST_TILE_SECONDS = 1.0
"""On a GPU: drivers reset a device that computes for 2 s or more without a pause (Windows' default)."""
LEAST_SHARE_WITHIN_ONE_LEVEL = 0.99
LEAST_PSNR_DB = 50.0
"""Limit of `fast`: differences are invisible side by side, but may exceed one level."""
FLOOR_DB = 28.0
"""Limit of every candidate, also of an int8 file within its stated loss: below it, the output is another picture.

int8 files that lose at most 0.2 dB are at least 37 dB from fp32 on photographs, those that lose 1.4 to 2.3 dB at most
25 dB (docs/explanation/quantization.md).
"""
_LARGEST_TILE_BYTES = 4 * 2**30
_WORTH_A_LARGER_TILE = 0.9
"""A larger tile needs more memory, so it has to save a tenth of the time."""
UNANNOUNCED_PIXELS = 2**20
"""Job size where none is announced: one megapixel."""
SLOWEST_PACE = 8.0
"""Limit of the correction of a forecast, in both directions."""

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Timing(BaseModel, frozen=True, extra="forbid"):
    """Speed with tiles of one size, without the cost of seams."""

    side: Annotated[int, Field(ge=1, le=65_536)]
    seconds_per_megapixel: _Seconds
    """Per megapixel of input."""


class Difference(BaseModel, frozen=True, extra="forbid"):
    """Difference between the outputs of an engine and of the reference, both rounded to 255 levels."""

    within_one_level: Annotated[float, Field(ge=0, le=1)]
    """Share of the samples that differ by at most one level."""
    largest: Annotated[int, Field(ge=0, le=255)]
    """In levels."""
    psnr_db: Annotated[float, Field(allow_inf_nan=False)] | None
    """Before rounding; None when nothing differs."""

    def is_allowed(self, policy: Precision) -> bool:
        """Whether the precision allows this difference: with `exact` no sample may differ by more than one level."""
        if not self.is_above_floor:
            return False
        if policy == "exact":
            return self.within_one_level == 1
        alike = self.within_one_level >= LEAST_SHARE_WITHIN_ONE_LEVEL
        return alike or (policy == "fast" and (self.psnr_db is None or self.psnr_db >= LEAST_PSNR_DB))

    @property
    def is_above_floor(self) -> bool:
        """Whether the output is the same picture at all, whatever the precision allows and a file states."""
        return self.psnr_db is None or self.psnr_db >= FLOOR_DB

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
    """One way to run the network, with its measurements."""

    engine: EngineName
    precision: Products
    fast: bool = False
    """Whether the engine uses its mode for the precision `fast`."""
    stated_drop_db: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Measured loss of PSNR against ground truth, stored in an int8 file; compared with fp32 it only has to be above
    FLOOR_DB."""
    threads: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """None on a GPU."""
    device: str = "cpu"
    """Such as "cuda:1" or "vulkan:0"."""
    startup_seconds: _Seconds = 0.0
    """Import, conversion and compilation, until the first tile."""
    timings: tuple[Timing, ...] = ()
    """Smallest tile first; empty when not measured."""
    bytes_per_pixel: Annotated[int, Field(ge=0)] = 0
    pace: Annotated[float, Field(ge=SLOWEST_PACE**-1, le=SLOWEST_PACE)] = 1.0
    """Actual over measured seconds of a tile in recent pictures. It corrects forecasts, and does not change the choice,
    because other candidates have no such measurement."""
    difference: Difference | None = None
    """None until it is checked, which happens before its first use."""
    problem: str | None = None
    """Why it is excluded."""

    def seconds_per_megapixel(self, side: int) -> float:
        """Seconds per megapixel of input in tiles of this side, without seams: interpolated, or of the nearest side."""
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
        """Seconds for startup and this many input pixels in tiles of this side; a single tile has no seams."""
        more = 1.0 if pixels <= side**2 else waste(side, overlap)
        return self.startup_seconds + self.seconds_per_megapixel(side) * more * pixels / 1e6

    def estimate_seconds_at_pace(self, pixels: int, side: int, overlap: int) -> float:
        """Seconds as above at the pace of recent pictures."""
        work = self.seconds(pixels, side, overlap) - self.startup_seconds
        return self.startup_seconds + self.pace * work

    def choose_best_tile(self, overlap: int) -> int:
        """The smallest tile side that is not a tenth slower than a larger one, within the memory for one tile."""
        affordable = [side for side in TILES if side**2 * self.bytes_per_pixel <= _LARGEST_TILE_BYTES]
        sides = [side for side in affordable if side > 3 * overlap] or [TILES[-1]]
        if self.device.startswith("vulkan"):
            quick = [side for side in (*sides, *SMALL_TILES) if self._tile_seconds(side) <= LONGEST_TILE_SECONDS]
            sides = [side for side in sides if side in quick] or quick[:1] or [SMALL_TILES[-1]]
        costs = {side: self.seconds_per_megapixel(side) * waste(side, overlap) for side in sides}
        least = min(costs.values())
        return min(side for side, cost in costs.items() if cost * _WORTH_A_LARGER_TILE <= least)

    def _tile_seconds(self, side: int) -> float:
        return self.seconds_per_megapixel(side) * side**2 / 1e6

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.threads else ""
        device = "" if self.device == "cpu" else f" on {self.device}"
        return f"{self.engine} {self.precision}{' fast' if self.fast else ''}{device}{threads}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen candidate and tile size for a job."""

    candidate: Candidate
    tile: int | None
    """None where nothing was measured: then memory decides."""
    seconds: float | None
    """Expected seconds for the whole job, without reading and writing files."""
    batch: int = 1
    """Tiles at a time."""


class Plan(BaseModel, frozen=True, extra="forbid"):
    """All candidates for one network, one policy and one machine, in the order in which they were tried."""

    policy: Precision
    candidates: tuple[Candidate, ...]
    seconds: _Seconds = 0.0
    """Duration of the measurement."""

    def ranking(self, pixels: int, overlap: int = 0, tile: int | None = None) -> list[Choice]:
        """Choices for a job of this many input pixels: the fastest first, unmeasured candidates last.

        Excluded candidates are left out. `tile` fixes the side of tiles; 0 disables tiling.
        """
        usable = [each for each in self.candidates if each.problem is None]
        measured: list[tuple[float, Choice]] = []
        for each in usable:
            if each.timings:
                side = each.choose_best_tile(overlap) if tile is None else tile
                job = (pixels, side or max(round(pixels**0.5), 1), overlap if side else 0)
                choice = Choice(candidate=each, tile=side, seconds=each.estimate_seconds_at_pace(*job))
                measured.append((each.seconds(*job), choice))
        measured.sort(key=lambda pair: pair[0])
        # PyTorch comes last: it is the reference and always correct.
        unknown = sorted((each for each in usable if not each.timings), key=lambda each: each.engine != "pytorch")
        return [choice for _, choice in measured] + [
            Choice(candidate=each, tile=None, seconds=None) for each in unknown
        ]

    def choose(self, pixels: int, overlap: int = 0, tile: int | None = None) -> Choice | None:
        """The first of the ranking, or None when all are excluded."""
        return next(iter(self.ranking(pixels, overlap, tile)), None)

    def replacing(self, old: Candidate, new: Candidate) -> Plan:
        """The plan with one candidate replaced."""
        return self.model_copy(update={"candidates": tuple(new if each == old else each for each in self.candidates)})

    def describe(self, choice: Choice | None) -> str:
        """What was decided and why, in a line."""
        excluded = [f"{each} excluded: {each.problem}" for each in self.candidates if each.problem is not None]
        if choice is None:
            return "; ".join(["plan: no candidate is usable", *excluded])
        chosen = choice.candidate
        words = [f"plan: {chosen}{f', tiles of {choice.tile}' if choice.tile else ''}, precision {self.policy}"]
        if chosen.timings:
            measured = sum(bool(each.timings) for each in self.candidates)
            rate = chosen.seconds_per_megapixel(choice.tile or chosen.timings[-1].side)
            rank = f"the fastest of {measured} measured" if measured > 1 else "the fastest by experience"
            words.append(f"{rate:.3g} s per megapixel, {rank} in {self.seconds:.1f} s")
        if chosen.difference is not None:
            words.append(str(chosen.difference))
        if chosen.stated_drop_db is not None:
            words.append(f"loses {chosen.stated_drop_db:.3f} dB according to its file")
        return "; ".join([*words, *excluded])

    def explain(self, candidate: Candidate, choice: Choice | None) -> str:
        """Why a candidate was chosen or was not, in a few words."""
        if choice is not None and candidate == choice.candidate:
            return "chosen"
        if candidate.problem is not None:
            return f"excluded: {candidate.problem}"
        return "slower" if candidate.timings else "not measured"


def waste(side: int, overlap: int) -> float:
    """Computed pixels per output pixel because of overlaps, away from the borders of the picture.

    >>> waste(256, 32), waste(100, 0)
    (1.7777777777777777, 1.0)
    """
    kept = max(side - 2 * min(overlap, side * 3 // 8), 1)
    return (side / kept) ** 2


def sentence_of(error: BaseException) -> str:
    """The kind and the first line of an error that excludes an engine."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}"[:300]
