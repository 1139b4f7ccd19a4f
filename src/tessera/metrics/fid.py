"""FID: distance between the features of two sets of pictures, each modeled as a Gaussian.

Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter 2017, section 2, with the features of `pool3` of Inception. Shapes: B
pictures, H height, W width, N pictures at a time, D features of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.errors import NonFiniteError, UsageError
from tessera.images.resize import resize
from tessera.metrics.metric import Accumulator, Frame, Start
from tessera.trunks import Trunk, load_trunk

Floats = npt.NDArray[np.float64]

FEATURES = 2048
FEWEST_PICTURES = 2
_SIDE = (299, 299)


def _resize_bilinear(batch: Tensor) -> Tensor:
    return F.interpolate(batch, size=_SIDE, mode="bilinear", align_corners=False, antialias=False)


def _resize_clean(batch: Tensor) -> Tensor:
    return resize(batch, size=_SIDE, kernel="bicubic", antialias=True).clamp(0, 1)


FID_RESIZES: Mapping[str, Callable[[Tensor], Tensor]] = {"bilinear": _resize_bilinear, "clean": _resize_clean}
"""Resizing to 299x299. `bilinear` is that of pytorch-fid and of most published scores: half-pixel centers without
antialiasing, so large pictures are aliased. `clean` is antialiased bicubic without rounding to 8 bits (Parmar 2022),
here with MATLAB's mirrored borders. Scores of the two are not comparable."""


def inception_features(trunk: Trunk, batch: Tensor, *, resizing: str = "bilinear") -> Tensor:
    """Features of RGB in [0, 1], (B, 3, H, W) -> (B, 2048), in the trunk's type; `trunk` is that named "inception".

    Resized to 299x299 by `FID_RESIZES`, then scaled to [-1, 1]. Raises UsageError for an unknown resizing.
    """
    if resizing not in FID_RESIZES:
        raise UsageError(f"resizing: expected {' or '.join(FID_RESIZES)}, found {resizing!r}.")
    if batch.ndim != 4 or batch.shape[1] != 3:
        raise UsageError(f"FID: expected a batch (B, 3, H, W), found {tuple(batch.shape)}.")
    return trunk(trunk.normalization.apply(FID_RESIZES[resizing](batch)), ("pool3",))["pool3"]


class FrechetStatistics:
    """Mean and covariance of features, updated in batches of any size; two can be merged.

    Centered sums in float64 (Chan, Golub, LeVeque 1979), so the result does not depend on the batches.
    """

    def __init__(self, features: int = FEATURES) -> None:
        self.count = 0
        self._mean: Floats = np.zeros(features)
        self._centered: Floats = np.zeros((features, features))

    def take(self, features: Tensor | npt.NDArray[np.floating]) -> None:
        """Add the features of the next pictures, (N, D). Raises NonFiniteError for NaN or infinity."""
        rows: Floats = np.asarray(
            features.detach().cpu().double() if isinstance(features, Tensor) else features, np.float64
        )
        if rows.ndim != 2 or rows.shape[1] != len(self._mean):
            raise UsageError(f"features: expected (N, {len(self._mean)}), found {rows.shape}.")
        if not np.isfinite(rows).all():
            raise NonFiniteError("FID: the features of a picture contain NaN or infinity.")
        if len(rows):
            mean = rows.mean(axis=0)
            self._add(len(rows), mean, (rows - mean).T @ (rows - mean))

    def merge(self, other: FrechetStatistics) -> None:
        """Add the pictures of `other`, which stays unchanged."""
        if len(other._mean) != len(self._mean):
            raise UsageError(f"Statistics of {len(self._mean)} and of {len(other._mean)} features cannot be merged.")
        if other.count:
            self._add(other.count, other._mean, other._centered)

    @property
    def mean(self) -> Floats:
        """The mean, (D,). Raises UsageError below two pictures."""
        self._check_count()
        return self._mean.copy()

    @property
    def covariance(self) -> Floats:
        """The unbiased covariance, (D, D). Raises UsageError below two pictures."""
        self._check_count()
        return self._centered / (self.count - 1)

    def distance(self, other: FrechetStatistics) -> float:
        """The distance to the other's pictures, see `frechet_distance`."""
        return frechet_distance(self.mean, self.covariance, other.mean, other.covariance)

    def _add(self, count: int, mean: Floats, centered: Floats) -> None:
        total = self.count + count
        apart = mean - self._mean
        self._centered += centered + np.outer(apart, apart) * (self.count * count / total)
        self._mean += apart * (count / total)
        self.count = total

    def _check_count(self) -> None:
        if self.count < FEWEST_PICTURES:
            raise UsageError(f"FID: expected at least {FEWEST_PICTURES} pictures, found {self.count}.")


def frechet_distance(mean1: Floats, cov1: Floats, mean2: Floats, cov2: Floats) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two Gaussians, (D,), (D, D) twice; 0 is equal, lower is better.

    (Dowson, Landau 1982.) The trace of that root is the sum of the singular values of C1^(1/2) C2^(1/2), which is
    stable also with fewer pictures than features. Raises UsageError for other shapes, NonFiniteError for NaN.
    """
    means = [np.asarray(mean, np.float64) for mean in (mean1, mean2)]
    covariances = [np.asarray(covariance, np.float64) for covariance in (cov1, cov2)]
    size = len(means[0].reshape(-1))
    if any(mean.shape != (size,) for mean in means) or any(each.shape != (size, size) for each in covariances):
        shapes = ", ".join(str(each.shape) for each in (means[0], covariances[0], means[1], covariances[1]))
        raise UsageError(f"FID: expected means (D,) and covariances (D, D) of one size, found {shapes}.")
    if not all(np.isfinite(each).all() for each in (*means, *covariances)):
        raise NonFiniteError("FID: a mean or a covariance contains NaN or infinity.")
    apart = means[0] - means[1]
    roots = [_take_root(covariance) for covariance in covariances]
    overlap = np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum()
    distance = float(apart @ apart + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * overlap)
    return max(distance, 0.0)


def load_features(*, offline: bool = False) -> Callable[[Tensor], Tensor]:
    """Load Inception -> a function from RGB in [0, 1], (B, 3, H, W), to features (B, 2048).

    Raises the errors of `trunks.load_trunk`.
    """
    trunk = load_trunk("inception", offline=offline)
    return lambda batch: inception_features(trunk, batch)


def start_fid(features: Callable[[Tensor], Tensor]) -> Start:
    """Start FID on whole pictures; `features` maps (1, 3, H, W) to (1, 2048)."""

    def start(_: Frame) -> Accumulator:
        found: list[Floats] = []

        def take(sr: npt.NDArray[np.float32], gt: npt.NDArray[np.float32]) -> None:
            with torch.inference_mode():
                found.extend(np.asarray(features(torch.from_numpy(each)).double().cpu()) for each in (sr, gt))

        return Accumulator(take, state=lambda: (found[0], found[1]))

    return start


def pool_fid(states: Sequence[tuple[Floats, Floats]]) -> float | None:
    """FID from the features of results and references, (1, 2048) each; None below two pictures."""
    if len(states) < FEWEST_PICTURES:
        return None
    results, references = FrechetStatistics(), FrechetStatistics()
    for result, reference in states:
        results.take(result)
        references.take(reference)
    return results.distance(references)


def _take_root(covariance: Floats) -> Floats:
    """The symmetric square root; variances below the rounding error count as zero."""
    variances, directions = np.linalg.eigh((covariance + covariance.T) / 2)
    negligible = len(variances) * np.finfo(np.float64).eps * max(float(variances[-1]), 0.0)
    return (directions * np.sqrt(np.where(variances > negligible, variances, 0.0))) @ directions.T
