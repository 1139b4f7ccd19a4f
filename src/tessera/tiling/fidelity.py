"""Color fidelity: the output matches the input in flat areas and, with the color lock, in all low frequencies.

Published networks shift colors by up to 5 levels of 255 on flat gray. Back-projection adds to the output the difference
between the input and the downsampled output (Irani and Peleg 1991), here only its low frequencies, which preserves
detail. Shapes: C channels, h and w input pixels, s the scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tessera.images.color import delta_e

Plane = npt.NDArray[np.float32]

FLAT_RADIUS = 4
"""A pixel is flat if the square of this radius around it has one color, and smooth if it nearly has."""
COLOR_LOCK_SIGMA = 1.5
"""Input pixels; two rounds remove nine tenths of the low-frequency difference and preserve detail."""
COLOR_SIGMA = 2.0
"""Blur in input pixels before colors are compared; finer detail is expected to change."""
CONTEXT = 12
"""Input pixels around a tile that the locks depend on."""
_ROUNDS = 2
_FLAT = 0.5 / 65_535
"""Pixels that differ by less have one color: half a level of 16 bits."""
_SMOOTH, _ROUGH = 3 / 255, 8 / 255
"""Correction of low frequencies is full below the first spread and zero above the second."""
_FADE = 3


def lock_flat_areas(lq: Plane, sr: Plane) -> Plane:
    """Match `sr` (C, s*h, s*w) to `lq` (C, h, w) in flat areas, both in [0, 1]; modifies `sr`.

    Where at least 9x9 input pixels have one color, every output pixel gets that color; where they differ by a few
    levels (a noisy sky, a gentle ramp), the low frequencies are corrected and the detail is preserved. Both fade in;
    other areas are unchanged.
    """
    spread = (_filter_extremes(lq, FLAT_RADIUS, np.maximum) - _filter_extremes(lq, FLAT_RADIUS, np.minimum)).max(axis=0)
    if float(spread.min()) >= _ROUGH:
        return sr
    smooth = _smooth_inside(((_ROUGH - spread) / (_ROUGH - _SMOOTH)).clip(0, 1))
    lacking = _blur(lq - shrunk(sr, lq.shape[1:]), COLOR_LOCK_SIGMA)
    lacking *= smooth
    _add_upsampled(sr, lacking, smooth > 0)
    flat = spread <= _FLAT
    if flat.any():
        _blend_upsampled(sr, lq, _smooth_inside(flat.astype(np.float32)))
    return sr


def clip_to_neighbors(lq: Plane, sr: Plane) -> Plane:
    """Clip `sr` (C, s*h, s*w) to the range of the 3x3 neighborhood of each pixel of `lq` (C, h, w).

    Used for alpha: fully transparent and fully opaque areas stay so up to their edges, without a veil or a halo.
    """
    scale = sr.shape[-1] // lq.shape[-1]
    least, greatest = (
        _filter_extremes(lq, 1, choose).repeat(scale, axis=1).repeat(scale, axis=2)
        for choose in (np.minimum, np.maximum)
    )
    return np.clip(sr, least, greatest)


def lock_colors(lq: Plane, sr: Plane) -> Plane:
    """Match the low frequencies of `sr` (C, s*h, s*w) to those of `lq` (C, h, w), both in [0, 1]; modifies `sr`."""
    everywhere = np.ones(lq.shape[1:], np.bool_)
    for _ in range(_ROUNDS):
        _add_upsampled(sr, _blur(lq - shrunk(sr, lq.shape[1:]), COLOR_LOCK_SIGMA), everywhere)
    return sr


def color_difference(lq: Plane, sr: Plane) -> Plane:
    """CIE 1976 difference of the colors of `lq` (3, h, w) and of `sr` (3, s*h, s*w) shrunk -> (h, w)."""
    return delta_e(_blur(lq, COLOR_SIGMA), _blur(shrunk(sr, lq.shape[1:]), COLOR_SIGMA))


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


def _smooth_inside(weight: Plane) -> Plane:
    """Smooth weights (h, w) in [0, 1] toward their zeros from within; no weight increases."""
    eroded = _filter_extremes(weight[None], 1, np.minimum)
    size = 2 * _FADE + 1
    mean = np.pad(eroded, ((0, 0), (_FADE, _FADE), (_FADE, _FADE)), mode="edge")
    height, width = weight.shape
    mean = np.add.reduce([mean[:, start : start + height] for start in range(size)])
    mean = np.add.reduce([mean[:, :, start : start + width] for start in range(size)])
    return np.minimum(mean[0] / np.float32(size**2), weight)


def _filter_extremes(image: Plane, radius: int, choose: Callable[..., Plane]) -> Plane:
    """The greatest (np.maximum) or least (np.minimum) value within a radius, (C, h, w) -> the same; edges repeated."""
    for axis in (1, 2):
        length = image.shape[axis]
        around = [(0, 0), (0, 0), (0, 0)]
        around[axis] = (radius, radius)
        found, width = np.pad(image, around, mode="edge"), 1
        while width < 2 * radius + 1:  # windows of 1, 2, 4 ... pixels, the last clipped to the full width
            step = min(width, 2 * radius + 1 - width)
            kept = found.shape[axis] - step
            found = choose(_cut(found, axis, 0, kept), _cut(found, axis, step, step + kept))
            width += step
        image = _cut(found, axis, 0, length)
    return image


def _blur(image: Plane, sigma: float) -> Plane:
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


def _add_upsampled(sr: Plane, change: Plane, where: npt.NDArray[np.bool_]) -> None:
    """Add `change` (C, h, w), 0 outside the mask `where` (h, w), to `sr` (C, s*h, s*w) after bilinear upsampling."""
    box = _around(where)
    if box is None:
        return
    top, bottom, left, right = box
    scale = sr.shape[-1] // change.shape[-1]
    wide = _upsample_rows(change[:, :, left:right].swapaxes(1, 2), scale).swapaxes(1, 2)[:, top:bottom]
    target = sr[:, top * scale : bottom * scale, left * scale : right * scale]
    for phase, (row, following, part) in enumerate(_list_phases(wide, scale)):
        step = following - row
        step *= part
        step += row
        target[:, phase::scale] += step


def _blend_upsampled(sr: Plane, lq: Plane, weight: Plane) -> None:
    """Blend `lq` (C, h, w), bilinearly upsampled, into `sr` (C, s*h, s*w) by `weight` (h, w) in [0, 1]."""
    box = _around(weight > 0)
    if box is None:
        return
    top, bottom, left, right = box
    scale = sr.shape[-1] // lq.shape[-1]
    own, share = (
        _upsample_rows(image[:, :, left:right].swapaxes(1, 2), scale).swapaxes(1, 2)[:, top:bottom]
        for image in (lq, weight[None])
    )
    target = sr[:, top * scale : bottom * scale, left * scale : right * scale]
    for phase, ((row, following, part), (first, second, _)) in enumerate(
        zip(_list_phases(own, scale), _list_phases(share, scale), strict=True)
    ):
        goal, much = row + (following - row) * part, first + (second - first) * part
        place = target[:, phase::scale]
        place += (goal - place) * much
        np.copyto(place, goal, where=much == 1)  # to the last bit


def _around(where: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Bounding box (top, bottom, left, right) of a mask, with the extra pixel that bilinear upsampling reads."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if not len(rows):
        return None
    height, width = where.shape
    top, bottom = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, height)
    return top, bottom, max(int(columns[0]) - 1, 0), min(int(columns[-1]) + 2, width)


def _upsample_rows(image: Plane, scale: int) -> Plane:
    """Upsample rows bilinearly, edges repeated: (C, h, w) -> (C, s*h, w)."""
    if scale == 1:
        return image
    channels, height, width = image.shape
    result = np.empty((channels, height * scale, width), np.float32)
    for phase, (row, following, part) in enumerate(_list_phases(image, scale)):
        result[:, phase::scale] = row + (following - row) * part
    return result


def _list_phases(image: Plane, scale: int) -> list[tuple[Plane, Plane, np.float32]]:
    """For each of the s output rows per input row: the two source rows, (C, h, w) each, and the weight."""
    padded = np.pad(image, ((0, 0), (1, 1), (0, 0)), mode="edge")
    before, own, after = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]
    positions = [(phase + 0.5) / scale - 0.5 for phase in range(scale)]
    return [
        (before, own, np.float32(position + 1)) if position < 0 else (own, after, np.float32(position))
        for position in positions
    ]
