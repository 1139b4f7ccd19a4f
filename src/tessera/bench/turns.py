"""Candidates timed in turn (A, B, C, A, B, C ...), and statistics of their times.

>>> one, two = (Run(seconds=4.0, cpu_seconds=8.0),) * 3, (Run(seconds=2.0, cpu_seconds=4.0),) * 3
>>> ratios(one, two).median
2.0
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tessera.bench.difference import Deviation

REST_SECONDS = 0.3
"""Pause before each turn: idle threads of the previous candidate spin for a while and would slow the next one."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Time and memory of one turn; `peak_bytes` is None where the system does not report it."""

    seconds: float
    cpu_seconds: float | None
    peak_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median, minimum and maximum of some values."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class CandidateResult:
    """One candidate after its turns; `products` is the number type of its multiplications: fp32, bf16, int8."""

    name: str
    products: str
    first_seconds: float | None
    """The first run, which includes one-time work; not part of `runs`."""
    runs: tuple[Run, ...]
    difference: Deviation | None
    """The largest deviation of its results from the reference; None for the reference itself."""
    problem: str | None = None
    """Why its results are wrong, if they are; such a candidate gets no speed-up."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A candidate that could not be opened or failed, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """All candidates of one benchmark; speed-ups are relative to the first."""

    subject: str
    """The network and the picture, in words."""
    measured: tuple[CandidateResult, ...]
    missing: tuple[Missing, ...] = ()
    multiply_adds: int | None = None
    """Multiply-adds of one run of the network by its definition; None if unknown or not the complete work."""
    peaks: Mapping[str, float] = field(default_factory=dict[str, float])
    """Operations per second of matrix products, by type."""

    def ratio(self, candidate: CandidateResult) -> Spread | None:
        """The speed-up of a candidate over the first; None where the results of either are wrong."""
        first = self.measured[0]
        if candidate.problem is not None or first.problem is not None:
            return None
        return ratios(first.runs, candidate.runs)

    def operations_per_second(self, candidate: CandidateResult) -> float | None:
        """Effective operations per second, two per multiply-add, also where an algorithm needs fewer."""
        if not self.multiply_adds:
            return None
        return 2 * self.multiply_adds / spread([run.seconds for run in candidate.runs]).median

    def share_of_peak(self, candidate: CandidateResult) -> float | None:
        """Operations per second relative to matrix products of this type; above 1 where an algorithm needs fewer."""
        rate, peak = self.operations_per_second(candidate), self.peaks.get(candidate.products)
        return None if rate is None or not peak or candidate.problem is not None else rate / peak


def spread(values: Sequence[float]) -> Spread:
    """Median, minimum and maximum of at least one value."""
    return Spread(median=statistics.median(values), least=min(values), most=max(values))


def ratios(first: Sequence[Run], other: Sequence[Run]) -> Spread:
    """Speed-ups of the other over the first, round by round, since other work slows all candidates of a round."""
    return spread([one.seconds / two.seconds for one, two in zip(first, other, strict=True)])


Turn = Callable[[], Run]


def take_turns(
    turns: Mapping[str, Turn],
    rounds: int,
    *,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[int, str], None] = lambda _round, _name: None,
) -> tuple[dict[str, tuple[Run, ...]], tuple[Missing, ...]]:
    """Run each candidate once per round -> runs by name, and the candidates that failed.

    A candidate that fails is dropped with all its times; an error of the first, the reference, is raised. `progress` is
    called before each turn.
    """
    first = next(iter(turns))
    runs: dict[str, list[Run]] = {name: [] for name in turns}
    failed: list[Missing] = []
    for number in range(rounds):
        for name in list(runs):
            progress(number, name)
            sleep(REST_SECONDS)
            try:
                runs[name].append(turns[name]())
            except Exception as error:  # libraries raise anything; the other candidates continue
                if name == first:
                    raise
                del runs[name]
                failed.append(Missing(name=name, reason=summarize_error(error)))
    return {name: tuple(taken) for name, taken in runs.items()}, tuple(failed)


def summarize_error(error: BaseException) -> str:
    """The first line of an error's text, as a sentence."""
    lines = str(error).strip().splitlines()
    text = lines[0].strip()[:300] if lines else type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."
