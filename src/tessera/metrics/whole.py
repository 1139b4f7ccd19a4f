"""Shared by metrics of whole pictures: the check of their arguments, and an accumulator for one pair.

Shapes: B pictures, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tessera.errors import UsageError
from tessera.metrics.metric import Accumulator


def check_pair(sr: Tensor, gt: Tensor, smallest_side: int, metric: str) -> None:
    """Raise UsageError unless both are (B, 3, H, W), of one size, and large enough for the metric."""
    if sr.ndim != 4 or sr.shape != gt.shape or sr.shape[1] != 3:
        raise UsageError(
            f"{metric}: expected two batches (B, 3, H, W) of one size, found {tuple(sr.shape)} and {tuple(gt.shape)}."
        )
    if min(sr.shape[-2:]) < smallest_side:
        raise UsageError(f"{metric}: expected at least {smallest_side} pixels per side, found {tuple(sr.shape[-2:])}.")


def measure_whole(measure: Callable[[Tensor, Tensor], float]) -> Accumulator:
    """Make an accumulator from a function of two pictures, (1, 3, H, W) twice, RGB in [0, 1]."""
    scores: list[float] = []

    def take(sr: npt.NDArray[np.float32], gt: npt.NDArray[np.float32]) -> None:
        with torch.inference_mode():
            scores.append(measure(torch.from_numpy(sr), torch.from_numpy(gt)))

    return Accumulator(take, lambda: scores[-1])
