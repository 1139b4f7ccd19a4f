"""The planner: a plan from the cache or measured now, and a checked engine for a job."""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tessera.engines.engine import Engine, Precision
from tessera.engines.opening import EngineName
from tessera.memory_errors import is_memory_error
from tessera.planning.cache import plan_key, read_plan, write_plan
from tessera.planning.candidates import list_candidates
from tessera.planning.plan import SLOWEST_PACE, Candidate, Choice, Difference, Plan, sentence_of

if TYPE_CHECKING:
    from tessera.planning.checking import Reference
    from tessera.planning.timing import Effort, Opener
    from tessera.weights.loaded_generator import LoadedGenerator
    from tessera.zoo.int8_file import Int8File


class Planner:
    """Chooses engine, precision, threads and tiles for a network, for jobs of different sizes.

    Given values of `engine`, `threads`, `tile` and the policy are respected. `overlap` is the context of tiles on each
    side, in input pixels; `int8` is the int8 companion of the generator. `opener` opens a candidate on a network, whole
    or shortened; `clock` returns seconds.
    """

    def __init__(
        self,
        generator: LoadedGenerator,
        policy: Precision = "auto",
        *,
        engine: EngineName = "auto",
        device: str = "cpu",
        threads: int | None = None,
        tile: int | None = None,
        overlap: int = 0,
        int8: Int8File | None = None,
        opener: Opener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._generator = generator
        self._policy: Precision = policy
        self._device = device
        self._tile, self._overlap = tile, overlap
        self._may_take_fewer_threads = threads is None
        # Listed when a plan is made: for a cached one no GPU need be looked for.
        self._list_candidates = functools.partial(
            list_candidates, policy, engine=engine, device=device, threads=threads, int8=int8
        )
        digest = None if int8 is None else int8.sha256
        self._key = plan_key(generator, policy, engine=engine, device=device, threads=threads, int8=digest)
        self._opener = opener
        self._clock = clock
        self._opened: Mapping[Candidate, Engine] = {}
        """Engines that are open because they were measured."""
        self._plan: Plan | None = None
        self._reference: Reference | None = None

    @property
    def plan(self) -> Plan:
        """The plan, from the cache or measured now."""
        if self._plan is None:
            self._plan = read_plan(self._key) or self._update_timings(self._make_empty_plan())
        return self._plan

    def engine_for(self, pixels: int) -> tuple[Engine, Choice] | None:
        """Open the engine for a job of this many input pixels; None when no candidate is left.

        A candidate never used with these weights is compared with the reference first; if the policy does not allow the
        difference, the next one is tried.
        """
        tried: set[Candidate] = set()
        while True:
            ranking = self.plan.ranking(pixels, self._overlap, self._tile)
            choice = next((each for each in ranking if each.candidate not in tried), None)
            if choice is None:
                return None
            if choice.seconds is None and self._measure_more():
                continue
            tried.add(choice.candidate)
            found = self._open_checked(choice.candidate)
            if found is not None:
                engine, candidate = found
                self._opened = {}  # the others
                return engine, dataclasses.replace(choice, candidate=candidate)

    def measure_all(self) -> Plan:
        """Measure and check every candidate, which takes many seconds, in place of a cached plan."""
        from tessera.planning.timing import THOROUGH

        self._plan = self._update_timings(self._make_empty_plan(), THOROUGH)
        for each in self.plan.candidates:
            if each.timings:
                self._open_checked(each)
        self._opened = {}
        return self.plan

    def choose(self, pixels: int) -> Choice | None:
        """The best choice for a job of this many input pixels, without opening its engine."""
        return self.plan.choose(pixels, self._overlap, self._tile)

    def note_pace(self, candidate: Candidate, pace: float) -> None:
        """Store the actual over the measured seconds of a tile, averaged with earlier pictures."""
        known = next((each for each in self.plan.candidates if _is_same_way(each, candidate)), None)
        if known is None:
            return
        mean = pace if known.pace == 1.0 else (pace * known.pace) ** 0.5
        self._note(known, known.model_copy(update={"pace": min(max(mean, 1 / SLOWEST_PACE), SLOWEST_PACE)}))

    def _make_empty_plan(self) -> Plan:
        return Plan(policy=self._policy, candidates=self._list_candidates())

    def _measure_more(self) -> bool:
        """Measure the rest when all measured candidates are excluded -> whether that gave new ones."""
        before = self.plan
        self._plan = self._update_timings(before)
        return self._plan.candidates != before.candidates

    def _update_timings(self, plan: Plan, effort: Effort | None = None) -> Plan:
        """The plan with new measurements of unknown candidates, as far as the effort allows; cached."""
        from tessera.planning.timing import QUICK, Stopwatch

        torch: Any = sys.modules.get("torch")
        began, threads = self._clock(), None if torch is None else torch.get_num_threads()
        unknown = [each for each in plan.candidates if not each.timings and each.problem is None]
        stopwatch = Stopwatch(self._generator, self._opener, effort or QUICK, clock=self._clock)
        found = stopwatch.measure(unknown, fewer_threads=self._may_take_fewer_threads)
        # Opening PyTorch's engine sets the threads of the process, so it is opened again.
        self._opened = {each: engine for each, engine in stopwatch.engines.items() if each.engine != "pytorch"}
        if torch is not None:  # it has one number of threads per process, which candidates change
            torch.set_num_threads(threads)
        for old, new in zip(unknown, found, strict=True):
            plan = plan.replacing(old, new)
        plan = plan.model_copy(update={"seconds": round(plan.seconds + self._clock() - began, 3)})
        write_plan(self._key, plan)
        return plan

    def _open_checked(self, candidate: Candidate) -> tuple[Engine, Candidate] | None:
        """The candidate's engine, if it passes the check; the result is stored in the plan."""
        try:
            engine = self._opened.get(candidate) or self._opener(self._generator, candidate)
            if candidate.difference is not None:
                return engine, candidate
            difference = self._difference(engine)
        except Exception as error:  # whatever an engine stumbles over, another may run
            if is_memory_error(error):  # this time; it may fit the next time
                return None
            self._note(candidate, candidate.model_copy(update={"problem": sentence_of(error)}))
            return None
        problem = self._objection(candidate, difference)
        checked = candidate.model_copy(update={"difference": difference, "problem": problem})
        self._note(candidate, checked)
        return (engine, checked) if problem is None else None

    def _note(self, candidate: Candidate, known: Candidate) -> None:
        self._plan = self.plan.replacing(candidate, known)
        write_plan(self._key, self._plan)

    def _difference(self, engine: Engine) -> Difference | None:
        from tessera.planning.checking import Reference

        if self._reference is None:
            self._reference = Reference(self._generator)
        return self._reference.difference(engine)

    def _objection(self, candidate: Candidate, difference: Difference | None) -> str | None:
        if difference is None:
            return "output not finite or of the wrong size"
        if not difference.is_above_floor:
            return f"{difference}; another picture than that of fp32"
        if candidate.stated_drop_db is not None or difference.is_allowed(self._policy):
            return None
        return f"{difference}; not allowed by {self._policy}"


def _is_same_way(one: Candidate, other: Candidate) -> bool:
    """Whether two describe the same way to run, whatever is known about it."""
    unknown = {"pace": 1.0, "difference": None, "problem": None}
    return one.model_copy(update=unknown) == other.model_copy(update=unknown)
