"""Keeping the input's colors: flat areas stay what they were, and on request all low frequencies do.

Published networks shift colors: on flat gray they are up to 5 levels of 255 off. Back-projection adds to the output
what its own shrunken form lacks of the input (Irani and Peleg 1991), here its low frequencies only, so that detail is
not touched. Shapes: C channels, h and w input pixels, s the scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tessera.images.color import delta_e

Plane = npt.NDArray[np.float32]

FLAT_RADIUS = 4
"""A pixel is flat when the square of this radius around it is of one color, and smooth when it is nearly so."""
COLOR_LOCK_SIGMA = 1.5
"""Input pixels; with two rounds it takes nine tenths of the difference below and leaves detail alone."""
COLOR_SIGMA = 2.0
"""Color is compared after a blur of so many input pixels: what is finer is detail, and meant to change."""
CONTEXT = 12
"""Input pixels around a tile that the locks look at."""
_ROUNDS = 2
_FLAT = 0.5 / 65_535
"""Pixels of one color differ by less: by nothing, in 8 bits and in 16."""
_SMOOTH, _ROUGH = 3 / 255, 8 / 255
"""Areas with less difference than the first get their low frequencies back, with more than the second none."""
_FADE = 3


def lock_flat_areas(lq: Plane, sr: Plane) -> Plane:
    """Give flat areas of `lq` (C, h, w) their own color back in `sr` (C, s*h, s*w), both in [0, 1]; changes `sr`.

    Where at least 9x9 input pixels are of one color, every pixel becomes that color; where they differ by a few
    levels (a noisy sky, a gentle ramp), the low frequencies are set right and the detail stays. Both fade in, and
    everything else stays as it is.
    """
    spread = (_sliding(lq, FLAT_RADIUS, np.maximum) - _sliding(lq, FLAT_RADIUS, np.minimum)).max(axis=0)
    if float(spread.min()) >= _ROUGH:
        return sr
    smooth = _inside(((_ROUGH - spread) / (_ROUGH - _SMOOTH)).clip(0, 1))
    lacking = _blurred(lq - shrunk(sr, lq.shape[1:]), COLOR_LOCK_SIGMA)
    lacking *= smooth
    _add_enlarged(sr, lacking, smooth > 0)
    flat = spread <= _FLAT
    if flat.any():
        _fade_to_enlarged(sr, lq, _inside(flat.astype(np.float32)))
    return sr


def within_neighbors(lq: Plane, sr: Plane) -> Plane:
    """Clip `sr` (C, s*h, s*w) to what the 3x3 input pixels around each pixel of `lq` (C, h, w) span.

    For alpha: what is wholly transparent or wholly opaque stays so right up to the edge, without a veil or a halo.
    """
    scale = sr.shape[-1] // lq.shape[-1]
    least, greatest = (
        _sliding(lq, 1, choose).repeat(scale, axis=1).repeat(scale, axis=2) for choose in (np.minimum, np.maximum)
    )
    return np.clip(sr, least, greatest)


def lock_colors(lq: Plane, sr: Plane) -> Plane:
    """Add to `sr` (C, s*h, s*w) the low frequencies that it lacks of `lq` (C, h, w), both in [0, 1]; changes `sr`."""
    everywhere = np.ones(lq.shape[1:], np.bool_)
    for _ in range(_ROUNDS):
        _add_enlarged(sr, _blurred(lq - shrunk(sr, lq.shape[1:]), COLOR_LOCK_SIGMA), everywhere)
    return sr


def color_difference(lq: Plane, sr: Plane) -> Plane:
    """CIE 1976 difference of the colors of `lq` (3, h, w) and of `sr` (3, s*h, s*w) shrunk -> (h, w)."""
    return delta_e(_blurred(lq, COLOR_SIGMA), _blurred(shrunk(sr, lq.shape[1:]), COLOR_SIGMA))


def shrunk(sr: Plane, size: Sequence[int]) -> Plane:
    """The mean of the s x s pixels that each input pixel became: (C, s*h, s*w) -> (C, h, w)."""
    scale = sr.shape[-1] // size[-1]
    if scale == 1:
        return sr
    rows = sr[:, ::scale].copy()
    for phase in range(1, scale):
        rows += sr[:, phase::scale]
    total = rows[..., ::scale].copy()
    for phase in range(1, scale):
        total += rows[..., phase::scale]
    total *= np.float32(1 / scale**2)
    return total


# ---------------------------------------------------------------------------------------- at the input's resolution


def _inside(weight: Plane) -> Plane:
    """Weights (h, w) in [0, 1] that fade to their zeros from within: never larger anywhere than they were."""
    eroded = _sliding(weight[None], 1, np.minimum)
    size = 2 * _FADE + 1
    mean = np.pad(eroded, ((0, 0), (_FADE, _FADE), (_FADE, _FADE)), mode="edge")
    height, width = weight.shape
    mean = np.add.reduce([mean[:, start : start + height] for start in range(size)])
    mean = np.add.reduce([mean[:, :, start : start + width] for start in range(size)])
    return np.minimum(mean[0] / np.float32(size**2), weight)


def _sliding(image: Plane, radius: int, choose: Callable[..., Plane]) -> Plane:
    """The greatest (np.maximum) or least (np.minimum) value within a radius, (C, h, w) -> the same; edges repeated."""
    for axis in (1, 2):
        length = image.shape[axis]
        around = [(0, 0), (0, 0), (0, 0)]
        around[axis] = (radius, radius)
        found, width = np.pad(image, around, mode="edge"), 1
        while width < 2 * radius + 1:  # windows of 1, 2, 4 ... pixels, the last as wide as is wanted
            step = min(width, 2 * radius + 1 - width)
            kept = found.shape[axis] - step
            found = choose(_cut(found, axis, 0, kept), _cut(found, axis, step, step + kept))
            width += step
        image = _cut(found, axis, 0, length)
    return image


def _blurred(image: Plane, sigma: float) -> Plane:
    """Gaussian blur, borders repeated, (C, h, w) -> the same."""
    radius = math.ceil(3 * sigma)
    weights = np.exp(-(np.arange(radius + 1) ** 2) / (2 * sigma**2))
    weights = (weights / (2 * weights.sum() - weights[0])).astype(np.float32)
    for axis in (1, 2):
        length = image.shape[axis]
        around = [(0, 0), (0, 0), (0, 0)]
        around[axis] = (radius, radius)
        padded = np.pad(image, around, mode="edge")
        image = _cut(padded, axis, radius, radius + length) * weights[0]
        for offset in range(1, radius + 1):
            pair = _cut(padded, axis, radius - offset, radius - offset + length) + _cut(
                padded, axis, radius + offset, radius + offset + length
            )
            pair *= weights[offset]
            image += pair
    return image


def _cut(image: Plane, axis: int, start: int, stop: int) -> Plane:
    return image[:, start:stop] if axis == 1 else image[:, :, start:stop]


# --------------------------------------------------------------------------------------- at the output's resolution


def _add_enlarged(sr: Plane, change: Plane, where: npt.NDArray[np.bool_]) -> None:
    """Add `change` (C, h, w), which is 0 wherever `where` (h, w) is not, bilinearly enlarged to `sr` (C, s*h, s*w)."""
    box = _around(where)
    if box is None:
        return
    top, bottom, left, right = box
    scale = sr.shape[-1] // change.shape[-1]
    wide = _enlarged_rows(change[:, :, left:right].swapaxes(1, 2), scale).swapaxes(1, 2)[:, top:bottom]
    target = sr[:, top * scale : bottom * scale, left * scale : right * scale]
    for phase, (row, following, part) in enumerate(_phases(wide, scale)):
        step = following - row
        step *= part
        step += row
        target[:, phase::scale] += step


def _fade_to_enlarged(sr: Plane, lq: Plane, weight: Plane) -> None:
    """Where `weight` (h, w) is 1, `sr` (C, s*h, s*w) becomes `lq` (C, h, w) bilinearly enlarged; where 0, nothing."""
    box = _around(weight > 0)
    if box is None:
        return
    top, bottom, left, right = box
    scale = sr.shape[-1] // lq.shape[-1]
    own, share = (
        _enlarged_rows(image[:, :, left:right].swapaxes(1, 2), scale).swapaxes(1, 2)[:, top:bottom]
        for image in (lq, weight[None])
    )
    target = sr[:, top * scale : bottom * scale, left * scale : right * scale]
    for phase, ((row, following, part), (first, second, _)) in enumerate(
        zip(_phases(own, scale), _phases(share, scale), strict=True)
    ):
        goal, much = row + (following - row) * part, first + (second - first) * part
        place = target[:, phase::scale]
        place += (goal - place) * much
        np.copyto(place, goal, where=much == 1)  # to the last bit


def _around(where: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Top, bottom, left, right of a box around what is true, with the pixel more that enlarging reaches."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if not len(rows):
        return None
    height, width = where.shape
    top, bottom = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, height)
    return top, bottom, max(int(columns[0]) - 1, 0), min(int(columns[-1]) + 2, width)


def _enlarged_rows(image: Plane, scale: int) -> Plane:
    """Bilinear enlargement of the rows, edges repeated: (C, h, w) -> (C, s*h, w)."""
    if scale == 1:
        return image
    channels, height, width = image.shape
    result = np.empty((channels, height * scale, width), np.float32)
    for phase, (row, following, part) in enumerate(_phases(image, scale)):
        result[:, phase::scale] = row + (following - row) * part
    return result


def _phases(image: Plane, scale: int) -> list[tuple[Plane, Plane, np.float32]]:
    """For each of the s output rows of an input row: which rows it lies between, (C, h, w) each, and how far."""
    padded = np.pad(image, ((0, 0), (1, 1), (0, 0)), mode="edge")
    before, own, after = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]
    positions = [(phase + 0.5) / scale - 0.5 for phase in range(scale)]
    return [
        (before, own, np.float32(position + 1)) if position < 0 else (own, after, np.float32(position))
        for position in positions
    ]
