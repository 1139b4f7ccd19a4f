"""The network alone, in this process: engines and peers on one crop of a picture.

Shapes: C channels, h and w the crop, s the scale.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from tessera.bench.difference import Deviation, compare_tensors, find_problem
from tessera.bench.turns import BenchResult, CandidateResult, Missing, Run, summarize_error, take_turns

Progress = Callable[[str], None]
"""Called with the next step, in words."""


@dataclass(frozen=True)
class Opened:
    """A candidate ready to run: (1, C, h, w) float32 in [0, 1] -> (1, C, s*h, s*w), not clipped."""

    name: str
    products: str
    run: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Contender:
    """A candidate before it is opened; `open` raises where it cannot run here."""

    name: str
    open: Callable[[], Opened]


@dataclass(frozen=True)
class Clocks:
    """Wall-clock seconds, processor seconds of all threads, and sleeping."""

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time
    sleep: Callable[[float], None] = time.sleep


def measure_network(
    contenders: Sequence[Contender],
    picture: Tensor,
    *,
    subject: str,
    rounds: int,
    multiply_adds: int | None = None,
    probes: Mapping[str, Callable[[], float]] | None = None,
    clocks: Clocks | None = None,
    progress: Progress = lambda _: None,
) -> BenchResult:
    """Run contenders in turn on one picture, (1, C, h, w) float32 in [0, 1], and compare every result.

    The first contender computes the reference; its errors are raised. Two contenders that resolve to the same library
    and number type run once. Matrix probes run before and after the rounds.
    """
    clocks = clocks or Clocks()
    probes = probes or {}
    peaks = {name: probe() for name, probe in probes.items()}
    entered: dict[str, _RunningCandidate] = {}
    missing: list[Missing] = []
    reference: Tensor | None = None
    for contender in contenders:
        progress(f"opening {contender.name}")
        try:
            opened = contender.open()
            if opened.name in entered:
                continue
            entry = _RunningCandidate(opened, picture, reference, clocks)
            warm_up = entry.warm_up()
        except Exception as error:  # libraries raise anything; the other candidates continue
            if reference is None:
                raise
            missing.append(Missing(name=contender.name, reason=summarize_error(error)))
            continue
        reference = warm_up if reference is None else reference
        entered[opened.name] = entry
    runs, failed = take_turns(
        {name: entry.run_turn for name, entry in entered.items()},
        rounds,
        sleep=clocks.sleep,
        progress=lambda number, name: progress(f"round {number + 1} of {rounds}: {name}"),
    )
    peaks = {name: max(peak, probes[name]()) for name, peak in peaks.items()}
    return BenchResult(
        subject=subject,
        measured=tuple(entered[name].summarize(taken) for name, taken in runs.items()),
        missing=(*missing, *failed),
        multiply_adds=multiply_adds,
        peaks=peaks,
    )


class _RunningCandidate:
    """A running candidate; its results are compared outside the timed part."""

    def __init__(self, opened: Opened, picture: Tensor, reference: Tensor | None, clocks: Clocks) -> None:
        self._opened, self._picture, self._reference, self._clocks = opened, picture, reference, clocks
        self._first_seconds: float | None = None
        self._worst: Deviation | None = None
        self._problem: str | None = None

    def warm_up(self) -> Tensor:
        """The first run, which compiles and fills caches."""
        result, run = self._time_run()
        self._first_seconds = run.seconds
        return result

    def run_turn(self) -> Run:
        return self._time_run()[1]

    def summarize(self, runs: tuple[Run, ...]) -> CandidateResult:
        return CandidateResult(
            name=self._opened.name,
            products=self._opened.products,
            first_seconds=self._first_seconds,
            runs=runs,
            difference=self._worst,
            problem=self._problem,
        )

    def _time_run(self) -> tuple[Tensor, Run]:
        began, cpu_began = self._clocks.wall(), self._clocks.cpu()
        result = self._opened.run(self._picture)
        run = Run(seconds=self._clocks.wall() - began, cpu_seconds=self._clocks.cpu() - cpu_began)
        if self._reference is not None:
            found = compare_tensors(result, self._reference)
            self._problem = self._problem or find_problem(found, self._opened.products)
            self._worst = self._worst if found is None else found.combine_worst(self._worst)
        return result, run
