"""Where a crop lies and how it is turned: drawn as a value, applied by a pure function, to truth and input alike.

Shapes: H height, W width, C channels, s scale, P side of a crop of the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.unsignedinteger]

Purpose = Literal["order", "crop", "degrade"]
_PURPOSES: tuple[Purpose, ...] = ("order", "crop", "degrade")


def stream_of(seed: int, purpose: Purpose, number: int) -> np.random.Generator:
    """The chance that belongs to one sample (or epoch) and one purpose, whoever asks and however often.

    >>> bool(stream_of(0, "crop", 7).random() == stream_of(0, "crop", 7).random())
    True
    """
    return np.random.default_rng([seed, _PURPOSES.index(purpose), number])


@dataclass(frozen=True, kw_only=True, slots=True)
class CropDraw:
    """One crop of the truth: its first row and column, and what is done to it, in the order of the fields."""

    top: int
    left: int
    flip_h: bool
    flip_v: bool
    transpose: bool


def draw_crop(
    size: tuple[int, int], patch: int, rng: np.random.Generator, *, flips: bool, rotations: bool, grid: int = 1
) -> CropDraw:
    """A crop of `patch` pixels a side from a truth of `size` (H, W), on multiples of `grid` (the scale of its input).

    As many numbers are taken from `rng` whatever the size. A side shorter than the patch begins at 0 and is padded.
    The flips are those of BasicSR: mirrored under `flips`, upside down and transposed under `rotations`.
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


def on_grid(draw: CropDraw, scale: int) -> CropDraw:
    """The same crop in the pixels of the input; `draw` was made with `grid=scale`."""
    assert draw.top % scale == draw.left % scale == 0
    return CropDraw(
        top=draw.top // scale,
        left=draw.left // scale,
        flip_h=draw.flip_h,
        flip_v=draw.flip_v,
        transpose=draw.transpose,
    )


def cut(pixels: Pixels, draw: CropDraw, patch: int, *, paired: bool) -> Pixels:
    """The crop out of a whole picture, (H, W, C) -> (P, P, C): see `finished`."""
    part = pixels[draw.top : draw.top + patch, draw.left : draw.left + patch]
    return finished(part, draw, patch, paired=paired)


def finished(part: Pixels, draw: CropDraw, patch: int, *, paired: bool) -> Pixels:
    """What there is of a crop, at most (P, P, C) -> (P, P, C), turned; what is missing is mirrored below and right.

    Without the border itself for truths alone (reflect-101, as Real-ESRGAN pads); with it for pairs, because only then
    do truth and input show the same place: row h + j of the input is its row h - 1 - j, and so for the truth.
    """
    missing = [(0, patch - part.shape[0]), (0, patch - part.shape[1]), (0, 0)]
    if any(after for _, after in missing):
        part = np.pad(part, missing, mode="symmetric" if paired else "reflect")
    if draw.flip_h:
        part = part[:, ::-1]
    if draw.flip_v:
        part = part[::-1]
    return np.ascontiguousarray(part.swapaxes(0, 1) if draw.transpose else part)
