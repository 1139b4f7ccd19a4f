"""Attention as numbers: how much, how uneven, how spread out; and how well it agrees with edges or with errors.

All in double precision, on the grid of the map; what it is compared with is averaged down to that grid first.

Shapes: H, W height and width of a picture, h, w of a map, N values.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tessera.images.color import luma_jpeg

Floats = npt.NDArray[np.float64]

STRONGEST = 0.1
"""Which share of the pixels, those with the strongest edges, an area under the ROC counts as edges."""


@dataclass(frozen=True, kw_only=True)
class GateNumbers:
    """What there is to say about one map. None stands where nothing can be said: a flat map, a flat picture."""

    mean: float
    spread: float
    """Standard deviation."""
    entropy: float
    """Of the map as a share of attention for each pixel, divided by the highest possible: 1 is the same everywhere."""
    edges_rank: float | None
    """Spearman's rank correlation with the strength of edges, -1 to 1; 0 is none."""
    edges_roc: float | None
    """How often a pixel among the tenth with the strongest edges has more attention than another; 0.5 is chance."""
    error_rank: float | None = None
    """As `edges_rank`, with the absolute difference from the truth."""
    error_roc: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """As plain numbers with seven digits, which do not depend on the order of a sum."""
        return {name: None if value is None else float(f"{value:.7g}") for name, value in asdict(self).items()}


def gate_numbers(attention: Tensor, edges: Floats, error: Floats | None) -> GateNumbers:
    """Measure a map (1, 1, h, w) in (0, 1) against the strength of edges and, where known, of errors, both (h, w)."""
    values = attention[0, 0].cpu().double().numpy()
    return GateNumbers(
        mean=float(values.mean()),
        spread=float(values.std()),
        entropy=entropy(values),
        edges_rank=rank_correlation(values, edges),
        edges_roc=roc_area(values, edges),
        error_rank=None if error is None else rank_correlation(values, error),
        error_roc=None if error is None else roc_area(values, error),
    )


def edge_strength(picture: Tensor) -> Floats:
    """The magnitude of Sobel's gradient of the luma, (1, 3, H, W) RGB in [0, 1] -> (H, W), edge pixels repeated."""
    luma = np.pad(luma_jpeg(picture.cpu().double())[0, 0].numpy(), 1, mode="edge")
    smooth_down = luma[:-2] + 2 * luma[1:-1] + luma[2:]
    smooth_across = luma[:, :-2] + 2 * luma[:, 1:-1] + luma[:, 2:]
    return np.hypot(smooth_down[:, 2:] - smooth_down[:, :-2], smooth_across[2:] - smooth_across[:-2])


def error_strength(picture: Tensor, truth: Tensor) -> Floats:
    """The absolute difference, as the mean over the channels: two of (1, C, H, W) in [0, 1] -> (H, W)."""
    return (picture.cpu().double() - truth.cpu().double()).abs().mean(dim=1)[0].numpy()


def averaged_down(values: Floats, divisor: int) -> Floats:
    """(H, W) -> (ceil(H/d), ceil(W/d)), the means of d x d pixels; at the far sides of what there is of them.

    >>> averaged_down(np.array([[1.0, 3.0, 7.0]]), 2).tolist()
    [[2.0, 7.0]]
    """
    for axis in (0, 1):
        starts = np.arange(0, values.shape[axis], divisor)
        counts = np.diff(starts, append=values.shape[axis])
        values = np.add.reduceat(values, starts, axis=axis) / (counts[:, None] if axis == 0 else counts)
    return values


def entropy(values: Floats) -> float:
    """Of positive values as shares of their sum, between 0 (all in one pixel) and 1 (the same everywhere).

    >>> round(entropy(np.array([1.0, 1.0, 2.0])), 6)
    0.946395
    """
    if values.size < 2:
        return 1.0
    shares = values / values.sum()
    known = shares[shares > 0]
    return float(-(known * np.log(known)).sum() / math.log(values.size))


def ranks(values: Floats) -> Floats:
    """The rank of each value, from 1; equal ones share the mean of theirs: any shape -> (N,).

    >>> ranks(np.array([0.3, 0.1, 0.3, 0.9])).tolist()
    [2.5, 1.0, 2.5, 4.0]
    """
    _, place, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[place.ravel()]


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Spearman's rank correlation of two grids of one shape, ties by mean ranks; None where one of them is flat."""
    one, other = (ranks(each) - (each.size + 1) / 2 for each in (first, second))
    scale = math.sqrt(float(one @ one) * float(other @ other))
    return None if scale == 0 else float(one @ other) / scale


def roc_area(attention: Floats, strength: Floats) -> float | None:
    """The area under the ROC of attention as a detector of the strongest tenth; None where nothing stands out.

    It is the share of pairs, one of the strongest pixels and one other, in which the first has more attention; equal
    ones count half (Mann-Whitney).
    """
    wanted = strength.ravel() > np.quantile(strength, 1 - STRONGEST, method="lower")
    positive = int(wanted.sum())
    negative = wanted.size - positive
    if not positive or not negative:
        return None
    above = float(ranks(attention)[wanted].sum()) - positive * (positive + 1) / 2
    return above / (positive * negative)
