"""From what the user chose to an enlarger that can start: planned, or PyTorch where planning comes to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tessera.engines.engine import Engine
from tessera.engines.hardware import has_int8
from tessera.engines.opening import find_file_engine, open_engine
from tessera.planning.plan import Candidate, Choice, sentence_of
from tessera.planning.planner import Planner, threads_for
from tessera.tiling.enlarger import Enlarger, wanted_overlap
from tessera.tiling.settings import Settings
from tessera.weights.loaded_generator import LoadedGenerator

if TYPE_CHECKING:
    from tessera.zoo.int8_file import Int8File

_RUNS_OF_AN_ENSEMBLE = 8


@dataclass(frozen=True, kw_only=True)
class Ready:
    """An enlarger, and how it came to be the one."""

    enlarger: Enlarger
    choice: Choice | None = None
    """None where nothing was planned: an engine of the user's own, or a plan that failed."""
    lines: tuple[str, ...] = ()
    """The plan in words, for -v."""
    planned: bool = True
    """Whether there was anything to choose: not with an engine of the user's own."""


def open_named(generator: LoadedGenerator, settings: Settings) -> Engine:
    """Open the engine and device that the user named. Raises EngineError when they cannot be had."""
    return open_engine(
        generator,
        settings.precision,
        engine=settings.engine,
        device=settings.device,
        threads=threads_for(settings.device, settings.threads),
    )


def prepare(generator: LoadedGenerator, settings: Settings, pixels: int, named: Engine | None = None) -> Ready:
    """Plan for a job of so many input pixels; `named` is the engine that the user named, already open.

    Where planning fails, it is the engine named, or PyTorch, unchecked; that is what the lines say then.
    """
    if find_file_engine(generator) is not None:
        return _for_file(generator, settings, named)
    overlap = wanted_overlap(generator.config, settings)
    pixels *= _RUNS_OF_AN_ENSEMBLE if settings.tta else 1
    threads = threads_for(settings.device, settings.threads)
    int8 = _int8_for(generator, settings)

    def opener(network: LoadedGenerator, candidate: Candidate) -> Engine:
        same = named is not None and (named.name, named.precision) == (candidate.engine, candidate.precision)
        alike = same and candidate.fast == (settings.precision == "fast" and candidate.engine == "kernels")
        if named is not None and alike and network is generator and candidate.threads == threads:
            return named
        precision = "exact" if candidate.precision == "fp32" else "fast" if candidate.fast else "auto"
        return open_engine(
            network,
            precision,
            engine=candidate.engine,
            device=settings.device,
            threads=candidate.threads,
            int8=int8 if candidate.precision == "int8" else None,
        )

    try:
        planner = Planner(
            generator,
            settings.precision,
            engine=settings.engine,
            device=settings.device,
            threads=settings.threads,
            tile=settings.tile,
            overlap=overlap,
            int8=int8,
            opener=opener,
        )
        found = planner.engine_for(pixels)
        lines = tuple(planner.lines(None if found is None else found[1]))
    except Exception as error:  # the work can be done without a plan
        found, lines = None, (f"planning failed: {sentence_of(error)}",)
    if found is None:
        engine = named or open_named(generator, settings)
        lines = (*lines, f"plan: {engine.name} {engine.precision}, because no candidate could be used")
        return Ready(enlarger=Enlarger(generator=generator, engine=engine, settings=settings), lines=lines)
    engine, choice = found
    enlarger = Enlarger(generator=generator, engine=engine, settings=settings)
    if choice.tile:
        enlarger = Enlarger(generator=generator, engine=engine, settings=settings, best_tile=choice.tile)
    return Ready(enlarger=enlarger, choice=choice, lines=lines)


def _int8_for(generator: LoadedGenerator, settings: Settings) -> Int8File | None:
    """The generator's file with whole numbers, where speed is asked for and it was measured to lose little."""
    wanted = settings.precision == "fast" and settings.device == "cpu" and settings.engine in ("auto", "openvino")
    if not wanted or not has_int8():
        return None
    from tessera.zoo.int8_file import MOST_LOST_DB, find_int8

    return find_int8(generator, most_db=MOST_LOST_DB)


def _for_file(generator: LoadedGenerator, settings: Settings, named: Engine | None) -> Ready:
    """A file that one runtime runs has nothing to choose but its precision, which has to be what the policy allows."""
    engine = named or open_named(generator, settings)
    line = f"plan: {engine.name} {engine.precision}, which alone runs this kind of file"
    if engine.precision != "fp32":
        from tessera.planning.checking import Reference  # PyTorch, which the runtime does not need

        difference = Reference(generator).difference(engine)
        if difference is None or not difference.is_allowed(settings.precision):
            engine = engine.exact()
            line = f"plan: {engine.name} fp32, because less is further from it than {settings.precision} allows"
    return Ready(enlarger=Enlarger(generator=generator, engine=engine, settings=settings), lines=(line,))
