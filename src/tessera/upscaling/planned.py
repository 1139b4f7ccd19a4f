"""Plans made ahead for the models on this machine, as values to print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tessera.engines.engine import Precision
from tessera.errors import TesseraError
from tessera.planning.plan import UNANNOUNCED_PIXELS, Candidate, Choice, Plan
from tessera.planning.preparing import plan_ahead
from tessera.tiling.settings import Settings
from tessera.upscaling.doctor import find_weights
from tessera.zoo.fetching import models_folder
from tessera.zoo.models import load_model


@dataclass(frozen=True, kw_only=True)
class PlannedModel:
    """The plan of one model; without one, `problem` says why."""

    name: str
    plan: Plan | None = None
    choice: Choice | None = None
    """For a picture of a megapixel."""
    problem: str | None = None

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Engine, device, precision, seconds per megapixel, distance to the reference, and the verdict: a row each.

        Measured candidates come first, the fastest first.
        """
        if self.plan is None:
            return
        for each in sorted(self.plan.candidates, key=_find_pace):
            yield (
                each.engine,
                each.device,
                f"{each.precision}{' fast' if each.fast else ''}",
                f"{_find_pace(each):.3g}" if each.timings else "",
                "" if each.difference is None else str(each.difference),
                self.plan.explain(each, self.choice),
            )


def plan_models(names: Sequence[str] = (), precision: Precision = "auto") -> Iterator[PlannedModel]:
    """Plan the named models, or all on this machine, one after another; a broken one does not stop the others."""
    chosen = names or tuple(
        each.name if each.packaged or not each.path.suffix else str(each.path) for each in find_weights(models_folder())
    )
    for name in chosen:
        try:
            made = plan_ahead(load_model(name, offline=True), Settings(precision=precision), UNANNOUNCED_PIXELS)
        except TesseraError as error:
            yield PlannedModel(name=name, problem=str(error))
            continue
        if made is None:
            yield PlannedModel(name=name, problem="one engine runs this file, so nothing is measured.")
        else:
            yield PlannedModel(name=name, plan=made[0], choice=made[1])


def _find_pace(candidate: Candidate) -> float:
    return candidate.timings[-1].seconds_per_megapixel if candidate.timings else float("inf")
