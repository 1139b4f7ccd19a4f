"""From settings to a pipeline ready to run: planned, or with PyTorch where planning fails."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tessera.engines.devices import AUTO, name_one
from tessera.engines.engine import Engine, OnDevice
from tessera.engines.hardware import has_int8
from tessera.engines.opening import find_engine, find_file_engine, open_engine
from tessera.planning.candidates import threads_for
from tessera.planning.fallback import FallbackEngine
from tessera.planning.plan import Candidate, Choice, Plan, sentence_of
from tessera.planning.planner import Planner
from tessera.tiling.pipeline import Pipeline, choose_overlap
from tessera.tiling.settings import Settings
from tessera.weights.loaded_generator import LoadedGenerator

if TYPE_CHECKING:
    from tessera.zoo.int8_file import Int8File

RUNS_OF_AN_ENSEMBLE = 8


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A pipeline with its open engine, and the plan behind the choice."""

    pipeline: Pipeline
    choice: Choice | None = None
    """None where nothing was planned: an engine of the user's own, or a failed plan."""
    lines: tuple[str, ...] = ()
    """The plan as lines of text."""
    planned: bool = True
    """False with an engine of the user's own."""
    pixels: int = 0
    """Input pixels that the plan was made for."""
    planner: Planner | None = None
    """Learns the actual pace; None where nothing was planned."""


def open_named(generator: LoadedGenerator, settings: Settings) -> Engine:
    """Open the engine and device that the settings name. Raises EngineError when they are unavailable."""
    return open_engine(
        generator,
        settings.precision,
        engine=settings.engine,
        device=name_one(settings.device),
        threads=threads_for(name_one(settings.device), settings.threads),
    )


def prepare(generator: LoadedGenerator, settings: Settings, pixels: int) -> Ready:
    """Plan for this many input pixels and open the chosen engine.

    Where planning fails, the named engine or PyTorch runs unchecked; where every candidate fails the check, the
    reference runs: PyTorch in fp32. The lines say so. Raises EngineError when the named engine or device is
    unavailable.
    """
    # A named engine or device that is unavailable is an error of the user, not a candidate to leave out.
    is_named = settings.engine != "auto" or settings.device not in ("cpu", AUTO)
    named = open_named(generator, settings) if is_named else None
    if find_file_engine(generator) is not None:
        return _prepare_file(generator, settings, named)
    runs = pixels * (RUNS_OF_AN_ENSEMBLE if settings.tta else 1)
    failed, planner = False, None
    try:
        planner = _create_planner(generator, settings, named)
        found = planner.engine_for(runs)
        lines = (planner.plan.describe(None if found is None else found[1]),)
    except Exception as error:  # the work can be done without a plan
        failed, found, lines = True, None, (f"planning failed: {sentence_of(error)}",)
    if found is None:
        engine = _open_last_resort(generator, settings, named, failed=failed)
        lines = (*lines, f"plan: {engine.name} {engine.precision}, because no candidate is usable")
        pipeline = Pipeline(generator=generator, engine=engine, settings=settings)
        return Ready(pipeline=pipeline, lines=lines, pixels=pixels)
    engine, choice = found
    if isinstance(engine, OnDevice):
        engine = FallbackEngine(engine, lambda: prepare(generator, _move_to_cpu(settings), pixels).pipeline.engine)
    pipeline = Pipeline(generator=generator, engine=engine, settings=settings)
    if choice.tile:
        pipeline = Pipeline(generator=generator, engine=engine, settings=settings, best_tile=choice.tile)
    return Ready(pipeline=pipeline, choice=choice, lines=lines, pixels=pixels, planner=planner)


def plan_ahead(generator: LoadedGenerator, settings: Settings, pixels: int) -> tuple[Plan, Choice | None] | None:
    """Measure and check every way to run a network, and cache the plan; None for files that one engine runs.

    The choice is the one for this many input pixels. Takes up to a minute. Raises EngineError when a named engine or
    device is unavailable.
    """
    if find_file_engine(generator) is not None:
        return None
    planner = _create_planner(generator, settings, None)
    return planner.measure_all(), planner.choose(pixels)


def _create_planner(generator: LoadedGenerator, settings: Settings, named: Engine | None) -> Planner:
    """A planner for these settings; `named` is the engine that they name, if it is open already."""
    int8 = find_companion(generator, settings)

    def open_candidate(network: LoadedGenerator, candidate: Candidate) -> Engine:
        if named is not None and _is_named(named, candidate, settings):
            return named
        precision = "exact" if candidate.precision == "fp32" else "fast" if candidate.fast else "auto"
        return open_engine(
            network,
            precision,
            engine=candidate.engine,
            device=candidate.device,
            threads=candidate.threads,
            int8=int8 if candidate.precision == "int8" else None,
        )

    return Planner(
        generator,
        settings.precision,
        engine=settings.engine,
        device=settings.device,
        threads=settings.threads,
        tile=settings.tile,
        overlap=choose_overlap(generator.config, settings),
        int8=int8,
        opener=open_candidate,
    )


def _open_last_resort(generator: LoadedGenerator, settings: Settings, named: Engine | None, *, failed: bool) -> Engine:
    """The engine to run without a plan: as named if nothing was checked, else the reference of the check."""
    if failed:
        return named or open_named(generator, settings)
    device = name_one(settings.device)
    return open_engine(generator, "exact", device=device, threads=threads_for(device, settings.threads))


def _move_to_cpu(settings: Settings) -> Settings:
    return dataclasses.replace(settings, device="cpu", engine="auto", threads=None)


def _is_named(named: Engine, candidate: Candidate, settings: Settings) -> bool:
    """Whether a candidate is the engine that is open already."""
    fast = settings.precision == "fast" and find_engine(candidate.engine).has_fast_mode
    device = name_one(settings.device)
    same = (named.name, named.precision) == (candidate.engine, candidate.precision) and candidate.device == device
    return same and candidate.fast == fast and candidate.threads == threads_for(device, settings.threads)


def find_companion(generator: LoadedGenerator, settings: Settings) -> Int8File | None:
    """The int8 companion that may run instead of a generator: where speed is requested and its stated loss is small."""
    engine_allows = settings.engine == "auto" or find_engine(settings.engine).runs_int8
    if settings.precision != "fast" or name_one(settings.device) != "cpu" or not engine_allows or not has_int8():
        return None
    from tessera.zoo.int8_file import MOST_LOST_DB, find_int8

    return find_int8(generator, most_db=MOST_LOST_DB)


def _prepare_file(generator: LoadedGenerator, settings: Settings, named: Engine | None) -> Ready:
    """A model file that one runtime runs: only its precision is checked against the policy."""
    engine = named or open_named(generator, settings)
    line = f"plan: {engine.name} {engine.precision}, the only engine for this file"
    if engine.precision != "fp32":
        from tessera.planning.checking import Reference  # PyTorch, which the runtime does not need

        difference = Reference(generator).difference(engine)
        if difference is None or not difference.is_allowed(settings.precision):
            reduced, engine = engine.precision, engine.exact()
            line = f"plan: {engine.name} fp32, because {reduced} differs more than {settings.precision} allows"
    return Ready(pipeline=Pipeline(generator=generator, engine=engine, settings=settings), lines=(line,))
