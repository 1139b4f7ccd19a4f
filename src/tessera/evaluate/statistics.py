"""Confidence intervals of means and paired tests by resampling, since scores are not normally distributed.

Random numbers have a fixed seed, so the same scores give the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
_SEED = 20_040_617
_FEW = 12
"""Up to this many pairs, all sign flips are enumerated; above, a random sample."""

Scores = Sequence[float] | npt.NDArray[np.float64]


def bootstrap_interval(scores: Scores, *, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean (Efron 1979).

    A single score returns itself twice, no score NaN, infinite scores infinite ends.
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


def compute_paired_p_value(differences: Scores) -> float:
    """The two-sided p-value of the mean difference by a sign-flip permutation test (Fisher 1935).

    Exact up to 12 pairs, from 10,000 random flips above; fewer than two pairs, or non-finite ones, return NaN.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return float("nan")
    observed = abs(values.mean())
    tolerance = 1e-12 * np.abs(values).max()
    if len(values) <= _FEW:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(values))))
        return float((np.abs(signs @ values) / len(values) >= observed - tolerance).mean())
    rng = np.random.default_rng(_SEED)
    signs = rng.choice((-1.0, 1.0), (RESAMPLES, len(values)))
    extreme = int((np.abs(signs @ values) / len(values) >= observed - tolerance).sum())
    return (extreme + 1) / (RESAMPLES + 1)
