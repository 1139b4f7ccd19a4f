"""Blind estimation of noise, JPEG quality and blur of low-quality pictures.

Each picture gives at most three numbers; None if a number cannot be estimated.

Shapes: H height, W width.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tessera.degrade.filtering import filter_lines
from tessera.degrade.sharpen import build_gaussian
from tessera.degrade.tables import build_luma_table, find_nearest_quality, read_luma_table
from tessera.errors import PictureError
from tessera.images.picture import read_picture
from tessera.images.picture_format import Limits

Plane = npt.NDArray[np.float64]

SMALLEST_SIDE = 48
_BLOCK = 16
_FLATTEST = 0.1
_ROUNDING_VARIANCE = 1 / 12
_LEAST_AGREEMENT = 0.15
_LEAST_COSINES = 60
_FINE, _COARSE = 0.8, 1.6
_LEAST_EDGES = 50
_WIDEST = 8.0


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Estimates for one picture, in its own pixels."""

    noise_sigma_255: float | None
    """Remaining noise; JPEG compression after the noise has removed a part of it."""
    jpeg_quality: int | None
    jpeg_in_file: bool
    """Whether the quality is that of the file, or was found in the pixels of a picture that was saved again."""
    blur_sigma: float | None


def measure_file(path: Path, *, limits: Limits | None = None) -> Damage:
    """Measure one picture. Raises PictureError if it is unreadable or too small."""
    picture = read_picture(path, limits=limits)
    pixels = picture.pixels
    if min(pixels.shape[:2]) < SMALLEST_SIDE:
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise PictureError(f"{path}: {size} is too small to measure; at least {SMALLEST_SIDE} pixels a side.")
    levels = pixels.astype(np.float64) / (257 if pixels.dtype == np.uint16 else 1)
    if levels.ndim == 2 or levels.shape[2] < 3:
        green = luma = levels if levels.ndim == 2 else levels[..., 0]
    else:
        green, luma = levels[..., 1], levels[..., :3] @ np.array((0.299, 0.587, 0.114))
    table = read_luma_table(path)
    quality = find_quality(luma) if table is None else find_nearest_quality(table)
    noise = estimate_noise(green)
    return Damage(
        noise_sigma_255=noise,
        jpeg_quality=quality,
        jpeg_in_file=table is not None,
        blur_sigma=estimate_blur(green, noise or 0.0),
    )


def estimate_noise(plane: Plane) -> float | None:
    """Estimate the standard deviation of noise, (H, W) in [0, 255] -> 255ths; None without flat, unclipped areas.

    Second differences down and across (Immerkaer 1996), in the blocks whose means over 4x4 pixels vary least.
    """
    corner = plane[: plane.shape[0] // _BLOCK * _BLOCK, : plane.shape[1] // _BLOCK * _BLOCK]
    blocks = corner.reshape(-1, _BLOCK, corner.shape[1] // _BLOCK, _BLOCK).swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK)
    clipped = ((blocks <= 0) | (blocks >= 255)).mean(axis=(1, 2))
    blocks = blocks[clipped < 0.01]
    if len(blocks) == 0:
        return None
    coarse = blocks.reshape(-1, _BLOCK // 4, 4, _BLOCK // 4, 4).mean(axis=(2, 4))
    flattest = np.argsort(coarse.std(axis=(1, 2)))[: max(4, round(_FLATTEST * len(blocks)))]
    chosen = blocks[flattest]
    second = chosen[:, :-2] - 2 * chosen[:, 1:-1] + chosen[:, 2:]
    second = second[:, :, :-2] - 2 * second[:, :, 1:-1] + second[:, :, 2:]
    variance = float(np.median((second**2).mean(axis=(1, 2)))) / 36
    return math.sqrt(max(variance - _ROUNDING_VARIANCE, 0.0))


def find_quality(luma: Plane) -> int | None:
    """Find the quality of an earlier JPEG compression, (H, W) in [0, 255]; None without traces of one.

    After JPEG, the DCT coefficients of each block are near integer multiples of a step. The position of the block grid
    is searched first, so cropped pictures work.
    """
    found = (int(_find_grid(np.abs(np.diff(luma, axis=0)), 0)), int(_find_grid(np.abs(np.diff(luma, axis=1)), 1)))
    best, quality = max(_search_quality(_extract_coefficients(luma[top:, left:])) for top, left in {(0, 0), found})
    return None if best < _LEAST_AGREEMENT else quality


def _search_quality(numbers: Plane) -> tuple[float, int]:
    agreements = [
        _measure_agreement(numbers, build_luma_table(quality)[_LOW].astype(np.float64)) for quality in range(1, 98)
    ]
    best = max(agreements)
    # half of a step fits equally well, so take the largest
    return best, next(number for number, each in enumerate(agreements, start=1) if each >= best - 0.003)


def _extract_coefficients(luma: Plane) -> Plane:
    """Low-frequency DCT coefficients of each block: (H, W) -> (blocks, 14)."""
    height, width = (side // 8 for side in luma.shape)
    blocks = luma[: height * 8, : width * 8].reshape(height, 8, width, 8).swapaxes(1, 2)
    basis = _build_cosines()
    return (basis @ (blocks - 128) @ basis.T).reshape(-1, 64)[:, _LOW]


_LOW = np.array([1, 2, 3, 4, 8, 9, 10, 11, 16, 17, 18, 24, 25, 32])
"""Frequencies that JPEG preserves, row by row."""


def _measure_agreement(numbers: Plane, steps: Plane) -> float:
    """Mean cosine of the deviation from multiples of a step, without zeros; 1 on multiples, 0 by chance."""
    there = np.abs(numbers) > steps / 2
    if there.sum() < _LEAST_COSINES:
        return 0.0
    return float(np.cos(2 * np.pi * numbers / steps)[there].mean())


def _find_grid(differences: Plane, axis: int) -> int:
    """Find the start of the 8x8 blocks along an axis: the position where neighbors differ most."""
    line = differences.mean(axis=1 - axis)
    beyond = line[1:-1] - (line[:-2] + line[2:]) / 2
    sums = [float(beyond[(phase - 2) % 8 :: 8].mean()) for phase in range(8)]
    return int(np.argmax(sums))


@functools.cache
def _build_cosines() -> Plane:
    frequency, place = np.mgrid[0:8, 0:8].astype(np.float64)
    basis = np.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


def estimate_blur(plane: Plane, noise_sigma_255: float = 0.0) -> float | None:
    """Estimate the blur of edges, (H, W) in [0, 255] -> sigma of a Gaussian in pixels; None without edges.

    A step blurred by s has gradients in the ratio sqrt((s^2 + b^2) / (s^2 + a^2)) after further blurs of a and b
    (after Zhuo, Sim 2011). Median over the strongest edges.
    """
    fine, coarse = (_smooth(plane, sigma) for sigma in (_FINE, _COARSE))
    down, across = _compute_slopes(fine)
    strength = np.hypot(down, across)
    ridge = _find_ridges(strength, down, across)
    inner = np.zeros_like(ridge)
    inner[8:-8, 8:-8] = ridge[8:-8, 8:-8]
    least = max(6.0, 4 * noise_sigma_255)
    candidates = strength[inner & (strength > least)]
    if candidates.size < _LEAST_EDGES:
        return None
    edges = inner & (strength >= max(least, float(np.quantile(candidates, 0.5))))
    softer = np.hypot(*_compute_slopes(coarse))
    ratio = strength[edges] / np.maximum(softer[edges], 1e-9)
    squared = (_COARSE**2 - ratio**2 * _FINE**2) / np.maximum(ratio**2 - 1, 1e-9)
    return min(math.sqrt(max(float(np.median(squared)), 0.0)), _WIDEST)


def _smooth(plane: Plane, sigma: float) -> Plane:
    line = build_gaussian(2 * math.ceil(4 * sigma) + 1, sigma)
    return filter_lines(torch.from_numpy(plane.astype(np.float32))[None], line)[0].double().numpy()


def _compute_slopes(plane: Plane) -> tuple[Plane, Plane]:
    """Differences per pixel, down and across."""
    return np.asarray(np.gradient(plane, axis=0)), np.asarray(np.gradient(plane, axis=1))


def _find_ridges(strength: Plane, down: Plane, across: Plane) -> npt.NDArray[np.bool_]:
    """Where the gradient is strongest along its own direction, rounded to the nearest axis."""
    padded = np.pad(strength, 1)
    beside = np.maximum(padded[1:-1, :-2], padded[1:-1, 2:])
    above = np.maximum(padded[:-2, 1:-1], padded[2:, 1:-1])
    return np.where(np.abs(across) > np.abs(down), strength > beside, strength > above)
