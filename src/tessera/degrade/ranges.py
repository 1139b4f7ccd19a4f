"""What a configuration of chance is made of: probabilities, and ranges that numbers are drawn from."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

Probability = Annotated[float, Field(ge=0, le=1)]


def ordered(pair: tuple[float, float]) -> tuple[float, float]:
    """A range as it is. Raises ValueError when it goes from the larger number to the smaller."""
    if pair[0] > pair[1]:
        raise ValueError(f"a range goes from the smaller to the larger number, found {list(pair)}")
    return pair


def add_up(shares: tuple[float, ...]) -> None:
    """Raises ValueError unless shares add up to 1."""
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares add up to 1, these to {sum(shares):g}")


def draw_one(shares: tuple[float, ...], rng: np.random.Generator) -> int:
    """Which of several, each as often as its share says."""
    return int(np.searchsorted(np.cumsum(shares[:-1]), rng.random(), side="right"))
