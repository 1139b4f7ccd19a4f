"""Learning rate schedules, as pure functions of the step number, without state to save.

Steps are counted from 1; a schedule with milestone 1000 lowers the rate from step 1001 on, as BasicSR does.
"""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

Rate = Annotated[float, Field(ge=0, le=10)]
Milestone = Annotated[float, Field(gt=0)]


class MultiStep(BaseModel, frozen=True, extra="forbid"):
    """The rate times `gamma` after each milestone: steps, or, up to 1, shares of the whole run."""

    kind: Literal["multi-step"] = "multi-step"
    milestones: tuple[Milestone, ...] = ()
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.5
    warm_up: Annotated[int, Field(ge=0)] = 0
    """Number of first steps over which the rate grows linearly from 0."""

    def factor(self, step: int, steps: int, base: float) -> float:
        """Return the factor on the base rate at a step of a run of `steps` steps."""
        del base
        passed = sum(step > (milestone * steps if milestone <= 1 else milestone) for milestone in self.milestones)
        return self.gamma**passed * warm_up_factor(step, self.warm_up)


class CosineRestarts(BaseModel, frozen=True, extra="forbid"):
    """Cosine annealing from the rate to `floor`, restarted in every period (Loshchilov and Hutter 2017)."""

    kind: Literal["cosine-restarts"] = "cosine-restarts"
    periods: Annotated[tuple[Milestone, ...], Field(min_length=1)]
    """Lengths in steps, or, up to 1, as shares of the whole run."""
    weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Factor on the initial rate of each period; 1 if not given."""
    floor: Rate = 1e-7
    warm_up: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _agree(self) -> CosineRestarts:
        if self.weights and len(self.weights) != len(self.periods):
            raise ValueError(f"{len(self.weights)} weights do not fit {len(self.periods)} periods")
        return self

    def factor(self, step: int, steps: int, base: float) -> float:
        """Return the factor on the base rate at a step of a run of `steps` steps."""
        lengths = [period * steps if period <= 1 else period for period in self.periods]
        starts = [0.0, *accumulate(lengths)]
        done = step - 1
        index = sum(done >= end for end in starts[1:-1])
        weight = self.weights[index] if self.weights else 1.0
        share = min(1.0, (done - starts[index]) / lengths[index])
        floor = self.floor / base if base else 0.0
        cosine = floor + weight * 0.5 * (1 - floor) * (1 + math.cos(math.pi * share))
        return cosine * warm_up_factor(step, self.warm_up)


Schedule = Annotated[MultiStep | CosineRestarts, Field(discriminator="kind")]


def warm_up_factor(step: int, length: int) -> float:
    """Linear growth from 0: step / length until the length is reached.

    >>> [warm_up_factor(step, 4) for step in (1, 2, 4, 9)], warm_up_factor(1, 0)
    ([0.25, 0.5, 1.0, 1.0], 1.0)
    """
    return min(1.0, step / length) if length else 1.0


def learning_rate_at(schedule: MultiStep | CosineRestarts, base: float, step: int, steps: int) -> float:
    """The learning rate at a step."""
    return base * schedule.factor(step, steps, base)


def list_rate_changes(schedule: MultiStep | CosineRestarts, base: float, steps: int) -> list[tuple[int, float]]:
    """Return the rate at the start and after each jump, for display.

    >>> list_rate_changes(MultiStep(milestones=(2, 0.5)), 1e-4, 8)
    [(1, 0.0001), (3, 5e-05), (5, 2.5e-05)]
    """
    if isinstance(schedule, MultiStep):
        lengths = sorted(milestone * steps if milestone <= 1 else milestone for milestone in schedule.milestones)
        marks = [1, *(math.floor(length) + 1 for length in lengths if length < steps)]
    else:
        ends = accumulate(period * steps if period <= 1 else period for period in schedule.periods)
        marks = [1, *(math.ceil(end) + 1 for end, _ in pairwise([*ends, math.inf]) if end < steps)]
    return [(mark, learning_rate_at(schedule, base, mark, steps)) for mark in sorted(set(marks))]
