"""Random generators of a training run: derived from numbers, without a state to save.

Each random choice has its own generator, derived from the run's seed, the purpose of the choice and the number of the
batch. So a resumed run draws what it would have drawn, with any number of workers.
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
    """Derive the generator of one choice, independent for every seed, purpose, number and process.

    >>> bool(derive_rng(0, "crop", 7).integers(1000) == derive_rng(0, "crop", 7).integers(1000))
    True
    """
    return np.random.default_rng(np.random.SeedSequence([seed, _NUMBERS[purpose], number, process]))


def derive_torch_generator(rng: np.random.Generator) -> torch.Generator:
    """Derive a PyTorch generator on the CPU from a NumPy generator."""
    return torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
