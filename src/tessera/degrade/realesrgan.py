"""The degradation of Real-ESRGAN: blur, resize, noise and JPEG, twice.

Wang et al. 2021, section 3, with the numbers of the published training options. Kernels, amounts of noise, seeds and
qualities are drawn for each picture; whether to blur, the resize, the kind of noise and the final order for a batch.

Shapes: B pictures, H height, W width, s the scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self, get_args

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, Field, model_validator
from torch import Tensor

from tessera.degrade.blur import (
    PUBLISHED_SIZES,
    Blur,
    Cutoffs,
    KernelDraw,
    KernelSizes,
    Sigmas,
    compute_kernel,
    draw_kernel,
    draw_sinc,
)
from tessera.degrade.filtering import Weights, filter_each
from tessera.degrade.jpeg import Jpeg, compress
from tessera.degrade.lines import Resize, ResizeMode, filter_then_resize
from tessera.degrade.noise import Amounts, Noise, NoiseDraw, add_noise, draw_noise
from tessera.degrade.ranges import Probability, check_order, check_sum, draw_one
from tessera.degrade.sharpen import sharpen
from tessera.degrade.simple import to_8_bits

Modes = Annotated[tuple[ResizeMode, ...], Field(min_length=1, max_length=8)]
EVERY_MODE: tuple[ResizeMode, ...] = get_args(ResizeMode)
Factors = Annotated[
    tuple[Annotated[float, Field(ge=0.05, le=1)], Annotated[float, Field(ge=1, le=4)]], AfterValidator(check_order)
]


class Resizing(BaseModel, frozen=True, extra="forbid"):
    """Resize of one stage: up, by at most the range's end; down, by at least the range's start; or none."""

    up: Probability = 0.2
    down: Probability = 0.7
    keep: Probability = 0.1
    range: Factors = (0.15, 1.5)
    modes: Modes = EVERY_MODE

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        check_sum((self.up, self.down, self.keep))
        return self


class Stage(BaseModel, frozen=True, extra="forbid"):
    """First stage: blur, resize, noise, JPEG."""

    blur: Blur = Blur()
    resize: Resizing = Resizing()
    noise: Noise = Noise()
    jpeg: Jpeg = Jpeg()


class SecondBlur(Blur, frozen=True, extra="forbid"):
    """Weaker blur, with a probability below 1."""

    probability: Probability = 0.8
    sigma: Sigmas = (0.2, 1.5)


class SecondResizing(Resizing, frozen=True, extra="forbid"):
    """Factors relative to the final size."""

    up: Probability = 0.3
    down: Probability = 0.4
    keep: Probability = 0.3
    range: Factors = (0.3, 1.2)


class SecondNoise(Noise, frozen=True, extra="forbid"):
    """Slightly weaker noise."""

    sigma_255: Amounts = (1.0, 25.0)
    poisson_scale: Amounts = (0.05, 2.5)


class SecondStage(Stage, frozen=True, extra="forbid"):
    """Second stage: blur, resize, noise, JPEG."""

    blur: SecondBlur = SecondBlur()
    resize: SecondResizing = SecondResizing()
    noise: SecondNoise = SecondNoise()


class Final(BaseModel, frozen=True, extra="forbid"):
    """Resize to the final size with its sinc filter, before or after the second stage's JPEG."""

    sinc_probability: Probability = 0.8
    sinc_sizes: KernelSizes = PUBLISHED_SIZES
    sinc_cutoff: Cutoffs = (math.pi / 3, math.pi)
    before_jpeg_probability: Probability = 0.5
    modes: Modes = EVERY_MODE


class RealESRGANDegradation(BaseModel, frozen=True, extra="forbid"):
    """All probabilities and ranges of the second-order degradation; defaults as in the published training."""

    kind: Literal["realesrgan"] = "realesrgan"
    sharpen: bool = True
    """Start from the sharpened ground truth, and return it."""
    first: Stage = Stage()
    second: SecondStage = SecondStage()
    final: Final = Final()


@dataclass(frozen=True, kw_only=True)
class ResizeDraw:
    """Factor and interpolation mode; a factor of 1 changes nothing in the first stage."""

    factor: float
    mode: ResizeMode


@dataclass(frozen=True, kw_only=True)
class StageDraw:
    """One stage for a batch; None for steps that are left out."""

    kernels: tuple[KernelDraw, ...] | None
    resize: ResizeDraw
    noise: NoiseDraw | None
    qualities: tuple[float, ...] | None


@dataclass(frozen=True, kw_only=True)
class FinalDraw:
    """Final resize and its filters, and whether they come before JPEG."""

    kernels: tuple[KernelDraw, ...]
    mode: ResizeMode
    before_jpeg: bool


@dataclass(frozen=True, kw_only=True)
class RealESRGANDraw:
    """All draws for a batch: small enough to log, complete enough to repeat."""

    kind: Literal["realesrgan"]
    pictures: int
    height: int
    width: int
    scale: int
    sharpen: bool
    first: StageDraw
    second: StageDraw
    final: FinalDraw


def draw_realesrgan(
    config: RealESRGANDegradation, *, pictures: int, height: int, width: int, scale: int, rng: np.random.Generator
) -> RealESRGANDraw:
    """Draw the degradation of a batch of pictures of this size."""
    final = config.final
    return RealESRGANDraw(
        kind="realesrgan",
        pictures=pictures,
        height=height,
        width=width,
        scale=scale,
        sharpen=config.sharpen,
        first=_draw_stage(config.first, pictures, rng),
        second=_draw_stage(config.second, pictures, rng),
        final=FinalDraw(
            kernels=tuple(
                draw_sinc(final.sinc_probability, final.sinc_sizes, final.sinc_cutoff, rng) for _ in range(pictures)
            ),
            mode=final.modes[int(rng.integers(len(final.modes)))],
            before_jpeg=bool(rng.random() < final.before_jpeg_probability),
        ),
    )


def _draw_stage(config: Stage, pictures: int, rng: np.random.Generator) -> StageDraw:
    blurred = rng.random() < config.blur.probability
    kernels = tuple(draw_kernel(config.blur, rng) for _ in range(pictures))
    resize = config.resize
    way = draw_one((resize.up, resize.down, resize.keep), rng)
    factor = (rng.uniform(1.0, resize.range[1]), rng.uniform(resize.range[0], 1.0), 1.0)[way]
    mode = resize.modes[int(rng.integers(len(resize.modes)))]
    noise = draw_noise(config.noise, pictures, rng)
    compressed = rng.random() < config.jpeg.probability
    qualities = tuple(map(float, rng.uniform(*config.jpeg.quality, size=pictures)))
    return StageDraw(
        kernels=kernels if blurred else None,
        resize=ResizeDraw(factor=factor, mode=mode),
        noise=noise,
        qualities=qualities if compressed else None,
    )


def select_picture(draw: RealESRGANDraw, number: int) -> RealESRGANDraw:
    """Select the draws of one picture; its result is the same with and without the others."""

    def stage(batch: StageDraw) -> StageDraw:
        noise = batch.noise
        if noise is not None:
            amounts, gray, seeds = noise.amounts[number], noise.gray[number], noise.seeds[number]
            noise = replace(noise, amounts=(amounts,), gray=(gray,), seeds=(seeds,))
        return replace(
            batch,
            kernels=None if batch.kernels is None else (batch.kernels[number],),
            noise=noise,
            qualities=None if batch.qualities is None else (batch.qualities[number],),
        )

    return replace(
        draw,
        pictures=1,
        first=stage(draw.first),
        second=stage(draw.second),
        final=replace(draw.final, kernels=(draw.final.kernels[number],)),
    )


def degrade(gt: Tensor, draw: RealESRGANDraw, *, sharp: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Apply a draw, (B, 3, H, W) -> (B, 3, H//s, W//s) and the sharpened (B, 3, H, W), RGB in [0, 1].

    The first is rounded to 255ths. The sharpened pictures are written to `sharp`, if given.
    """
    height, width = draw.height, draw.width
    small = height // draw.scale, width // draw.scale
    with torch.no_grad():
        gt_sharp = sharpen(gt, out=sharp) if draw.sharpen else None
        out = gt if gt_sharp is None else gt_sharp
        out = filter_then_resize(out, _compute_kernels(draw.first.kernels), _resize_first(draw))
        out = _compress(_add_noise(out, draw.first.noise), draw.first.qualities)

        again = draw.second.resize
        size = max(1, int(height / draw.scale * again.factor)), max(1, int(width / draw.scale * again.factor))
        out = filter_then_resize(out, _compute_kernels(draw.second.kernels), _resize_to(*size, again.mode))
        out = _add_noise(out, draw.second.noise)

        final, qualities = draw.final, draw.second.qualities
        if final.before_jpeg:
            out = _compress(_finish(out, small, final), qualities)
        else:
            out = _finish(_compress(out, qualities), small, final)
        return to_8_bits(out), gt_sharp


def _resize_first(draw: RealESRGANDraw) -> Resize:
    factor, mode = draw.first.resize.factor, draw.first.resize.mode
    height, width = (int(side * factor) for side in (draw.height, draw.width))
    if min(height, width) < 1:
        return _resize_to(max(1, height), max(1, width), mode)
    return Resize(height=height, width=width, factor=factor, mode=mode)


def _resize_to(height: int, width: int, mode: ResizeMode) -> Resize:
    return Resize(height=height, width=width, factor=None, mode=mode)


def _finish(image: Tensor, size: tuple[int, int], final: FinalDraw) -> Tensor:
    resized = filter_then_resize(image, None, _resize_to(*size, final.mode))
    return filter_each(resized, [compute_kernel(kernel) for kernel in final.kernels])


def _compute_kernels(kernels: tuple[KernelDraw, ...] | None) -> list[Weights] | None:
    return None if kernels is None else [compute_kernel(kernel) for kernel in kernels]


def _add_noise(image: Tensor, noise: NoiseDraw | None) -> Tensor:
    return image if noise is None else add_noise(image, noise)


def _compress(image: Tensor, qualities: tuple[float, ...] | None) -> Tensor:
    return image if qualities is None else compress(image.clamp(0, 1), qualities)
