"""The planner: a plan from the cache or measured now, and a checked engine for a job."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tessera.engines import opening
from tessera.engines.devices import AUTO, list_automatic
from tessera.engines.engine import Engine, EngineInfo, Precision, Products
from tessera.engines.opening import EngineName, choose_products
from tessera.errors import OutOfMemoryError
from tessera.machine import cores
from tessera.planning.cache import plan_key, read_plan, write_plan
from tessera.planning.plan import SLOWEST_PACE, Candidate, Choice, Difference, Plan, sentence_of

if TYPE_CHECKING:
    from tessera.planning.checking import Reference
    from tessera.planning.timing import Opener
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
        self._candidates = candidates(policy, engine=engine, device=device, threads=threads, int8=int8)
        digest = None if int8 is None else int8.sha256
        self._key = plan_key(generator, policy, engine=engine, device=device, threads=threads, int8=digest)
        self._opener = opener
        self._clock = clock
        self._plan: Plan | None = None
        self._reference: Reference | None = None

    @property
    def plan(self) -> Plan:
        """The plan, from the cache or measured now."""
        if self._plan is None:
            self._plan = read_plan(self._key) or self._time_candidates()
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
            found = self._sound(choice.candidate)
            if found is not None:
                engine, candidate = found
                return engine, dataclasses.replace(choice, candidate=candidate)

    def lines(self, choice: Choice | None) -> Iterator[str]:
        """The plan as lines of text."""
        yield from self.plan.lines(choice, self._overlap, self._tile)

    def note_pace(self, candidate: Candidate, pace: float) -> None:
        """Store the actual over the measured seconds of a tile, averaged with earlier pictures."""
        known = next((each for each in self.plan.candidates if _is_same_way(each, candidate)), None)
        if known is None:
            return
        mean = pace if known.pace == 1.0 else (pace * known.pace) ** 0.5
        self._note(known, known.model_copy(update={"pace": min(max(mean, 1 / SLOWEST_PACE), SLOWEST_PACE)}))

    def _time_candidates(self) -> Plan:
        plan = self._update_timings(Plan(policy=self._policy, candidates=self._candidates))
        write_plan(self._key, plan)
        return plan

    def _measure_more(self) -> bool:
        """Measure the rest when all measured candidates are excluded -> whether that gave new ones."""
        before = self.plan
        self._plan = self._update_timings(before)
        if self._plan.candidates == before.candidates:
            self._plan = before
            return False
        write_plan(self._key, self._plan)
        return True

    def _update_timings(self, plan: Plan) -> Plan:
        """The plan with new measurements of unknown candidates, as far as a few seconds allow."""
        import torch

        from tessera.planning.cutting import cut
        from tessera.planning.timing import ROUNDS, Stopwatch

        began, threads = self._clock(), torch.get_num_threads()
        unknown = [each for each in plan.candidates if not each.timings and each.problem is None]
        uses_cpu = self._device in ("cpu", AUTO)
        found = Stopwatch(cut(self._generator), self._opener, clock=self._clock).measure(
            unknown if uses_cpu else unknown[:1],
            rounds=ROUNDS if uses_cpu else 1,
            fewer_threads=self._may_take_fewer_threads,
        )
        torch.set_num_threads(threads)  # PyTorch has one number of threads per process, which candidates change
        for old, new in zip(unknown, found, strict=False):
            plan = plan.replacing(old, new)
        return plan.model_copy(update={"seconds": round(plan.seconds + self._clock() - began, 3)})

    def _sound(self, candidate: Candidate) -> tuple[Engine, Candidate] | None:
        """The candidate's engine on the real network, if it passes the check; the result is stored in the plan."""
        try:
            engine = self._opener(self._generator, candidate)
            if candidate.difference is not None:
                return engine, candidate
            difference = self._difference(engine)
        except (OutOfMemoryError, MemoryError):  # this time; it may fit the next time
            return None
        except Exception as error:  # whatever an engine stumbles over, another may run
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


def candidates(
    policy: Precision, *, engine: EngineName, device: str, threads: int | None, int8: Int8File | None = None
) -> tuple[Candidate, ...]:
    """All ways to run a network here that the user's settings allow, those expected to win first.

    First int8 where there is a companion file, and reduced precision where the device multiplies it in hardware; then
    fp32 in case the network does not tolerate less. Both follow the order of the devices and of ENGINES.
    """
    devices = list_automatic() if device == AUTO else (device,)
    found: list[Candidate] = []

    def add(place: str, name: str, products: Products, *, fast: bool = False, drop: float | None = None) -> None:
        found.append(
            Candidate.model_validate(
                {
                    "engine": name,
                    "precision": products,
                    "fast": fast,
                    "threads": threads_for(place, threads),
                    "device": place,
                    "stated_drop_db": drop,
                }
            )
        )

    pairs = [(place, info) for place in devices for info in _find_engines(engine, place, device)]
    for place, info in pairs:
        if info.runs_int8 and int8 is not None and place == "cpu":
            add(place, info.name, "int8", drop=int8.psnr_drop_db)
        products = choose_products(info.name, policy, place)
        if products == "fp32":
            continue
        if info.has_fast_mode and (policy == "fast" or info.tries_fast_mode_in_auto):
            add(place, info.name, products, fast=True)
        add(place, info.name, products)
    for place, info in pairs:
        add(place, info.name, "fp32")
    return tuple(found)


def _find_engines(engine: EngineName, place: str, device: str) -> list[EngineInfo]:
    """The engines to try on a device; a named engine on a named device without further questions."""
    if engine != "auto":
        info = opening.find_engine(engine)
        return [info] if device != AUTO or info.runs_on(place) else []
    return [info for info in opening.ENGINES if info.runs_networks and info.runs_on(place)]


def threads_for(device: str, threads: int | None) -> int | None:
    """Threads of an engine: as set, else all usable cores; None on GPUs."""
    return (threads or cores().usable) if device == "cpu" else None


def _is_same_way(one: Candidate, other: Candidate) -> bool:
    """Whether two describe the same way to run, whatever is known about it."""
    unknown = {"pace": 1.0, "difference": None, "problem": None}
    return one.model_copy(update=unknown) == other.model_copy(update=unknown)
