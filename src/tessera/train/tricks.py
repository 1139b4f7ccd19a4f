"""Tricks of esrdgan for stable adversarial training, as its author intended them, not as its code implements them.

Smoothed, noisy or swapped labels; noise on the discriminator's inputs that fades over the run; noise on the generator's
inputs. What belongs to a network (start values, kernel sizes, residual scaling), to a loss
(relativism, low-level features) or to the step (training the discriminator more often) is configured there.

Shapes: B pictures in a batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from tessera.losses.adversarial import Targets
from tessera.train.seeding import derive_torch_generator

LABEL_NOISE = 0.05
"""Standard deviation of a noisy label (esrdgan)."""
SMOOTH_LABEL = 0.9
"""The real label under one-sided smoothing (Salimans et al. 2016, section 3.4)."""


class TricksConfig(BaseModel, frozen=True, extra="forbid"):
    """Training tricks; all are off by default."""

    noisy_labels: bool = False
    """Add Gaussian noise of deviation 0.05 to the discriminator's labels, per picture, clipped to [0, 1]."""
    one_sided_label_smoothing: bool = False
    """Use 0.9 instead of 1 as the discriminator's real label; its fake label and the generator's labels stay."""
    flip_labels: bool = False
    """Use label 0 for real and 1 for fake in both networks, which is said to help early gradients."""
    instance_noise: bool = False
    """Add Gaussian noise to both inputs of the discriminator; its variance falls linearly from 1 to 0 over the run."""
    lq_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Standard deviation, in [0, 1], of Gaussian noise added to the generator's inputs."""


def discriminator_targets(tricks: TricksConfig, pictures: int, rng: np.random.Generator) -> Targets:
    """Labels of one discriminator step: numbers, or (B, 1, 1, 1) tensors with one label per picture."""
    real: float | Tensor = SMOOTH_LABEL if tricks.one_sided_label_smoothing else 1.0
    fake: float | Tensor = 0.0
    if tricks.noisy_labels:
        noise = rng.normal(0.0, LABEL_NOISE, (2, pictures, 1, 1, 1))
        real, fake = (
            torch.from_numpy((label + part).clip(0, 1)).float() for label, part in zip((real, fake), noise, strict=True)
        )
    return Targets(real=fake, fake=real) if tricks.flip_labels else Targets(real=real, fake=fake)


def generator_targets(tricks: TricksConfig) -> Targets:
    """Labels of the generator's adversarial loss: never smoothed, never noisy."""
    return Targets(real=0.0, fake=1.0) if tricks.flip_labels else Targets(real=1.0, fake=0.0)


def instance_noise_deviation(step: int, steps: int) -> float:
    """Standard deviation of the instance noise at a step: the variance falls linearly from 1 to 0.

    >>> [round(instance_noise_deviation(step, 100), 3) for step in (0, 75, 100, 120)]
    [1.0, 0.5, 0.0, 0.0]
    """
    return math.sqrt(max(0.0, 1 - step / steps))


def add_noise(pictures: Tensor, deviation: float, rng: np.random.Generator) -> Tensor:
    """Add Gaussian noise of this deviation, drawn from `rng`: (B, C, H, W) -> the same, not clipped."""
    if not deviation:
        return pictures
    noise = torch.randn(pictures.shape, generator=derive_torch_generator(rng), dtype=torch.float32)
    return pictures + deviation * noise.to(pictures)
