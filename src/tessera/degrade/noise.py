"""Sensor noise (Gaussian) and shot noise (Poisson), each picture with its own seed.

Numbers are drawn on the CPU, so that every device gets the same noise. Both kinds invert the cumulative distribution
through tables, with one uniform number per sample.

Shapes: B pictures, H height, W width.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import AfterValidator, BaseModel, Field
from torch import Tensor

from tessera.degrade.ranges import Probability, check_order

SEEDS = 2**32
_LEVELS = 256
_SPARSE = 29
_BITS = 31
_GUIDE_BITS = 12


Amount = Annotated[float, Field(ge=0, le=255)]
Amounts = Annotated[tuple[Amount, Amount], AfterValidator(check_order)]


class Noise(BaseModel, frozen=True, extra="forbid"):
    """Noise of one stage. Defaults: the first stage of Real-ESRGAN."""

    probability: Probability = 1.0
    """Probability of noise, for the whole batch."""
    gaussian_probability: Probability = 0.5
    """Probability of Gaussian instead of Poisson noise, for the whole batch."""
    sigma_255: Amounts = (1.0, 30.0)
    poisson_scale: Amounts = (0.05, 3.0)
    gray_probability: Probability = 0.4


@dataclass(frozen=True, kw_only=True)
class NoiseDraw:
    """Noise of one stage: its kind for the batch; amount, gray and seed for each picture.

    `amounts` are standard deviations in 255ths, or factors on Poisson noise.
    """

    kind: Literal["gaussian", "poisson"]
    amounts: tuple[float, ...]
    gray: tuple[bool, ...]
    seeds: tuple[int, ...]


def draw_noise(config: Noise, pictures: int, rng: np.random.Generator) -> NoiseDraw | None:
    """Draw the noise of a batch; None without noise."""
    if rng.random() >= config.probability:
        return None
    gaussian = rng.random() < config.gaussian_probability
    amounts = rng.uniform(*(config.sigma_255 if gaussian else config.poisson_scale), size=pictures)
    gray = rng.random(pictures) < config.gray_probability
    seeds = rng.integers(SEEDS, size=pictures)
    return NoiseDraw(
        kind="gaussian" if gaussian else "poisson",
        amounts=tuple(map(float, amounts)),
        gray=tuple(map(bool, gray)),
        seeds=tuple(map(int, seeds)),
    )


def add_noise(image: Tensor, draw: NoiseDraw) -> Tensor:
    """Add noise and clip, (B, 3, H, W) -> (B, 3, H, W) RGB in [0, 1].

    Poisson noise is that of the 8-bit picture, with 2^ceil(log2 n) photons at white if n levels occur in it
    (Real-ESRGAN, section 3.3; BasicSR).
    """
    if draw.kind == "gaussian":
        return _add_gaussian(image, draw)
    return _add_poisson(image, draw)


def _add_gaussian(image: Tensor, draw: NoiseDraw) -> Tensor:
    out = torch.empty_like(image)
    for number, seed in enumerate(draw.seeds):
        shape = _choose_shape(image, draw, number)
        noise = draw_normal(seed, math.prod(shape)).view(shape).to(out)
        torch.add(image[number], noise, alpha=draw.amounts[number] / 255, out=out[number])
    return out.clamp_(0, 1)


def draw_normal(seed: int, count: int) -> Tensor:
    """Draw standard normal numbers, (count,): centers of 65536 equally likely intervals, up to 4.4 deviations."""
    words = _draw_words(seed, -(-count // 4)).view(np.int16)[:count]
    return _build_normal_table().index_select(0, torch.from_numpy(words).to(torch.int32).add_(2**15))


@functools.cache
def _build_normal_table() -> Tensor:
    middles = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    quantiles = torch.special.ndtri(middles)
    return (quantiles / quantiles.square().mean().sqrt()).float()


def _draw_words(seed: int, count: int) -> npt.NDArray[np.uint64]:
    return np.random.SFC64(seed).random_raw(count)


def _add_poisson(image: Tensor, draw: NoiseDraw) -> Tensor:
    out = torch.empty_like(image)
    for number, seed in enumerate(draw.seeds):
        shape = _choose_shape(image, draw, number)
        count = math.prod(shape)
        chance = torch.from_numpy(_draw_words(seed, -(-count // 2)).view(np.int32)[:count])
        chance = chance.bitwise_and_(2**_BITS - 1).to(image.device)
        picture = image[number]
        seen = _repeat_gray(picture) if draw.gray[number] else picture
        rounded = (seen * 255).round_().clamp_(0, 255)
        levels = rounded.to(torch.int32)
        photons = count_photons_at_white(levels.flatten())
        counted = draw_poisson(levels, chance, photons)
        noise = counted.to(image.dtype).div_(photons).view(rounded.shape).sub_(rounded.div_(255))
        torch.add(picture, noise, alpha=draw.amounts[number], out=out[number])
    return out.clamp_(0, 1)


def _choose_shape(image: Tensor, draw: NoiseDraw, number: int) -> tuple[int, ...]:
    return (1 if draw.gray[number] else 3, *image.shape[-2:])


def _repeat_gray(picture: Tensor) -> Tensor:
    red, green, blue = picture
    return (0.2989 * red + 0.587 * green + 0.114 * blue)[None]


def count_photons_at_white(levels: Tensor) -> int:
    """Compute 2^ceil(log2 n) for n different levels, (N,) int32 in [0, 255] -> 1 to 256.

    >>> count_photons_at_white(torch.tensor([7, 9, 200], dtype=torch.int32))
    4
    """
    present = 0
    for some in (levels[::_SPARSE], levels):  # in most pictures a sparse sample has more than half of the levels
        present = int((torch.bincount(some, minlength=_LEVELS) > 0).sum())
        if 2 * present > _LEVELS:
            break
    return 2 ** math.ceil(math.log2(present))


def draw_poisson(levels: Tensor, chance: Tensor, photons: int) -> Tensor:
    """Draw Poisson numbers of mean photons * level / 255: levels and chance (...) int32 -> (N,) int16.

    `levels` are in [0, 255]; `chance` is uniform in [0, 2^31) and looked up in the cumulative distribution. The first
    twelve bits decide most samples.
    """
    guide, thresholds = _build_tables(photons, levels.device)
    levels, chance = levels.flatten(), chance.flatten()
    counts = guide.index_select(0, (levels << _GUIDE_BITS).add_(chance >> (_BITS - _GUIDE_BITS)))
    unsure = _find_negative(counts)
    level, known = levels.index_select(0, unsure).long(), -1 - counts.index_select(0, unsure).long()
    chance = chance.index_select(0, unsure) + (level << 32)
    # nearly always the smallest possible count or the next
    begin = level * (thresholds.shape[0] // _LEVELS)
    known += chance >= thresholds.index_select(0, begin + known)
    further = (chance >= thresholds.index_select(0, begin + known)).nonzero().squeeze(1)
    known[further] = torch.searchsorted(thresholds, chance[further], right=True) - begin[further]
    counts[unsure] = known.to(counts.dtype)
    return counts


def _find_negative(counts: Tensor) -> Tensor:
    """Indices of negative numbers; NumPy finds them several times faster on the CPU."""
    if counts.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(counts.numpy() < 0))
    return (counts < 0).nonzero().squeeze(1)


@functools.lru_cache(maxsize=16)
def _build_tables(photons: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Counts for each level and first twelve bits, or -1 minus the smallest one if more bits decide; all thresholds.

    Threshold n of a level is the probability, in units of 2^-31, of counting n or fewer; higher bits separate levels.
    """
    rates = photons * np.arange(_LEVELS)[:, None] / 255
    counts = np.arange(photons + 12 * math.isqrt(photons) + 24)
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(counts[1:]))))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = counts * np.log(rates) - rates - log_factorial
    logs[0] = np.where(counts == 0, 0.0, -np.inf)
    logs[1:, 0] = -rates[1:, 0]
    cumulative = np.cumsum(np.exp(logs), axis=1)
    passed = np.minimum(np.rint(cumulative * 2**_BITS), 2**_BITS).astype(np.int64)
    passed[:, -1] = 2**_BITS
    step = 2 ** (_BITS - _GUIDE_BITS)
    first = np.arange(2**_GUIDE_BITS) * step
    guide = np.empty((_LEVELS, first.size), np.int16)
    for level, row in enumerate(passed):
        low, high = (np.searchsorted(row, edge, side="right") for edge in (first, first + step - 1))
        guide[level] = np.where(low == high, low, -1 - low)
    keys = passed + (np.arange(_LEVELS, dtype=np.int64)[:, None] << 32)
    return torch.from_numpy(guide.ravel()).to(device), torch.from_numpy(keys.ravel()).to(device)
