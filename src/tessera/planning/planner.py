"""The planner: a plan from the cache or measured now, and the engine for a job, checked before it is used."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tessera.engines import opening
from tessera.engines.engine import Engine, Precision, Products
from tessera.engines.opening import EngineName, choose_products
from tessera.errors import OutOfMemoryError
from tessera.machine import cores
from tessera.planning.cache import plan_key, read_plan, write_plan
from tessera.planning.plan import Candidate, Choice, Difference, Plan, sentence_of

if TYPE_CHECKING:
    from tessera.planning.checking import Reference
    from tessera.planning.timing import Opener
    from tessera.weights.loaded_generator import LoadedGenerator
    from tessera.zoo.int8_file import Int8File


class Planner:
    """Decides with what a network is run, for jobs of different sizes.

    `engine`, `threads`, `tile` and the policy are obeyed, the rest is chosen. `overlap` is the context that tiles have
    on each side, in input pixels; `int8` is a file of this generator in whole numbers that may take part. `opener`
    opens a candidate on a network, whole or cut down; `clock` gives seconds.
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
        """What was measured: kept from an earlier time, or now."""
        if self._plan is None:
            self._plan = read_plan(self._key) or self._measured()
        return self._plan

    def engine_for(self, pixels: int) -> tuple[Engine, Choice] | None:
        """Open the engine that a job of so many input pixels is run with; None when no candidate is left.

        One that was never used with these weights is compared with the reference first; if its policy does not allow
        what it gives, the next is taken.
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
        """The plan in words, for -v."""
        yield from self.plan.lines(choice, self._overlap, self._tile)

    def _measured(self) -> Plan:
        plan = self._timed(Plan(policy=self._policy, candidates=self._candidates))
        write_plan(self._key, plan)
        return plan

    def _measure_more(self) -> bool:
        """When all that was measured is dropped: take the time to measure the rest, whether anything came of it."""
        before = self.plan
        self._plan = self._timed(before)
        if self._plan.candidates == before.candidates:
            self._plan = before
            return False
        write_plan(self._key, self._plan)
        return True

    def _timed(self, plan: Plan) -> Plan:
        """The plan with what a few seconds allow to be measured of those about whom nothing is known."""
        import torch

        from tessera.planning.cutting import cut
        from tessera.planning.timing import ROUNDS, Stopwatch

        began, threads = self._clock(), torch.get_num_threads()
        unknown = [each for each in plan.candidates if not each.timings and each.problem is None]
        on_processor = self._device == "cpu"
        found = Stopwatch(cut(self._generator), self._opener, clock=self._clock).measure(
            unknown if on_processor else unknown[:1],
            rounds=ROUNDS if on_processor else 1,
            fewer_threads=self._may_take_fewer_threads,
        )
        torch.set_num_threads(threads)  # PyTorch has one number for the whole process, which candidates change
        for old, new in zip(unknown, found, strict=False):
            plan = plan.replacing(old, new)
        return plan.model_copy(update={"seconds": round(plan.seconds + self._clock() - began, 3)})

    def _sound(self, candidate: Candidate) -> tuple[Engine, Candidate] | None:
        """The candidate's engine on the real network, if it may be used; what was found out is kept in the plan."""
        try:
            engine = self._opener(self._generator, candidate)
            if candidate.difference is not None:
                return engine, candidate
            difference = self._difference(engine)
        except (OutOfMemoryError, MemoryError):  # today; that says nothing about the next time
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
            return "gives what is not finite, or not a picture of the right size"
        if candidate.stated_drop_db is not None or difference.is_allowed(self._policy):
            return None
        return f"only {difference}, which {self._policy} does not allow"


def candidates(
    policy: Precision, *, engine: EngineName, device: str, threads: int | None, int8: Int8File | None = None
) -> tuple[Candidate, ...]:
    """All ways to run a network here that the user's settings allow, those expected to win first.

    First int8 where there is a companion file, and reduced precision where the device multiplies it in hardware; then
    fp32 in case the network does not tolerate less. Both follow the order of ENGINES.
    """
    infos = [info for info in opening.ENGINES if info.runs_networks and info.runs_on(device)]
    if engine != "auto":
        infos = [opening.find_engine(engine)]
    threads = threads_for(device, threads)
    found: list[Candidate] = []

    def add(name: str, products: Products, *, fast: bool = False, drop: float | None = None) -> None:
        found.append(
            Candidate.model_validate(
                {"engine": name, "precision": products, "fast": fast, "threads": threads, "stated_drop_db": drop}
            )
        )

    for info in infos:
        if info.runs_int8 and int8 is not None:
            add(info.name, "int8", drop=int8.psnr_drop_db)
        products = choose_products(info.name, policy, device)
        if products == "fp32":
            continue
        if policy == "fast" and info.has_fast_mode:
            add(info.name, products, fast=True)
        add(info.name, products)
    for info in infos:
        add(info.name, "fp32")
    return tuple(found)


def threads_for(device: str, threads: int | None) -> int | None:
    """How many threads an engine gets to begin with: those asked for, else all cores that can be used; None on GPUs."""
    return (threads or cores().usable) if device == "cpu" else None
