"""Means with intervals, and whether two methods differ: resampling, because scores of pictures are no bell curve.

Random numbers come from a fixed seed, so the same scores give the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
_SEED = 20_040_617
_FEW = 12
"""Up to so many pairs, every flip of signs is tried; beyond it a random sample of them."""

Scores = Sequence[float] | npt.NDArray[np.float64]


def bootstrap_interval(scores: Scores, *, confidence: float = 0.95) -> tuple[float, float]:
    """Where the mean would lie, had other pictures been drawn: the percentile interval of resampled means (Efron 1979).

    One score gives itself twice, none gives NaN; infinities give infinite ends.
    """
    values = np.asarray(scores, np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        only = float(values.mean()) if len(values) else float("nan")
        return only, only
    rng = np.random.default_rng(_SEED)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def paired_p_value(differences: Scores) -> float:
    """How often the mean difference would be as far from zero if the signs were chance (Fisher 1935), two-sided.

    Exact up to 12 pairs, from 10,000 random flips beyond; fewer than two pairs, or one that is not finite, give NaN.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return float("nan")
    observed = abs(values.mean())
    slack = 1e-12 * np.abs(values).max()
    if len(values) <= _FEW:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(values))))
        return float((np.abs(signs @ values) / len(values) >= observed - slack).mean())
    rng = np.random.default_rng(_SEED)
    signs = rng.choice((-1.0, 1.0), (RESAMPLES, len(values)))
    extreme = int((np.abs(signs @ values) / len(values) >= observed - slack).sum())
    return (extreme + 1) / (RESAMPLES + 1)
