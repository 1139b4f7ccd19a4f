"""Values recorded by a training run, with their titles and explanations in its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tessera.metrics.catalog import METRICS

Better = Literal["lower", "higher", ""]


@dataclass(frozen=True)
class RunQuantity:
    """A value that a run records: its title, which direction is better, how to read it."""

    key: str
    title: str
    better: Better
    note: str
    within: tuple[float, float] | None = None


ATTENTION_LEAD = (
    "Attention maps of one fixed picture, a row for each network of the discriminator: the picture, and the maps A1"
    " (deep), A2, A3 (shallow) blended with it. Red is 1, blue is 0."
)

LOSSES = (
    RunQuantity("generator", "Generator loss", "lower", "Weighted sum of its terms."),
    RunQuantity(
        "pixel",
        "Pixel loss",
        "lower",
        "Pixelwise distance to the reference (or a teacher's output), times its weight.",
    ),
    RunQuantity("grid", "Grid loss", "lower", "Difference between the phases of a pixel shuffle, times its weight."),
    RunQuantity(
        "perceptual",
        "Perceptual loss",
        "lower",
        "Distance of features from those of the reference (or a teacher's output), times its weight.",
    ),
    RunQuantity("style", "Style loss", "lower", "Distance of the features' Gram matrices, times its weight."),
    RunQuantity(
        "adversarial",
        "Adversarial loss",
        "",
        "Penalty for outputs that the discriminator recognizes, times its weight. Neither direction is better"
        " in itself; a long rise means that the discriminator dominates.",
    ),
)
DISCRIMINATOR = (
    RunQuantity(
        "discriminator",
        "Discriminator loss",
        "",
        "If it stays near 0, the discriminator dominates and its gradients vanish.",
    ),
    RunQuantity("d_real", "output for real pictures", "", "", within=(0.0, 1.0)),
    RunQuantity("d_fake", "output for generated pictures", "", "", within=(0.0, 1.0)),
)
OUTPUTS_NOTE = (
    "Mean of sigmoid(D): 1 is real, 0 is generated. A healthy run has real slightly above generated; values that stay"
    " at 1 and 0 mean that the discriminator dominates; equal values mean that it cannot distinguish the two. With a"
    " relativistic loss only the difference is meaningful."
)
RUNNING = (
    RunQuantity("g_gradient", "gradient of the generator", "", ""),
    RunQuantity("d_gradient", "gradient of the discriminator", "", ""),
    RunQuantity("rate", "Learning rate of the generator", "", "As scheduled; lowered after a rollback."),
    RunQuantity(
        "waiting",
        "Share of time waiting for data",
        "lower",
        "Since the run started or resumed; above about 0.15, data loading limits the speed.",
        within=(0.0, 1.0),
    ),
)
SCORES = (
    *(
        RunQuantity(info.name, info.title, "higher" if info.higher_is_better else "lower", info.summary)
        for info in (metric.info for metric in METRICS)
    ),
    RunQuantity("perceptual", "Perceptual distance", "lower", "Distance of features from those of the reference."),
)
"""Validation scores: every metric, on Y with borders cropped where it compares, averaged over the pictures."""
