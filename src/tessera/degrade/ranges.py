"""Building blocks of random configurations: probabilities, and ranges to draw from."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

Probability = Annotated[float, Field(ge=0, le=1)]


def check_order(pair: tuple[float, float]) -> tuple[float, float]:
    """Return a range. Raises ValueError if it goes from the larger number to the smaller."""
    if pair[0] > pair[1]:
        raise ValueError(f"a range must go from the smaller to the larger number, found {list(pair)}")
    return pair


def check_sum(shares: tuple[float, ...]) -> None:
    """Raise ValueError unless probabilities sum to 1."""
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"probabilities must sum to 1, found {sum(shares):g}")


def draw_one(shares: tuple[float, ...], rng: np.random.Generator) -> int:
    """Draw an index with these probabilities."""
    return int(np.searchsorted(np.cumsum(shares[:-1]), rng.random(), side="right"))
