"""Candidates timed in turn within a few seconds, those expected to win first.

Candidates beyond the budget are not measured and so not chosen. Runs alternate (A, B, C, A, B, C), so that other load
on the machine hits all; the fastest run of each counts.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tessera.engines.engine import Engine, Tiles
from tessera.engines.opening import EngineName, find_engine
from tessera.errors import EngineError
from tessera.libraries import import_library
from tessera.planning.chart import chart
from tessera.planning.cutting import Cuts
from tessera.planning.plan import Candidate, Timing, sentence_of
from tessera.weights.loaded_generator import LoadedGenerator

BUDGET_SECONDS = 3.0
ROUNDS = 4
_CHART_SIDE = 64
_OUT_OF_THE_RACE = 1.5
_HOPELESS = 2.0
_DOUBLINGS = 2
_BETTER_WITH_FEWER_THREADS = 0.95

Opener = Callable[[LoadedGenerator, Candidate], Engine]
Clock = Callable[[], float]


@dataclass
class _Contender:
    """A candidate being timed: engines on the shortened networks, and the fastest run of each."""

    candidate: Candidate
    engines: list[Engine] = field(default_factory=list[Engine])
    """On the small network, if there is one, and on the large one."""
    startup: list[float] = field(default_factory=list[float])
    quickest: list[float] = field(default_factory=list[float])
    larger: tuple[Timing, ...] = ()


class _NotMeasuredError(Exception):
    """The budget ended while a candidate was measured, or it is far too slow."""


class Stopwatch:
    """Times candidates on one network within a budget."""

    def __init__(
        self, cuts: Cuts, opener: Opener, *, budget: float = BUDGET_SECONDS, clock: Clock = time.monotonic
    ) -> None:
        self._cuts, self._open, self._clock = cuts, opener, clock
        self._networks = [each for each in (cuts.small, cuts.large) if each is not None]
        self._side = -(-cuts.side // cuts.large.config.multiple) * cuts.large.config.multiple
        self._budget = budget
        self._chart = chart(_CHART_SIDE, cuts.large.config.in_channels)[None]
        self._end = 0.0

    def measure(
        self, candidates: Sequence[Candidate], *, rounds: int = ROUNDS, fewer_threads: bool = True
    ) -> list[Candidate]:
        """The candidates in their order, with timings, or with the problem that excludes them.

        `fewer_threads` also tries the best with half of its threads.
        """
        import_seconds, broken = self._imports(candidates)
        self._end = self._clock() + self._budget
        contenders: list[_Contender] = []
        results: dict[Candidate, Candidate] = {each: each for each in candidates}
        last_cost = 0.0
        for each in candidates:
            if each.engine in broken:
                results[each] = _drop_details(each, broken[each.engine])
            elif contenders and self._clock() + last_cost > self._end:
                break
            else:
                began = self._clock()
                try:
                    contenders.append(self._enter_candidate(each, import_seconds.get(each.engine, 0.0), contenders))
                except _NotMeasuredError:
                    pass
                except Exception as error:  # another engine may run
                    results[each] = _drop_details(each, sentence_of(error))
                last_cost = self._clock() - began
        for _ in range(rounds - 1):
            self._round(contenders)
        if fewer_threads:
            self._try_fewer_threads(contenders)
        self._try_larger_tiles(contenders)
        for each in contenders:
            results[next(old for old in candidates if _is_same_way(old, each.candidate))] = self._result(each)
        return list(results.values())

    def _imports(self, candidates: Sequence[Candidate]) -> tuple[dict[EngineName, float], dict[EngineName, str]]:
        """Import each engine's library, outside the budget -> seconds, and the problems."""
        seconds: dict[EngineName, float] = {}
        broken: dict[EngineName, str] = {}
        for each in candidates:
            if each.engine in seconds or each.engine in broken:
                continue
            info = find_engine(each.engine)
            # The next process has to import what this one has imported already.
            known = info.import_seconds if info.module in sys.modules else 0.0
            began = self._clock()
            try:
                import_library(info.module)
            except Exception as error:  # a broken library may raise anything
                broken[each.engine] = f"{info.module} cannot be imported: {sentence_of(error)}"
            else:
                seconds[each.engine] = max(self._clock() - began, known)
        return seconds, broken

    def _enter_candidate(self, candidate: Candidate, import_seconds: float, others: Sequence[_Contender]) -> _Contender:
        """Open a candidate, warm it up and time it; the first candidate always.

        One that takes twice as long as another for the small network skips the large one.
        """
        contender = _Contender(candidate)
        least = min((each.quickest[0] for each in others), default=math.inf)
        # An int8 file is timed whole: there is none of the shortened network.
        networks = self._networks if candidate.stated_drop_db is None else self._networks[-1:]
        for network in networks:
            hopeless = min(contender.quickest, default=0.0) > _HOPELESS * least
            if contender.engines and others and (hopeless or self._clock() > self._end):
                raise _NotMeasuredError
            began = self._clock()
            engine = self._open(network, candidate)
            if network is self._networks[-1] and engine.precision != candidate.precision:
                raise EngineError(f"multiplies in {engine.precision}, whatever is requested")
            tile = self._tile(self._side)
            engine.run(tile)
            ready = self._clock()
            engine.run(tile)
            run = self._clock() - ready
            contender.engines.append(engine)
            contender.startup.append(max(ready - began - run, 0.0) + import_seconds)
            contender.quickest.append(run)
        return contender

    def _round(self, contenders: Sequence[_Contender]) -> None:
        """One more run of each that may still win."""
        best = min((self._seconds(each) for each in contenders), default=0.0)
        tile = self._tile(self._side)
        for each in contenders:
            if self._seconds(each) > _OUT_OF_THE_RACE * best:
                continue
            for number, engine in enumerate(each.engines):
                if self._clock() + each.quickest[number] > self._end:
                    return
                each.quickest[number] = min(each.quickest[number], self._time_run(engine, tile))

    def _try_fewer_threads(self, contenders: list[_Contender]) -> None:
        """Try the best with half its threads, which is faster where two threads share a core."""
        best = min(contenders, key=self._seconds, default=None)
        threads = None if best is None else best.candidate.threads
        if best is None or threads is None or threads < 4:
            return
        cost = best.candidate.startup_seconds + sum(best.startup) + 4 * sum(best.quickest)
        if self._clock() + cost > self._end:
            return
        try:
            other = self._enter_candidate(best.candidate.model_copy(update={"threads": threads // 2}), 0.0, [best])
        except Exception:  # with all threads it ran
            return
        self._round([best, other])
        if self._seconds(other) < _BETTER_WITH_FEWER_THREADS * self._seconds(best):
            other.startup = best.startup
            contenders[contenders.index(best)] = other

    def _try_larger_tiles(self, contenders: Sequence[_Contender]) -> None:
        """Time tiles two and four times as large with the two best, because they may exceed the caches."""
        two = sorted(contenders, key=self._seconds)[:2]
        for doublings in range(1, _DOUBLINGS + 1):
            for each in two:
                if len(each.larger) == doublings - 1:
                    each.larger += self._time_larger_tiles(each, self._side * 2**doublings)

    def _time_larger_tiles(self, each: _Contender, side: int) -> tuple[Timing, ...]:
        """The timing of larger tiles, once or twice as time allows; none where there is too little of it."""
        times = (side / self._side) ** 2
        seconds: list[float] = []
        tile = self._tile(side)
        while len(seconds) < 2 and self._clock() + 1.2 * times * each.quickest[-1] <= self._end:
            try:
                seconds.append(self._time_run(each.engines[-1], tile))
            except Exception:  # too large for it: the timing of the smaller tile stays
                return ()
        if not seconds:
            return ()
        per_pixel = self._seconds(each) / self._side**2 * 1e6
        return (Timing(side=side, seconds_per_megapixel=per_pixel * min(seconds) / (times * each.quickest[-1])),)

    def _result(self, each: _Contender) -> Candidate:
        timing = Timing(side=self._side, seconds_per_megapixel=self._seconds(each) / self._side**2 * 1e6)
        return each.candidate.model_copy(
            update={
                "startup_seconds": self._time_whole(each.startup),
                "timings": (timing, *each.larger),
                "bytes_per_pixel": each.engines[-1].bytes_per_pixel,
            }
        )

    def _seconds(self, each: _Contender) -> float:
        """For one tile with the whole network."""
        return self._time_whole(each.quickest)

    def _time_whole(self, costs: Sequence[float]) -> float:
        return self._cuts.estimate_whole(costs[0], costs[-1]) if len(costs) == len(self._networks) else costs[-1]

    def _tile(self, side: int) -> Tiles:
        """The chart repeated: the content of a tile does not affect the time."""
        times = -(-side // _CHART_SIDE)
        return np.ascontiguousarray(np.tile(self._chart, (1, 1, times, times))[..., :side, :side])

    def _time_run(self, engine: Engine, tile: Tiles) -> float:
        began = self._clock()
        engine.run(tile)
        return self._clock() - began


def _drop_details(candidate: Candidate, problem: str) -> Candidate:
    return candidate.model_copy(update={"problem": problem})


def _is_same_way(one: Candidate, other: Candidate) -> bool:
    """Whether two are the same way to run, whatever the number of threads."""
    return (one.engine, one.precision, one.fast) == (other.engine, other.precision, other.fast)
