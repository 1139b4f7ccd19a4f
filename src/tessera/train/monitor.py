"""Monitoring of a run: non-finite losses, and failures of adversarial training that the losses do not show.

Each detector looks at a window of recent steps, reports a condition that lasted for the whole window, and reports it
again only after a window without it. Detectors only warn; only non-finite losses stop a run.

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
    """Limits of the monitor."""

    skips: Annotated[int, Field(ge=0)] = 3
    """Non-finite steps in a row that are skipped before the run rolls back to its last checkpoint."""
    roll_backs: Annotated[int, Field(ge=0)] = 3
    """Rollbacks before the run stops."""
    forgiven_after: Annotated[int, Field(ge=1)] = 10_000
    """Finite steps after which earlier rollbacks no longer count; the learning rates stay lowered."""
    rate_factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Factor for the learning rates at each rollback."""
    window: Annotated[int, Field(ge=2)] = 200
    """Steps in the window of the detectors."""
    color_drift_255: Annotated[float, Field(gt=0)] = 3.0
    """Allowed difference between the mean of outputs and of inputs, in levels of 255, in any channel."""
    saturation: Annotated[float, Field(gt=0.5, lt=1)] = 0.98
    """Mean predictions above this for real and below 1 minus this for generated ones: the discriminator has won."""
    apart: Annotated[float, Field(ge=0, lt=1)] = 1e-3
    """Mean predictions that differ by less: the discriminator does not separate real from generated pictures."""
    likeness: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Correlation of the detail added to different pictures, above which the generator adds the same to all."""
    added_detail: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the ground truth's detail below which a generator with an adversarial loss only copies its input."""


@dataclass
class NonFiniteGuard:
    """Counts steps with a non-finite loss or gradient, and decides what to do."""

    config: MonitorConfig
    bad_in_a_row: int = 0
    good_in_a_row: int = 0
    roll_backs: int = 0
    """Rollbacks that still count."""
    rate: float = 1.0
    """Current factor for the learning rates."""

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
        """The state to save; `NonFiniteGuard(config, **facts)` restores it."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "config"}


@dataclass(frozen=True)
class StepStatistics:
    """Statistics of one step for the detectors."""

    real_prediction: float = math.nan
    """Mean prediction of the discriminator for real pictures, in [0, 1]; NaN for unbounded losses."""
    fake_prediction: float = math.nan
    """Mean prediction for generated pictures."""
    color_shift_255: tuple[float, ...] = ()
    """Mean of the outputs less mean of the inputs, per channel, in levels."""
    likeness: float = math.nan
    """Mean correlation between the detail added to different pictures of the batch."""
    added_detail: float = math.nan
    """Energy of the added detail, as a share of that of the ground truth."""


@torch.no_grad()
def measure_batch(lq: Tensor, sr: Tensor, gt: Tensor, *, side: int = 64) -> StepStatistics:
    """Measure one batch: lq (B, C, h, w), sr and gt (B, C, H, W), in [0, 1].

    Added detail is the difference to the bicubic upscaling of the input, in the central `side` pixels.
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
    """Reported conditions with the steps since each was last seen, so that none is reported at every step."""

    def __post_init__(self) -> None:
        self._seen = deque(maxlen=self.config.window)

    def update(self, statistics: StepStatistics) -> list[str]:
        """Add the statistics of a step -> new warnings."""
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
                    f"The mean color of the outputs has drifted from that of the inputs by {said} levels (of 255)."
                    " Increase the pixel loss, lower the learning rate, or restart from an earlier checkpoint.",
                )
            )
        return findings + (self._adversarial_findings() if self.adversarial else [])

    def _adversarial_findings(self) -> list[tuple[str, str]]:
        findings: list[tuple[str, str]] = []
        real, fake = (self._mean(name) for name in ("real_prediction", "fake_prediction"))
        saturation = self.config.saturation
        if real > saturation and fake < 1 - saturation:
            findings.append(
                (
                    "won",
                    f"The discriminator has won: its mean prediction is {real:.3f} for real and {fake:.3f} for"
                    " generated pictures, so its gradients vanish. Lower its learning rate, smooth its labels, or start"
                    " the generator from better weights.",
                )
            )
        if abs(real - fake) < self.config.apart:
            findings.append(
                (
                    "collapsed",
                    f"The discriminator does not separate real from generated pictures: its mean prediction is"
                    f" {real:.3f} for both. If this lasts, it has collapsed: restart from an earlier checkpoint with a"
                    " lower discriminator learning rate.",
                )
            )
        likeness = self._mean("likeness")
        if likeness > self.config.likeness:
            findings.append(
                (
                    "one pattern",
                    f"The generator adds nearly the same pattern to every picture (correlation {likeness:.2f})."
                    " Restart from an earlier checkpoint with a lower adversarial weight.",
                )
            )
        detail = self._mean("added_detail")
        if detail < self.config.added_detail:
            findings.append(
                (
                    "copy",
                    f"The generator only copies its input: it adds {100 * detail:.1f} % of the ground truth's detail."
                    " Its learning rate or losses are too small, or its initial weights do not fit.",
                )
            )
        return findings

    def _recovers(self) -> bool:
        """Whether the color shift shrinks within the window, as at the start of a run from scratch."""
        seen = [max(map(abs, statistics.color_shift_255)) for statistics in self._seen if statistics.color_shift_255]
        half = len(seen) // 2
        return math.fsum(seen[half:]) / max(1, len(seen) - half) < 0.9 * math.fsum(seen[:half]) / max(1, half)

    def _mean(self, name: str) -> float:
        """Mean over the window; NaN while fewer than half of its values are known."""
        values = [value for statistics in self._seen if not math.isnan(value := getattr(statistics, name))]
        return math.fsum(values) / len(values) if 2 * len(values) >= self.config.window else math.nan
