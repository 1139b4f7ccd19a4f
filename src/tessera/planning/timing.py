"""Candidates timed in turn within a second or two, those expected to win first.

Candidates that cannot win by experience (`EngineInfo.usual_speed`) or that are beyond the budget are not measured, and
so not chosen. Runs alternate (A, B, C, A, B, C), so that other load on the machine hits all; the fastest run of each
counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tessera.engines.engine import Engine, Tiles
from tessera.engines.opening import EngineName, find_engine
from tessera.errors import EngineError
from tessera.generators import GeneratorConfig
from tessera.libraries import import_library
from tessera.memory_errors import is_memory_error
from tessera.planning.candidates import usual_speed
from tessera.planning.chart import chart
from tessera.planning.plan import Candidate, Timing, sentence_of
from tessera.weights.loaded_generator import LoadedGenerator

_CHART_SIDE = 64
_OUT_OF_THE_RACE = 1.5
_DOUBLINGS = 2
_BETTER_WITH_FEWER_THREADS = 0.95
_CLEARLY_FASTER = 1.2
"""Engines within a fifth of each other are measured: the order differs between processors."""
_FLOP_OF_A_RUN = 20e9
_SIDES = (192, 128, 96, 64, 48)
_UNKNOWN_COST_SIDE = 64

Opener = Callable[[LoadedGenerator, Candidate], Engine]
Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much time measuring may take."""

    budget: float
    """Seconds in all; the first candidate is measured whatever it takes."""
    rounds: int
    longest_larger_run: float
    """Seconds of a run with a larger tile."""
    skips_slower: bool = True
    """Whether candidates that cannot win by experience are left out."""


QUICK = Effort(budget=1.5, rounds=3, longest_larger_run=0.1)
"""In the way of the first picture."""
THOROUGH = Effort(budget=60.0, rounds=4, longest_larger_run=2.0, skips_slower=False)
"""Ahead of time, by `tessera doctor --plan`."""


@dataclass
class _Contender:
    """A candidate being timed, its engine, and its fastest run."""

    candidate: Candidate
    engine: Engine
    startup: float
    quickest: float
    larger: tuple[Timing, ...] = ()


def choose_side(config: GeneratorConfig) -> int:
    """The side of timed tiles: the largest that is quick to run, in whole multiples of what the network accepts."""
    cost = config.multiply_adds(1_024, 1_024) / 1_024**2  # of a pixel
    affordable = (side for side in _SIDES if 2 * cost * side**2 <= _FLOP_OF_A_RUN)
    side = next(affordable, _SIDES[-1]) if cost else _UNKNOWN_COST_SIDE
    return -(-side // config.multiple) * config.multiple


def can_win(candidate: Candidate, measured: Iterable[Candidate]) -> bool:
    """Whether a candidate may be faster than those measured, by experience with their engines on CPUs.

    fp32 is not tried next to reduced precision of the same engine on the same device.
    """
    speed = usual_speed(candidate)
    for other in measured:
        if other.device != candidate.device:
            continue
        if other.engine == candidate.engine and candidate.precision == "fp32" != other.precision:
            return False
        others = usual_speed(other)
        if speed is not None and others is not None and others >= _CLEARLY_FASTER * speed:
            return False
    return True


class Stopwatch:
    """Times candidates on one network within a budget, and keeps the engines that it opened."""

    def __init__(
        self, generator: LoadedGenerator, opener: Opener, effort: Effort = QUICK, *, clock: Clock = time.monotonic
    ) -> None:
        self._generator, self._open, self._effort, self._clock = generator, opener, effort, clock
        self._side = choose_side(generator.config)
        self._chart = chart(_CHART_SIDE, generator.config.in_channels)[None]
        self._end = 0.0
        self.engines: dict[Candidate, Engine] = {}
        """By the candidate as measured."""

    def measure(self, candidates: Sequence[Candidate], *, fewer_threads: bool = True) -> list[Candidate]:
        """The candidates in their order, with timings, or with the problem that excludes them.

        `fewer_threads` also tries the best with half of its threads.
        """
        self._end = self._clock() + self._effort.budget
        contenders: list[_Contender] = []
        results: dict[Candidate, Candidate] = {each: each for each in candidates}
        imports: dict[EngineName, float | str] = {}
        last_cost = 0.0
        for each in candidates:
            if self._effort.skips_slower and not can_win(each, (other.candidate for other in contenders)):
                continue
            if contenders and self._clock() + last_cost > self._end:
                break
            began = self._clock()
            if each.engine not in imports:
                imports[each.engine] = self._import(each.engine)
            imported = imports[each.engine]
            if isinstance(imported, str):
                results[each] = _drop(each, imported)
                continue
            try:
                contenders.append(self._enter(each, imported))
            except Exception as error:  # another engine may run
                results[each] = _drop(each, sentence_of(error))
            last_cost = self._clock() - began
        for _ in range(self._effort.rounds - 1 if len(contenders) > 1 else 0):
            self._run_round(contenders)
        if fewer_threads:
            self._try_fewer_threads(contenders)
        self._time_larger_tiles(contenders)
        for each in contenders:
            measured = self._result(each)
            results[next(old for old in candidates if _is_same_way(old, measured))] = measured
            self.engines[measured] = each.engine
        return list(results.values())

    def _import(self, engine: EngineName) -> float | str:
        """Import an engine's library -> seconds, or the problem."""
        info = find_engine(engine)
        # The next process has to import what this one has imported already.
        known = info.import_seconds if info.module in sys.modules else 0.0
        began = self._clock()
        try:
            import_library(info.module)
        except Exception as error:  # a broken library may raise anything
            if is_memory_error(error):  # this time: not to be remembered
                raise
            return f"{info.module} cannot be imported: {sentence_of(error)}"
        return max(self._clock() - began, known)

    def _enter(self, candidate: Candidate, import_seconds: float) -> _Contender:
        """Open a candidate, warm it up and time it."""
        began = self._clock()
        engine = self._open(self._generator, candidate)
        if engine.precision != candidate.precision:
            raise EngineError(f"the engine runs this network in {engine.precision}")
        tile = self._tile(self._side)
        engine.run(tile)
        ready = self._clock()
        engine.run(tile)
        run = self._clock() - ready
        return _Contender(candidate, engine, max(ready - began - run, 0.0) + import_seconds, run)

    def _run_round(self, contenders: Sequence[_Contender]) -> None:
        """One more run of each that may still win."""
        best = min((each.quickest for each in contenders), default=0.0)
        tile = self._tile(self._side)
        for each in contenders:
            if each.quickest > _OUT_OF_THE_RACE * best:
                continue
            if self._clock() + each.quickest > self._end:
                return
            each.quickest = min(each.quickest, self._time(each.engine, tile))

    def _try_fewer_threads(self, contenders: list[_Contender]) -> None:
        """Try the best with half its threads, which is faster where two threads share a core."""
        best = min(contenders, key=lambda each: each.quickest, default=None)
        threads = None if best is None else best.candidate.threads
        if best is None or threads is None or threads < 4:
            return
        if self._clock() + best.startup + 4 * best.quickest > self._end:
            return
        try:
            other = self._enter(best.candidate.model_copy(update={"threads": threads // 2}), 0.0)
        except Exception:  # with all threads it ran
            return
        self._run_round([best, other])
        if other.quickest < _BETTER_WITH_FEWER_THREADS * best.quickest:
            other.startup = best.startup
            contenders[contenders.index(best)] = other

    def _time_larger_tiles(self, contenders: Sequence[_Contender]) -> None:
        """Time tiles two and four times as large with the two best, because they may exceed the caches."""
        two = sorted(contenders, key=lambda each: each.quickest)[:2]
        for doublings in range(1, _DOUBLINGS + 1):
            for each in two:
                if len(each.larger) == doublings - 1:
                    each.larger += self._time_larger(each, self._side * 2**doublings)

    def _time_larger(self, each: _Contender, side: int) -> tuple[Timing, ...]:
        """The timing of larger tiles, once or twice as time allows; none where there is too little of it."""
        times = (side / self._side) ** 2
        seconds: list[float] = []
        if times * each.quickest > self._effort.longest_larger_run:
            return ()
        tile = self._tile(side)
        while len(seconds) < 2 and self._clock() + 1.2 * times * each.quickest <= self._end:
            try:
                seconds.append(self._time(each.engine, tile))
            except Exception:  # too large for it: the timing of the smaller tile stays
                return ()
        return (Timing(side=side, seconds_per_megapixel=min(seconds) / side**2 * 1e6),) if seconds else ()

    def _result(self, each: _Contender) -> Candidate:
        timing = Timing(side=self._side, seconds_per_megapixel=each.quickest / self._side**2 * 1e6)
        return each.candidate.model_copy(
            update={
                "startup_seconds": each.startup,
                "timings": (timing, *each.larger),
                "bytes_per_pixel": each.engine.bytes_per_pixel,
            }
        )

    def _tile(self, side: int) -> Tiles:
        """The chart repeated: the content of a tile does not affect the time."""
        times = -(-side // _CHART_SIDE)
        return np.ascontiguousarray(np.tile(self._chart, (1, 1, times, times))[..., :side, :side])

    def _time(self, engine: Engine, tile: Tiles) -> float:
        began = self._clock()
        engine.run(tile)
        return self._clock() - began


def _drop(candidate: Candidate, problem: str) -> Candidate:
    return candidate.model_copy(update={"problem": problem})


def _is_same_way(one: Candidate, other: Candidate) -> bool:
    """Whether two are the same way to run, whatever the number of threads."""
    return (one.engine, one.precision, one.fast, one.device) == (
        other.engine,
        other.precision,
        other.fast,
        other.device,
    )
