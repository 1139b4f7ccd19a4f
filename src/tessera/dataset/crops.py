"""Position and orientation of a crop: drawn as a value, applied to ground truth and input by a pure function.

Shapes: H height, W width, C channels, s scale, P side of a ground-truth crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.unsignedinteger]

Purpose = Literal["order", "crop", "degrade"]
_PURPOSES: tuple[Purpose, ...] = ("order", "crop", "degrade")


def derive_sample_rng(seed: int, purpose: Purpose, number: int) -> np.random.Generator:
    """Random generator of one sample (or epoch) and one purpose; equal arguments give equal numbers.

    >>> bool(derive_sample_rng(0, "crop", 7).random() == derive_sample_rng(0, "crop", 7).random())
    True
    """
    return np.random.default_rng([seed, _PURPOSES.index(purpose), number])


@dataclass(frozen=True, kw_only=True, slots=True)
class CropDraw:
    """A ground-truth crop: first row and column, then flips, in the order of the fields."""

    top: int
    left: int
    flip_h: bool
    flip_v: bool
    transpose: bool


def draw_crop(
    size: tuple[int, int], patch: int, rng: np.random.Generator, *, flips: bool, rotations: bool, grid: int = 1
) -> CropDraw:
    """Draw a crop of `patch` pixels a side from a picture of `size` (H, W), at multiples of `grid` (the input's scale).

    The number of random draws does not depend on the size. If a side is shorter than the patch, the crop starts at 0
    and is padded. Flips are BasicSR's: horizontal with `flips`, vertical and transposed with `rotations`.
    """
    top, left = (grid * int(rng.random() * (max(0, side - patch) // grid + 1)) for side in size)
    flip_h, flip_v, transpose = (bool(value < 0.5) for value in rng.random(3))
    return CropDraw(
        top=top,
        left=left,
        flip_h=flip_h and flips,
        flip_v=flip_v and rotations,
        transpose=transpose and rotations,
    )


def scale_crop(draw: CropDraw, scale: int) -> CropDraw:
    """The same crop in input pixels; `draw` was drawn with `grid=scale`."""
    assert draw.top % scale == draw.left % scale == 0
    return CropDraw(
        top=draw.top // scale,
        left=draw.left // scale,
        flip_h=draw.flip_h,
        flip_v=draw.flip_v,
        transpose=draw.transpose,
    )


def cut_crop(pixels: Pixels, draw: CropDraw, patch: int, *, paired: bool) -> Pixels:
    """Cut the crop from a whole picture: (H, W, C) -> (P, P, C), as `pad_and_orient` does."""
    part = pixels[draw.top : draw.top + patch, draw.left : draw.left + patch]
    return pad_and_orient(part, draw, patch, paired=paired)


def pad_and_orient(part: Pixels, draw: CropDraw, patch: int, *, paired: bool) -> Pixels:
    """Pad a partial crop, at most (P, P, C), by reflection at the bottom and right, then flip it -> (P, P, C).

    Single pictures are reflected without the border pixel (reflect-101, as in Real-ESRGAN), pairs with it, because only
    then ground truth and input show the same content: input row h + j is input row h - 1 - j.
    """
    missing = [(0, patch - part.shape[0]), (0, patch - part.shape[1]), (0, 0)]
    if any(after for _, after in missing):
        part = np.pad(part, missing, mode="symmetric" if paired else "reflect")
    if draw.flip_h:
        part = part[:, ::-1]
    if draw.flip_v:
        part = part[::-1]
    return np.ascontiguousarray(part.swapaxes(0, 1) if draw.transpose else part)
