"""Candidates in turn (A, B, C, A, B, C ...) and what their times say.

>>> one, two = (Run(seconds=4.0, cpu_seconds=8.0),) * 3, (Run(seconds=2.0, cpu_seconds=4.0),) * 3
>>> ratios(one, two).median
2.0
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tessera.bench.difference import Difference

REST_SECONDS = 0.3
"""Before each turn: the threads of the one before go on looking for work for a while, and would take it from this."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one turn took; where the system does not say how much memory, `peak_bytes` is None."""

    seconds: float
    cpu_seconds: float | None
    peak_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of some values, the least and the most."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One candidate after its turns; `products` is the type that it multiplies in: fp32, bf16, int8."""

    name: str
    products: str
    first_seconds: float | None
    """The first run, with everything that is done once; it is none of `runs`."""
    runs: tuple[Run, ...]
    difference: Difference | None
    """The largest of all its results to the reference; None for the reference itself."""
    problem: str | None = None
    """Why its results are wrong: such a candidate has times, and no place among the fast."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A candidate that could not be opened, or fell over, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All candidates of one measurement; ratios are to the first."""

    subject: str
    """What was enlarged by what, in words."""
    measured: tuple[Measured, ...]
    missing: tuple[Missing, ...] = ()
    multiply_adds: int | None = None
    """Of one run of the network, as its definition has them; None where they are not known, or are not all there is."""
    peaks: Mapping[str, float] = field(default_factory=dict[str, float])
    """Operations per second of matrix products, by type."""

    def ratio(self, candidate: Measured) -> Spread | None:
        """How many times as fast as the first a candidate is; None for one with wrong results, or wrong company."""
        first = self.measured[0]
        if candidate.problem is not None or first.problem is not None:
            return None
        return ratios(first.runs, candidate.runs)

    def operations_per_second(self, candidate: Measured) -> float | None:
        """Two per multiply-add: "effective" ones, where an algorithm needs fewer."""
        if not self.multiply_adds:
            return None
        return 2 * self.multiply_adds / spread([run.seconds for run in candidate.runs]).median

    def share_of_peak(self, candidate: Measured) -> float | None:
        """Operations per second over those of the matrix products of this type; more than 1 where fewer are needed."""
        rate, peak = self.operations_per_second(candidate), self.peaks.get(candidate.products)
        return None if rate is None or not peak or candidate.problem is not None else rate / peak


def spread(values: Sequence[float]) -> Spread:
    """The median and the ends of at least one value."""
    return Spread(median=statistics.median(values), least=min(values), most=max(values))


def ratios(first: Sequence[Run], other: Sequence[Run]) -> Spread:
    """How many times as fast the other is, round by round: what slowed a whole round is in both times of it."""
    return spread([one.seconds / two.seconds for one, two in zip(first, other, strict=True)])


Turn = Callable[[], Run]


def take_turns(
    turns: Mapping[str, Turn],
    rounds: int,
    *,
    sleep: Callable[[float], None] = time.sleep,
    told: Callable[[int, str], None] = lambda _round, _name: None,
) -> tuple[dict[str, tuple[Run, ...]], tuple[Missing, ...]]:
    """Give each candidate its turn in each round -> runs by name, and the candidates that fell over.

    One that fails has no further turns, and none of its times count; if it is the first, which the others are compared
    with, its error is raised. `told` hears of each turn before it begins.
    """
    first = next(iter(turns))
    runs: dict[str, list[Run]] = {name: [] for name in turns}
    failed: list[Missing] = []
    for number in range(rounds):
        for name in list(runs):
            told(number, name)
            sleep(REST_SECONDS)
            try:
                runs[name].append(turns[name]())
            except Exception as error:  # libraries fail in their own ways; the others go on
                if name == first:
                    raise
                del runs[name]
                failed.append(Missing(name=name, reason=reason(error)))
    return {name: tuple(taken) for name, taken in runs.items()}, tuple(failed)


def reason(error: BaseException) -> str:
    """The first line of an error's text, as a sentence."""
    lines = str(error).strip().splitlines()
    text = lines[0].strip()[:300] if lines else type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."
