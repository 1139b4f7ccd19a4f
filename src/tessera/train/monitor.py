"""What watches over a run: losses that are no numbers, and the ways in which adversarial training goes wrong unseen.

Each detector looks at a window of recent steps, says a sentence when what it sees has lasted, and says it again only
after it has been right for a window in between. Detectors only warn; only non-finite losses stop a run.

Shapes: B pictures, C channels, h x w low resolution, H x W high resolution.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional as F

Answer = Literal["continue", "skip", "roll back", "stop"]


class MonitorConfig(BaseModel, frozen=True, extra="forbid"):
    """How patient the watch is."""

    skips: Annotated[int, Field(ge=0)] = 3
    """Bad steps in a row that are skipped before the run goes back to its last checkpoint."""
    roll_backs: Annotated[int, Field(ge=0)] = 3
    """How often that may happen before the run stops."""
    forgiven_after: Annotated[int, Field(ge=1)] = 10_000
    """Good steps after which earlier times do not count any more; the rates stay as low as they have become."""
    rate_factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    """What the learning rates are multiplied with each time."""
    window: Annotated[int, Field(ge=2)] = 200
    """Steps over which the detectors look."""
    color_drift_255: Annotated[float, Field(gt=0)] = 3.0
    """Levels by which the mean of outputs may differ from the mean of inputs, in any channel."""
    saturation: Annotated[float, Field(gt=0.5, lt=1)] = 0.98
    """A discriminator whose mean answers are beyond this on both sides has won."""
    apart: Annotated[float, Field(ge=0, lt=1)] = 1e-3
    """A discriminator whose mean answers differ by less tells nothing apart."""
    likeness: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Correlation of what is added to different pictures, above which the generator adds the same to all."""
    added_detail: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the truth's detail below which a generator under an adversarial loss only copies its input."""


@dataclass
class NonFiniteGuard:
    """Counts steps whose loss or gradients are no numbers, and says what to do about them."""

    config: MonitorConfig
    bad_in_a_row: int = 0
    good_in_a_row: int = 0
    roll_backs: int = 0
    """Those that are not forgiven."""
    rate: float = 1.0
    """What the learning rates are to be multiplied with."""

    def decide(self, *, finite: bool) -> Answer:
        """What to do after a step whose loss and gradients are finite, or not."""
        if finite:
            self.bad_in_a_row = 0
            self.good_in_a_row += 1
            if self.good_in_a_row >= self.config.forgiven_after:
                self.roll_backs = 0
            return "continue"
        self.good_in_a_row = 0
        self.bad_in_a_row += 1
        if self.bad_in_a_row <= self.config.skips:
            return "skip"
        self.bad_in_a_row = 0
        if self.roll_backs >= self.config.roll_backs:
            return "stop"
        self.roll_backs += 1
        self.rate *= self.config.rate_factor
        return "roll back"

    @property
    def facts(self) -> dict[str, float]:
        """What has to be saved; `Soundness(config, **facts)` is the same again."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "config"}


@dataclass(frozen=True)
class StepStatistics:
    """What the detectors see of one step; all of it small numbers on the CPU."""

    real_prediction: float = math.nan
    """What the discriminator says to real pictures, on average, in [0, 1]; NaN where it says nothing so bounded."""
    fake_prediction: float = math.nan
    """The same for generated pictures."""
    color_shift_255: tuple[float, ...] = ()
    """Mean of the outputs less mean of the inputs, per channel, in levels."""
    likeness: float = math.nan
    """Mean correlation of what the generator adds to different pictures of the batch."""
    added_detail: float = math.nan
    """Energy of what it adds, as a share of the energy of what the truth adds."""


@torch.no_grad()
def measure_batch(lq: Tensor, sr: Tensor, gt: Tensor, *, side: int = 64) -> StepStatistics:
    """Measure one batch: lq (B, C, h, w), sr and gt (B, C, H, W), in [0, 1].

    What a picture adds is its difference to the bicubic enlargement of its input, seen in the middle `side` pixels.
    """
    height, width = sr.shape[-2:]
    scale = height // lq.shape[-2]
    shift = (sr.mean(dim=(0, 2, 3)) - lq.mean(dim=(0, 2, 3))) * 255
    side = min(side, height, width) // scale * scale
    top, left = ((length - side) // 2 // scale * scale for length in (height, width))
    base = F.interpolate(lq.float(), scale_factor=scale, mode="bicubic", align_corners=False)
    window = (..., slice(top, top + side), slice(left, left + side))
    added, wanted = ((picture.float() - base)[window].flatten(1) for picture in (sr, gt))
    centered = F.normalize(added - added.mean(dim=1, keepdim=True), dim=1)
    count = len(added)
    products = centered @ centered.T
    likeness = float((products.sum() - products.trace()) / (count * (count - 1))) if count > 1 else math.nan
    energy = float(wanted.square().mean())
    detail = float(added.square().mean()) / energy if energy > 0 else math.nan
    return StepStatistics(color_shift_255=tuple(shift.tolist()), likeness=likeness, added_detail=detail)


@dataclass
class TrainingMonitor:
    """Collects the statistics of each step and reports conditions that last for a whole window."""

    config: MonitorConfig
    adversarial: bool
    _seen: deque[StepStatistics] = field(init=False)
    _reported: dict[str, int] = field(default_factory=dict[str, int])
    """What was said, and for how many steps it has been right since: a value near its limit is not said each time."""

    def __post_init__(self) -> None:
        self._seen = deque(maxlen=self.config.window)

    def update(self, statistics: StepStatistics) -> list[str]:
        """Look at one more step -> the sentences that are new."""
        self._seen.append(statistics)
        if len(self._seen) < self.config.window:
            return []
        found = dict(self._findings())
        new = [sentence for name, sentence in found.items() if name not in self._reported]
        right = {name: steps + 1 for name, steps in self._reported.items() if name not in found}
        lasting = {name: steps for name, steps in right.items() if steps < self.config.window}
        self._reported = dict.fromkeys(found, 0) | lasting
        return new

    def _findings(self) -> list[tuple[str, str]]:
        findings: list[tuple[str, str]] = []
        limit = self.config.color_drift_255
        channels = list(zip(*(statistics.color_shift_255 for statistics in self._seen), strict=False))
        shifts = [math.fsum(channel) / len(channel) for channel in channels]
        if shifts and max(map(abs, shifts)) > limit and not self._recovers():
            said = ", ".join(f"{shift:+.1f}" for shift in shifts)
            findings.append(
                (
                    "color",
                    f"The outputs' mean color has drifted from the inputs' by {said} levels (of 255). More pixel"
                    " loss or a lower rate helps, or going back to an earlier checkpoint.",
                )
            )
        if not self.adversarial:
            return findings
        real, fake = (self._mean(name) for name in ("real_prediction", "fake_prediction"))
        saturation = self.config.saturation
        if real > saturation and fake < 1 - saturation:
            findings.append(
                (
                    "won",
                    f"The discriminator has won: it says {real:.3f} to real pictures and {fake:.3f} to generated ones,"
                    " so its gradients teach little. Lower its rate, smooth its labels, or start from better weights.",
                )
            )
        if abs(real - fake) < self.config.apart:
            findings.append(
                (
                    "collapsed",
                    f"The discriminator tells nothing apart: it says {real:.3f} to every picture, real or not. If that"
                    " stays, it has collapsed: go back to an earlier checkpoint, with a lower rate for it.",
                )
            )
        likeness = self._mean("likeness")
        if likeness > self.config.likeness:
            findings.append(
                (
                    "one pattern",
                    f"The generator adds nearly the same to every picture (correlation {likeness:.2f}): one"
                    " pattern, not detail. Go back to an earlier checkpoint, with less adversarial loss.",
                )
            )
        detail = self._mean("added_detail")
        if detail < self.config.added_detail:
            findings.append(
                (
                    "copy",
                    f"The generator only copies its input: it adds {100 * detail:.1f} % of the detail of the truth."
                    " Its rate or its losses are too small, or it began from weights that do not fit.",
                )
            )
        return findings

    def _recovers(self) -> bool:
        """Whether colors come nearer within the window, as they do when a run begins from nothing."""
        seen = [max(map(abs, statistics.color_shift_255)) for statistics in self._seen if statistics.color_shift_255]
        half = len(seen) // 2
        return math.fsum(seen[half:]) / max(1, len(seen) - half) < 0.9 * math.fsum(seen[:half]) / max(1, half)

    def _mean(self, name: str) -> float:
        """Over the window; NaN until half of it is known, because one step is nothing that has lasted."""
        values = [value for statistics in self._seen if not math.isnan(value := getattr(statistics, name))]
        return math.fsum(values) / len(values) if 2 * len(values) >= self.config.window else math.nan
