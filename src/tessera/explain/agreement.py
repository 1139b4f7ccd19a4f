"""Statistics of an attention map: mean, spread, entropy, and its agreement with edges or with errors.

All in double precision on the grid of the map; edges and errors are averaged to that grid first.

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
"""Share of the pixels, those with the strongest edges, that the area under the ROC curve counts as edges."""


@dataclass(frozen=True, kw_only=True)
class MapStatistics:
    """Statistics of one map. None where undefined: a constant map or a constant picture."""

    mean: float
    spread: float
    """Standard deviation."""
    entropy: float
    """Entropy of the map as a distribution over pixels, relative to the maximum: 1 is uniform."""
    edges_rank: float | None
    """Spearman's rank correlation with edge strength, -1 to 1; 0 is uncorrelated."""
    edges_roc: float | None
    """Area under the ROC curve of attention as a detector of the tenth with the strongest edges; 0.5 is chance."""
    error_rank: float | None = None
    """As `edges_rank`, with the absolute difference from the ground truth."""
    error_roc: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """Numbers of seven digits, which do not depend on the order of summation."""
        return {name: None if value is None else float(f"{value:.7g}") for name, value in asdict(self).items()}


def measure_gate(attention: Tensor, edges: Floats, error: Floats | None) -> MapStatistics:
    """Measure a map (1, 1, h, w) in (0, 1) against edge strength and, where known, error, both on its grid.

    Rows and columns beyond (h, w), which the halving of a picture left out, are not used.
    """
    values = attention[0, 0].cpu().double().numpy()
    rows, columns = values.shape
    edges = edges[:rows, :columns]
    error = None if error is None else error[:rows, :columns]
    return MapStatistics(
        mean=float(values.mean()),
        spread=float(values.std()),
        entropy=entropy(values),
        edges_rank=rank_correlation(values, edges),
        edges_roc=roc_area(values, edges),
        error_rank=None if error is None else rank_correlation(values, error),
        error_roc=None if error is None else roc_area(values, error),
    )


def compute_edge_strength(picture: Tensor) -> Floats:
    """Compute the magnitude of Sobel's gradient of luma, (1, 3, H, W) RGB in [0, 1] -> (H, W), borders repeated."""
    luma = np.pad(luma_jpeg(picture.cpu().double())[0, 0].numpy(), 1, mode="edge")
    smooth_down = luma[:-2] + 2 * luma[1:-1] + luma[2:]
    smooth_across = luma[:, :-2] + 2 * luma[:, 1:-1] + luma[:, 2:]
    return np.hypot(smooth_down[:, 2:] - smooth_down[:, :-2], smooth_across[2:] - smooth_across[:-2])


def compute_error(picture: Tensor, truth: Tensor) -> Floats:
    """Compute the absolute difference, averaged over channels: (1, C, H, W) in [0, 1] twice -> (H, W)."""
    return (picture.cpu().double() - truth.cpu().double()).abs().mean(dim=1)[0].numpy()


def average_blocks(values: Floats, divisor: int) -> Floats:
    """Average blocks of d x d pixels, (H, W) -> (ceil(H/d), ceil(W/d)); blocks at the far sides may be smaller.

    >>> average_blocks(np.array([[1.0, 3.0, 7.0]]), 2).tolist()
    [[2.0, 7.0]]
    """
    for axis in (0, 1):
        starts = np.arange(0, values.shape[axis], divisor)
        counts = np.diff(starts, append=values.shape[axis])
        values = np.add.reduceat(values, starts, axis=axis) / (counts[:, None] if axis == 0 else counts)
    return values


def entropy(values: Floats) -> float:
    """Relative entropy of positive values as shares of their sum, between 0 (one pixel has all) and 1 (uniform).

    >>> round(entropy(np.array([1.0, 1.0, 2.0])), 6)
    0.946395
    """
    if values.size < 2:
        return 1.0
    shares = values / values.sum()
    known = shares[shares > 0]
    return float(-(known * np.log(known)).sum() / math.log(values.size))


def ranks(values: Floats) -> Floats:
    """The rank of each value, from 1; equal values share their mean rank: any shape -> (N,).

    >>> ranks(np.array([0.3, 0.1, 0.3, 0.9])).tolist()
    [2.5, 1.0, 2.5, 4.0]
    """
    _, place, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[place.ravel()]


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Spearman's rank correlation of two grids of one shape, ties by mean ranks; None where either is constant."""
    one, other = (ranks(each) - (each.size + 1) / 2 for each in (first, second))
    scale = math.sqrt(float(one @ one) * float(other @ other))
    return None if scale == 0 else float(one @ other) / scale


def roc_area(attention: Floats, strength: Floats) -> float | None:
    """The area under the ROC curve of attention as a detector of the strongest tenth; None for constant `strength`.

    That is the share of pairs, one of the strongest pixels and one other, in which the first has more attention; equal
    values count half (Mann-Whitney).
    """
    wanted = strength.ravel() > np.quantile(strength, 1 - STRONGEST, method="lower")
    positive = int(wanted.sum())
    negative = wanted.size - positive
    if not positive or not negative:
        return None
    above = float(ranks(attention)[wanted].sum()) - positive * (positive + 1) / 2
    return above / (positive * negative)
