"""Noise of the sensor and of counted light, each picture from its own seed.

The numbers are drawn on the processor and moved, so that every device sees the same noise. Both kinds are drawn by
inverting the cumulative distribution, through tables: one uniform number a sample decides.
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

from tessera.degrade.ranges import Probability, ordered

SEEDS = 2**32
_LEVELS = 256
_SPARSE = 29
_BITS = 31
_GUIDE_BITS = 12


Amount = Annotated[float, Field(ge=0, le=255)]
Amounts = Annotated[tuple[Amount, Amount], AfterValidator(ordered)]


class Noise(BaseModel, frozen=True, extra="forbid"):
    """Which noise one stage draws. Defaults: the first stage of Real-ESRGAN."""

    probability: Probability = 1.0
    """Of there being noise at all, for the whole batch."""
    gaussian_probability: Probability = 0.5
    """Of it being Gaussian and not Poisson, for the whole batch."""
    sigma_255: Amounts = (1.0, 30.0)
    poisson_scale: Amounts = (0.05, 3.0)
    gray_probability: Probability = 0.4


@dataclass(frozen=True, kw_only=True)
class NoiseDraw:
    """The noise of one stage: its kind for the batch; amount, gray and seed for each picture.

    `amounts` are standard deviations in 255ths, or how much stronger than light itself Poisson noise is.
    """

    kind: Literal["gaussian", "poisson"]
    amounts: tuple[float, ...]
    gray: tuple[bool, ...]
    seeds: tuple[int, ...]


def draw_noise(config: Noise, pictures: int, rng: np.random.Generator) -> NoiseDraw | None:
    """Draw the noise of a batch; None where the stage has none."""
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

    Poisson noise is that of the picture at 8 bits, which counts 2^ceil(log2 n) photons at white when n levels occur in
    it (Real-ESRGAN, section 3.3; BasicSR).
    """
    if draw.kind == "gaussian":
        return _add_gaussian(image, draw)
    return _add_poisson(image, draw)


def _add_gaussian(image: Tensor, draw: NoiseDraw) -> Tensor:
    out = torch.empty_like(image)
    for number, seed in enumerate(draw.seeds):
        shape = _shape(image, draw, number)
        noise = normal_numbers(seed, math.prod(shape)).view(shape).to(out)
        torch.add(image[number], noise, alpha=draw.amounts[number] / 255, out=out[number])
    return out.clamp_(0, 1)


def normal_numbers(seed: int, count: int) -> Tensor:
    """Standard normal numbers, (count,): the middles of 65536 equally likely intervals, which end at 4.4 deviations."""
    words = _words(seed, -(-count // 4)).view(np.int16)[:count]
    return _normal_table().index_select(0, torch.from_numpy(words).to(torch.int32).add_(2**15))


@functools.cache
def _normal_table() -> Tensor:
    middles = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    quantiles = torch.special.ndtri(middles)
    return (quantiles / quantiles.square().mean().sqrt()).float()


def _words(seed: int, count: int) -> npt.NDArray[np.uint64]:
    return np.random.SFC64(seed).random_raw(count)


def _add_poisson(image: Tensor, draw: NoiseDraw) -> Tensor:
    out = torch.empty_like(image)
    for number, seed in enumerate(draw.seeds):
        shape = _shape(image, draw, number)
        count = math.prod(shape)
        chance = torch.from_numpy(_words(seed, -(-count // 2)).view(np.int32)[:count])
        chance = chance.bitwise_and_(2**_BITS - 1).to(image.device)
        picture = image[number]
        seen = _gray(picture) if draw.gray[number] else picture
        rounded = (seen * 255).round_().clamp_(0, 255)
        levels = rounded.to(torch.int32)
        photons = photons_at_white(levels.flatten())
        counted = poisson_counts(levels, chance, photons)
        noise = counted.to(image.dtype).div_(photons).view(rounded.shape).sub_(rounded.div_(255))
        torch.add(picture, noise, alpha=draw.amounts[number], out=out[number])
    return out.clamp_(0, 1)


def _shape(image: Tensor, draw: NoiseDraw, number: int) -> tuple[int, ...]:
    return (1 if draw.gray[number] else 3, *image.shape[-2:])


def _gray(picture: Tensor) -> Tensor:
    red, green, blue = picture
    return (0.2989 * red + 0.587 * green + 0.114 * blue)[None]


def photons_at_white(levels: Tensor) -> int:
    """2^ceil(log2 n), where n levels occur, (N,) int32 in [0, 255] -> 1 to 256.

    >>> photons_at_white(torch.tensor([7, 9, 200], dtype=torch.int32))
    4
    """
    present = 0
    for some in (levels[::_SPARSE], levels):  # most pictures show in a few samples that they have more than half
        present = int((torch.bincount(some, minlength=_LEVELS) > 0).sum())
        if 2 * present > _LEVELS:
            break
    return 2 ** math.ceil(math.log2(present))


def poisson_counts(levels: Tensor, chance: Tensor, photons: int) -> Tensor:
    """Poisson numbers of mean photons * level / 255: levels and chance (...) int32 -> (N,) int16.

    `levels` are in [0, 255]; `chance` is uniform in [0, 2^31), and the result is where the cumulative distribution
    passes it. Most samples are told by the first twelve bits alone.
    """
    guide, thresholds = _tables(photons, levels.device)
    levels, chance = levels.flatten(), chance.flatten()
    counts = guide.index_select(0, (levels << _GUIDE_BITS).add_(chance >> (_BITS - _GUIDE_BITS)))
    unsure = _negative(counts)
    level, known = levels.index_select(0, unsure).long(), -1 - counts.index_select(0, unsure).long()
    chance = chance.index_select(0, unsure) + (level << 32)
    # nearly always the count is the least that is possible or the next
    begin = level * (thresholds.shape[0] // _LEVELS)
    known += chance >= thresholds.index_select(0, begin + known)
    further = (chance >= thresholds.index_select(0, begin + known)).nonzero().squeeze(1)
    known[further] = torch.searchsorted(thresholds, chance[further], right=True) - begin[further]
    counts[unsure] = known.to(counts.dtype)
    return counts


def _negative(counts: Tensor) -> Tensor:
    """Where numbers are below zero; NumPy finds them several times faster on the processor."""
    if counts.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(counts.numpy() < 0))
    return (counts < 0).nonzero().squeeze(1)


@functools.lru_cache(maxsize=16)
def _tables(photons: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each level and first twelve bits the count, or -1 less the least one where more bits decide; all thresholds.

    Threshold n of a level is the chance, in 2^31sts, of counting n or fewer; levels are kept apart by the bits above.
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
