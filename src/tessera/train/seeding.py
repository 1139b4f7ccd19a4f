"""Where the chance of a training run comes from: numbers, never a state that has to be saved.

Each random choice has its own generator, made from the run's seed, what the choice is for, and the number of the batch
it is made for. So a run that goes on makes the choices it would have made, on any number of workers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

Purpose = Literal[
    "degradation",
    "crop",
    "pool",
    "labels",
    "noise",
    "lq noise",
    "initial weights",
    "validation",
    "kind of inputs",
]
_NUMBERS: dict[Purpose, int] = {
    "degradation": 1,
    "crop": 2,
    "pool": 3,
    "labels": 4,
    "noise": 5,
    "lq noise": 6,
    "initial weights": 7,
    "validation": 8,
    "kind of inputs": 9,
}


def derive_rng(seed: int, purpose: Purpose, number: int, *, process: int = 0) -> np.random.Generator:
    """The generator for one choice. Those of different seeds, purposes, numbers and processes have nothing in common.

    >>> bool(derive_rng(0, "crop", 7).integers(1000) == derive_rng(0, "crop", 7).integers(1000))
    True
    """
    return np.random.default_rng(np.random.SeedSequence([seed, _NUMBERS[purpose], number, process]))


def derive_torch_generator(rng: np.random.Generator) -> torch.Generator:
    """A generator of PyTorch on the CPU that follows from one of NumPy."""
    return torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
