"""Blur kernels: six kinds of Gaussian, and the sinc, which adds ringing.

A kernel is drawn as a record of its parameters and computed by a formula (Real-ESRGAN, 3.2 and 3.4).

Shapes: k the kernel's side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, Field, model_validator

from tessera.degrade.bessel import bessel_j1
from tessera.degrade.ranges import Probability, check_order, check_sum, draw_one

KernelKind = Literal[
    "iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso", "sinc", "pulse"
]
GAUSSIAN_KINDS: tuple[KernelKind, ...] = (
    *("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"),
)
LARGEST_KERNEL = 51
_SMALL_KERNEL = 13
"""From this side on, a sinc may have a lower cutoff, because its longer waves fit (Real-ESRGAN's data set)."""


def _check_odd(sizes: tuple[int, ...]) -> tuple[int, ...]:
    if any(size % 2 == 0 for size in sizes):
        raise ValueError(f"kernel sizes must be odd, found {list(sizes)}")
    return sizes


Sigmas = Annotated[
    tuple[Annotated[float, Field(gt=0, le=25)], Annotated[float, Field(gt=0, le=25)]], AfterValidator(check_order)
]
Angles = Annotated[
    tuple[Annotated[float, Field(ge=-math.pi, le=math.pi)], Annotated[float, Field(ge=-math.pi, le=math.pi)]],
    AfterValidator(check_order),
]
Betas = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(ge=1, le=16)]], AfterValidator(check_order)
]
Cutoffs = Annotated[
    tuple[Annotated[float, Field(gt=0, le=math.pi)], Annotated[float, Field(gt=0, le=math.pi)]],
    AfterValidator(check_order),
]
KernelSizes = Annotated[
    tuple[Annotated[int, Field(ge=1, le=LARGEST_KERNEL)], ...],
    Field(min_length=1, max_length=26),
    AfterValidator(_check_odd),
]
PUBLISHED_SIZES = tuple(range(7, 22, 2))


class KernelShares(BaseModel, frozen=True, extra="forbid"):
    """Probability of each kind of Gaussian; they sum to 1."""

    iso: Probability = 0.45
    aniso: Probability = 0.25
    generalized_iso: Probability = 0.12
    generalized_aniso: Probability = 0.03
    plateau_iso: Probability = 0.12
    plateau_aniso: Probability = 0.03

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        check_sum(self.values())
        return self

    def values(self) -> tuple[float, ...]:
        """The probabilities in the order of GAUSSIAN_KINDS."""
        return (
            *(self.iso, self.aniso, self.generalized_iso, self.generalized_aniso),
            *(self.plateau_iso, self.plateau_aniso),
        )


class Blur(BaseModel, frozen=True, extra="forbid"):
    """Kernels of one stage, drawn for each picture. Defaults: the first stage of Real-ESRGAN."""

    probability: Probability = 1.0
    """Probability that the stage blurs, for the whole batch."""
    sizes: KernelSizes = PUBLISHED_SIZES
    shares: KernelShares = KernelShares()
    sigma: Sigmas = (0.2, 3.0)
    rotation: Angles = (-math.pi, math.pi)
    generalized_beta: Betas = (0.5, 4.0)
    """Half of the values lie between the first number and 1, half between 1 and the last."""
    plateau_beta: Betas = (1.0, 2.0)
    sinc_probability: Probability = 0.1
    sinc_cutoff_small: Cutoffs = (math.pi / 3, math.pi)
    """Cutoff of kernels below 13 pixels, in radians per pixel."""
    sinc_cutoff: Cutoffs = (math.pi / 5, math.pi)


@dataclass(frozen=True, kw_only=True)
class KernelDraw:
    """Parameters of one kernel; those that its kind does not use are 0."""

    kind: KernelKind
    size: int
    sigma_x: float = 0.0
    sigma_y: float = 0.0
    theta: float = 0.0
    beta: float = 0.0
    cutoff: float = 0.0


PULSE = KernelDraw(kind="pulse", size=1)
"""The identity kernel."""


def draw_kernel(config: Blur, rng: np.random.Generator) -> KernelDraw:
    """Draw a kernel as in Real-ESRGAN's data set: its size, then a sinc or one of the six Gaussians."""
    size = int(rng.choice(config.sizes))
    if rng.random() < config.sinc_probability:
        cutoff = config.sinc_cutoff_small if size < _SMALL_KERNEL else config.sinc_cutoff
        return KernelDraw(kind="sinc", size=size, cutoff=rng.uniform(*cutoff))
    kind = GAUSSIAN_KINDS[draw_one(config.shares.values(), rng)]
    sigma_x = rng.uniform(*config.sigma)
    sigma_y, theta, beta = sigma_x, 0.0, 0.0
    if kind.endswith("aniso"):
        sigma_y, theta = rng.uniform(*config.sigma), rng.uniform(*config.rotation)
    if kind.startswith("generalized"):
        beta = _draw_beta(config.generalized_beta, rng)
    elif kind.startswith("plateau"):
        beta = _draw_beta(config.plateau_beta, rng)
    return KernelDraw(kind=kind, size=size, sigma_x=sigma_x, sigma_y=sigma_y, theta=theta, beta=beta)


def draw_sinc(
    probability: float, sizes: tuple[int, ...], cutoff: tuple[float, float], rng: np.random.Generator
) -> KernelDraw:
    """Draw the final filter: a sinc with this probability, otherwise the identity."""
    if rng.random() >= probability:
        return PULSE
    return KernelDraw(kind="sinc", size=int(rng.choice(sizes)), cutoff=rng.uniform(*cutoff))


def _draw_beta(betas: tuple[float, float], rng: np.random.Generator) -> float:
    return rng.uniform(betas[0], 1.0) if rng.random() < 0.5 else rng.uniform(1.0, betas[1])


def compute_kernel(draw: KernelDraw) -> npt.NDArray[np.float64]:
    """Compute the weights of a kernel, (k, k), which sum to 1.

    With q the squared distance in units of sigma: exp(-q/2), exp(-q^beta/2) or 1/(q^beta + 1) (Real-ESRGAN, 3.2); the
    sinc is w J1(w r) / (2 pi r), the response of a round low-pass with cutoff w (Real-ESRGAN, eq. 6).
    """
    axis = np.arange(draw.size, dtype=np.float64) - draw.size // 2
    x, y = axis[None, :], axis[:, None]
    if draw.kind == "pulse":
        weights = ((x == 0) & (y == 0)).astype(np.float64)
    elif draw.kind == "sinc":
        weights = _compute_sinc(draw.cutoff, draw.size)
    else:
        along = x * math.cos(draw.theta) + y * math.sin(draw.theta)
        across = y * math.cos(draw.theta) - x * math.sin(draw.theta)
        squared = (along / draw.sigma_x) ** 2 + (across / draw.sigma_y) ** 2
        if draw.kind in ("iso", "aniso"):
            weights = np.exp(-squared / 2)
        elif draw.kind.startswith("generalized"):
            weights = np.exp(-(squared**draw.beta) / 2)
        else:
            weights = 1 / (squared**draw.beta + 1)
    return weights / weights.sum()


def _compute_sinc(cutoff: float, size: int) -> npt.NDArray[np.float64]:
    """Compute one quarter and mirror it."""
    half = np.arange(size // 2 + 1, dtype=np.float64)
    radius = np.hypot(half[:, None], half[None, :])
    radius[0, 0] = 1.0
    quarter = cutoff * bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    quarter[0, 0] = cutoff**2 / (4 * math.pi)
    lower = np.concatenate((quarter[:, :0:-1], quarter), axis=1)
    return np.concatenate((lower[:0:-1], lower))
