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

from tessera.errors import UsageError
from tessera.images.filters import compute_bands
from tessera.metrics.metric import Accumulator, Frame, Start

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.float32]

BLOCK = 96
_WINDOW = 7
_SIGMA = 7 / 6
_REACH = _WINDOW // 2
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
FEATURES = 36
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


PRISTINE_FILE = Path(__file__).with_name("niqe_pris_params.npz")
"""The published statistics of undistorted photographs, as in BasicSR 1.4.2 (`basicsr/metrics`, Apache-2.0), which took
them from the authors' MATLAB release. SHA-256 2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296."""


def load_pristine_model(path: Path | None = None) -> PristineModel:
    """Load NIQE's statistics of undistorted photographs from `path`, or the published ones, which come with Tessera.

    Raises UsageError for a file without such statistics.
    """
    if path is not None and not path.is_file():
        raise UsageError(f"no such file: {path}.", field="niqe_model")
    found = path or PRISTINE_FILE
    try:
        return PristineModel.load(found)
    except (ValueError, OSError) as error:
        raise UsageError(f"{found}: not a file of NIQE statistics ({error}).") from None


def niqe(gray: npt.ArrayLike, model: PristineModel) -> float:
    """The score of a gray picture (H, W) in levels of 255; lower is more natural, photographs have about 2 to 5.

    Raises ValueError for fewer than two blocks of 96x96 with structure.
    """
    levels = np.asarray(gray, np.float32)
    rows = NiqeRows(levels.shape[0], levels.shape[1])
    rows.take(levels)
    return rows.score(model)


class NiqeRows:
    """NIQE of a gray picture read in rows; holds a row of blocks at each of the two scales."""

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height // BLOCK * BLOCK, width // BLOCK * BLOCK
        self._taken = 0
        self._fine = _Scale(self._height, BLOCK)
        self._coarse = _Scale(self._height // 2, BLOCK // 2)
        self._halver = _Halver(self._height, self._width) if self._height and self._width else None

    def take(self, gray: npt.ArrayLike) -> None:
        """Add the next rows (h, W) in integer levels of 255."""
        levels = np.asarray(gray)
        rows = levels[: max(0, self._height - self._taken), : self._width].astype(np.float32)
        self._taken += len(levels)
        if self._halver is None:
            return
        for first in range(0, len(rows), BLOCK):
            few = rows[first : first + BLOCK]
            self._fine.take(few)
            self._coarse.take(self._halver.take(few))

    @property
    def features(self) -> Floats:
        """The features of each block: (N, 36), NaN for a block without structure."""
        if self._halver is None:
            return np.empty((0, FEATURES))
        return np.concatenate((self._fine.features, self._coarse.features), axis=1)

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
        self._held: Levels | None = None
        self._first = 0
        self._done = 0
        self._found: list[Floats] = []

    def take(self, rows: Levels) -> None:
        self._held = rows if self._held is None else np.concatenate((self._held, rows))
        until = self._first + len(self._held)
        while self._done < self._height and until >= min(self._done + self._block + _REACH, self._height):
            top, bottom = self._done - _REACH, self._done + self._block + _REACH
            inside = self._held[max(0, top) - self._first : bottom - self._first]
            around = np.pad(inside, ((max(0, -top), max(0, bottom - self._height)), (_REACH, _REACH)), mode="edge")
            self._found.append(_measure_blocks(_normalize(around), self._block))
            self._done += self._block
            self._held = self._held[max(0, self._done - _REACH) - self._first :]
            self._first = max(0, self._done - _REACH)

    @property
    def features(self) -> Floats:
        return np.concatenate(self._found)


class _Halver:
    """Halves a picture read in rows by antialiased bicubic, as MATLAB's imresize, rounded to float32 in [0, 1]."""

    def __init__(self, height: int, width: int) -> None:
        self._waiting = list(compute_bands(height, height // 2, 0.5, "bicubic"))
        self._across = compute_bands(width, width // 2, 0.5, "bicubic")
        self._held: Floats | None = None
        self._first = 0

    def take(self, rows: Levels) -> Levels:
        parts = (rows / np.float32(255)).astype(np.float64)
        self._held = parts if self._held is None else np.concatenate((self._held, parts))
        ready: list[Floats] = [parts[:0, : self._across[-1].last]]
        while self._waiting and self._first + len(self._held) >= self._waiting[0].stop:
            band = self._waiting.pop(0)
            down = band.matrix @ self._held[band.start - self._first : band.stop - self._first]
            ready.append(np.concatenate([down[:, each.start : each.stop] @ each.matrix.T for each in self._across], 1))
        needed = self._waiting[0].start if self._waiting else self._first + len(self._held)
        self._held, self._first = self._held[max(0, needed - self._first) :], max(needed, self._first)
        return np.concatenate(ready).astype(np.float32) * np.float32(255)


@functools.cache
def _gaussian() -> Floats:
    offsets = np.arange(_WINDOW) - _REACH
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return weights / weights.sum()


def _blur(rows: Levels) -> Levels:
    """Filter with the Gaussian window in float64, valid part only, rounded to float32: (h, w) -> (h - 6, w - 6)."""
    weights = _gaussian()
    height, width = rows.shape[0] - 2 * _REACH, rows.shape[1] - 2 * _REACH
    down = np.zeros((height, rows.shape[1]))
    for tap, weight in enumerate(weights):
        down += weight * rows[tap : tap + height]
    across = np.zeros((height, width))
    for tap, weight in enumerate(weights):
        across += weight * down[:, tap : tap + width]
    return across.astype(np.float32)


def _normalize(rows: Levels) -> Levels:
    """Normalize by local mean and deviation (Mittal 2013, equations 1 to 3): (h, w) -> (h - 6, w - 6).

    Means and squares are rounded to float32 where the reference rounds them: a flat or saturated area then equals its
    mean exactly and counts as neither positive nor negative, and small differences keep their sign.
    """
    mean = _blur(rows)
    deviation = np.sqrt(np.abs(_blur(np.square(rows)) - np.square(mean)))
    return (rows[_REACH:-_REACH, _REACH:-_REACH] - mean) / (deviation + np.float32(1))


def _measure_blocks(rows: Levels, block: int) -> Floats:
    """The 18 features of each block in a row of blocks: (S, N*S) -> (N, 18)."""
    found = [_measure_block(rows[:, left : left + block]) for left in range(0, rows.shape[1], block)]
    return np.array(found, np.float64)


def _measure_block(block: Levels) -> list[float]:
    alpha, left, right = _fit_aggd(block)
    features = [alpha, (left + right) / 2]
    for shift in _SHIFTS:
        alpha, left, right = _fit_aggd(block * np.roll(block, shift, axis=(0, 1)))
        mean = (right - left) * math.exp(math.lgamma(2 / alpha) - math.lgamma(1 / alpha))
        features += [alpha, mean, left, right]
    return features


@functools.cache
def _shapes() -> tuple[Floats, Floats]:
    """The grid of shapes, 0.2 to 10 in steps of 0.001, and the (increasing) ratio of moments of each."""
    shapes = np.arange(0.2, 10.001, 0.001)
    gamma = np.vectorize(math.lgamma)
    return shapes, np.exp(2 * gamma(2 / shapes) - gamma(1 / shapes) - gamma(3 / shapes))


def _fit_aggd(samples: Levels) -> tuple[float, float, float]:
    """Fit an asymmetric generalized Gaussian by moments -> shape, left and right width.

    (Lasmar, Stitou, Berthoumieu 2009.) Moments are float32, as in the reference, whose nearest shape on the grid
    depends on it. The width of a sign that no sample has is NaN.
    """
    flat = samples.ravel()
    left, right = (_compute_deviation(part) for part in (flat[flat < 0], flat[flat > 0]))
    if np.isnan(left) or np.isnan(right):
        alpha = float(_shapes()[0][0])  # NumPy's argmin of NaN is the first
    else:
        ratio = left / right
        moments = np.mean(np.abs(flat)) ** 2 / np.mean(flat * flat)
        alpha = _find_nearest_shape(float(moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2))
    width = math.exp((math.lgamma(1 / alpha) - math.lgamma(3 / alpha)) / 2)
    return alpha, float(left) * width, float(right) * width


def _compute_deviation(samples: Levels) -> np.float32:
    """The root of the mean square; NaN without samples."""
    return np.sqrt(np.mean(samples * samples)) if len(samples) else np.float32(np.nan)


def _find_nearest_shape(wanted: float) -> float:
    shapes, ratios = _shapes()
    after = min(max(int(np.searchsorted(ratios, wanted)), 1), len(ratios) - 1)
    is_before = wanted - ratios[after - 1] <= ratios[after] - wanted
    return float(shapes[after - is_before])
