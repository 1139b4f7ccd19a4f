"""NIQE: distance of a picture's statistics from those of undistorted photographs, without a reference.

Mittal, Soundararajan, Bovik 2013, as in BasicSR and A-ESRGAN, which agree with the authors' MATLAB code. Shapes: H
height, W width of a gray picture in levels of 255; h rows at a time; N blocks of S by S pixels.
"""

from __future__ import annotations

import functools
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.errors import UsageError
from tessera.images.filters import Band, compute_bands
from tessera.metrics.metric import Accumulator, Frame, Start
from tessera.weights.published import NIQE_MODEL
from tessera.zoo.fetching import fetch_file

BLOCK = 96
_WINDOW = 7
_SIGMA = 7 / 6
_REACH = _WINDOW // 2
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
FEATURES = 36
_NEGLIGIBLE = 1e-5
FEWEST_BLOCKS = 2
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class PristineModel:
    """Mean (36,) and covariance (36, 36) of the features of undistorted photographs."""

    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]

    @staticmethod
    def load(path: Path) -> PristineModel:
        """Read `mu_pris_param` and `cov_pris_param` from an .npz file. Raises ValueError and OSError for other files.

        The unpacked size is bounded before NumPy reads: the published file is 11 kB, and a zip archive can declare any.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > _MOST_BYTES:
                raise ValueError(f"expected at most {_MOST_BYTES:,} bytes unpacked, found {size:,}")
            with np.load(path, allow_pickle=False) as file:
                mean, covariance = file["mu_pris_param"].reshape(-1), file["cov_pris_param"]
        except KeyError as error:
            raise ValueError(f"{error.args[0]}") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, MemoryError, RuntimeError) as error:
            raise ValueError(f"damaged, or not an .npz file: {error}") from None
        if mean.shape != (FEATURES,) or covariance.shape != (FEATURES, FEATURES):
            raise ValueError(f"expected {FEATURES} features, found {mean.shape} and {covariance.shape}")
        return PristineModel(mean.astype(np.float64), covariance.astype(np.float64))


def load_pristine_model(path: Path | None = None, *, offline: bool = False) -> PristineModel:
    """Load NIQE's statistics of undistorted photographs from `path`, or the published file, fetched on first use.

    Raises UsageError for a file without such statistics, ModelNotFoundError where the published file is unavailable.
    """
    if path is not None and not path.is_file():
        raise UsageError(f"no such file: {path}.", field="niqe_model")
    found = path or fetch_file(NIQE_MODEL, what="NIQE's statistics", offline=offline)
    try:
        return PristineModel.load(found)
    except (ValueError, OSError) as error:
        raise UsageError(f"{found}: not a file of NIQE statistics ({error}).") from None


def niqe(gray: Tensor, model: PristineModel) -> float:
    """The score of a gray picture (H, W) in levels of 255; lower is more natural, photographs have about 2 to 5.

    Raises ValueError for fewer than two blocks of 96x96 with structure.
    """
    rows = NiqeRows(gray.shape[0], gray.shape[1])
    rows.take(gray)
    return rows.score(model)


class NiqeRows:
    """NIQE of a gray picture read in rows; holds a row of blocks at each of the two scales."""

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height // BLOCK * BLOCK, width // BLOCK * BLOCK
        self._taken = 0
        self._fine = _Scale(self._height, BLOCK)
        self._coarse = _Scale(self._height // 2, BLOCK // 2)
        self._halver = _Halver(self._height, self._width) if self._height and self._width else None

    def take(self, gray: Tensor) -> None:
        """Add the next rows (h, W) in integer levels of 255."""
        rows = gray[: max(0, self._height - self._taken), : self._width].double()
        self._taken += len(gray)
        if self._halver is None:
            return
        for first in range(0, len(rows), BLOCK):
            few = rows[first : first + BLOCK]
            self._fine.take(few)
            self._coarse.take(self._halver.take(few))

    @property
    def features(self) -> npt.NDArray[np.float64]:
        """The features of each block: (N, 36), NaN for a block without structure."""
        if self._halver is None:
            return np.empty((0, FEATURES))
        return torch.cat((self._fine.features, self._coarse.features), dim=1).numpy()

    def score(self, model: PristineModel) -> float:
        """The distance of the picture from the model. Raises ValueError below two blocks with structure."""
        features = self.features
        whole = features[~np.isnan(features).any(axis=1)]
        if len(whole) < FEWEST_BLOCKS:
            raise ValueError(
                f"NIQE needs {FEWEST_BLOCKS} blocks of {BLOCK}x{BLOCK} pixels with structure, found {len(whole)}"
            )
        difference = model.mean - np.nanmean(features, axis=0)
        covariance = (model.covariance + np.cov(whole, rowvar=False)) / 2
        return math.sqrt(difference @ np.linalg.pinv(covariance) @ difference)


def start_niqe(model: PristineModel) -> Start:
    """Start NIQE on pictures whose gray rows are in levels of 255."""

    def start(frame: Frame) -> Accumulator:
        rows = NiqeRows(frame.height, frame.width)
        return Accumulator(rows.take, lambda: rows.score(model))

    return start


class _Scale:
    """Collects rows of one scale and measures each row of blocks when its surroundings are complete."""

    def __init__(self, height: int, block: int) -> None:
        self._height, self._block = height, block
        self._held: Tensor | None = None
        self._first = 0
        self._done = 0
        self._found: list[Tensor] = []

    def take(self, rows: Tensor) -> None:
        self._held = rows if self._held is None else torch.cat((self._held, rows))
        until = self._first + len(self._held)
        while self._done < self._height and until >= min(self._done + self._block + _REACH, self._height):
            top, bottom = self._done - _REACH, self._done + self._block + _REACH
            inside = self._held[max(0, top) - self._first : bottom - self._first]
            above, below = max(0, -top), max(0, bottom - self._height)
            around = F.pad(inside[None, None], (_REACH, _REACH, above, below), mode="replicate")[0, 0]
            self._found.append(_measure_blocks(_normalize(around), self._block))
            self._done += self._block
            self._held = self._held[max(0, self._done - _REACH) - self._first :]
            self._first = max(0, self._done - _REACH)

    @property
    def features(self) -> Tensor:
        return torch.cat(self._found)


class _Halver:
    """Halves a picture read in rows by antialiased bicubic, as MATLAB's imresize."""

    def __init__(self, height: int, width: int) -> None:
        self._waiting = list(compute_bands(height, height // 2, 0.5, "bicubic"))
        self._across = compute_bands(width, width // 2, 0.5, "bicubic")
        self._held: Tensor | None = None
        self._first = 0

    def take(self, rows: Tensor) -> Tensor:
        self._held = rows if self._held is None else torch.cat((self._held, rows))
        ready: list[Tensor] = [rows[:0, : self._across[-1].last]]
        while self._waiting and self._first + len(self._held) >= self._waiting[0].stop:
            band = self._waiting.pop(0)
            down = _matrix(band) @ self._held[band.start - self._first : band.stop - self._first]
            ready.append(torch.cat([down[:, each.start : each.stop] @ _matrix(each).T for each in self._across], dim=1))
        needed = self._waiting[0].start if self._waiting else self._first + len(self._held)
        self._held, self._first = self._held[max(0, needed - self._first) :], max(needed, self._first)
        return torch.cat(ready)


def _matrix(band: Band) -> Tensor:
    return torch.from_numpy(band.matrix)


@functools.cache
def _gaussian() -> Tensor:
    offsets = torch.arange(_WINDOW, dtype=torch.float64) - _REACH
    weights = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    return weights / weights.sum()


def _blur(rows: Tensor) -> Tensor:
    """Filter with the Gaussian window, valid part only: (h, w) -> (h - 6, w - 6)."""
    weights = _gaussian()
    height, width = rows.shape[0] - 2 * _REACH, rows.shape[1] - 2 * _REACH
    down = sum(weights[tap] * rows[tap : tap + height] for tap in range(_WINDOW))
    assert isinstance(down, Tensor)
    across = sum(weights[tap] * down[:, tap : tap + width] for tap in range(_WINDOW))
    assert isinstance(across, Tensor)
    return across


def _normalize(rows: Tensor) -> Tensor:
    """Normalize by local mean and deviation (Mittal 2013, equations 1 to 3): (h, w) -> (h - 6, w - 6)."""
    mean = _blur(rows)
    deviation = (_blur(rows * rows) - mean * mean).abs().sqrt()
    difference = rows[_REACH:-_REACH, _REACH:-_REACH] - mean
    # In float32, as in the reference, a constant area equals its mean exactly; rounding must not give it a sign.
    return torch.where(difference.abs() < _NEGLIGIBLE, torch.zeros_like(difference), difference) / (deviation + 1)


def _measure_blocks(rows: Tensor, block: int) -> Tensor:
    """The 18 features of each block in a row of blocks: (S, N*S) -> (N, 18)."""
    blocks = rows.unfold(1, block, block).transpose(0, 1)
    alpha, left, right = _fit_aggd(blocks.reshape(len(blocks), -1))
    features = [alpha, (left + right) / 2]
    for shift in _SHIFTS:
        products = blocks * torch.roll(blocks, shift, dims=(1, 2))
        alpha, left, right = _fit_aggd(products.reshape(len(blocks), -1))
        mean = (right - left) * torch.exp(torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha))
        features += [alpha, mean, left, right]
    return torch.stack(features, dim=1)


@functools.cache
def _shapes() -> tuple[Tensor, Tensor]:
    """The grid of shapes, 0.2 to 10 in steps of 0.001, and the (increasing) ratio of moments of each."""
    shape = torch.arange(0.2, 10.001, 0.001, dtype=torch.float64)
    gamma = torch.lgamma
    return shape, torch.exp(2 * gamma(2 / shape) - gamma(1 / shape) - gamma(3 / shape))


def _fit_aggd(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fit asymmetric generalized Gaussians by moments, (N, samples) -> shape, left and right width, (N,) each.

    (Lasmar, Stitou, Berthoumieu 2009.) Samples of one sign give NaN, as in the reference.
    """
    square = samples * samples
    negative, positive = samples < 0, samples > 0
    left = ((square * negative).sum(dim=1) / negative.sum(dim=1)).sqrt()
    right = ((square * positive).sum(dim=1) / positive.sum(dim=1)).sqrt()
    ratio = left / right
    moments = samples.abs().mean(dim=1) ** 2 / square.mean(dim=1)
    wanted = moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape, given = _shapes()
    above = torch.searchsorted(given, wanted.nan_to_num(0)).clamp(1, len(given) - 1)
    nearest = above - (wanted - given[above - 1] <= given[above] - wanted).long()
    alpha = shape[torch.where(wanted.isnan(), 0, nearest)]
    width = torch.exp((torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)) / 2)
    return alpha, left * width, right * width
