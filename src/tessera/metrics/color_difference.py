"""Perceived color difference: CIEDE2000.

Shapes: B pictures, H height, W width.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tessera.images.color import rgb_to_lab
from tessera.metrics.metric import Accumulator, Floats, Frame

_POWER = 25.0**7


def ciede2000(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> Floats:
    """Color difference of two colors in CIE L*a*b*, (..., 3, H, W) twice -> (..., H, W) float64; 0 is equal.

    About 1 is just noticeable. (CIE 142-2001; Sharma, Wu, Dalal 2005, whose test pairs it reproduces.)
    """
    light1, a1, b1 = np.moveaxis(first.astype(np.float64), -3, 0)
    light2, a2, b2 = np.moveaxis(second.astype(np.float64), -3, 0)
    mean_power = _raise_to_7((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2)
    stretch = 1.5 - 0.5 * np.sqrt(mean_power / (mean_power + _POWER))
    chroma1, chroma2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    hue1, hue2 = _hue(b1, stretch * a1), _hue(b2, stretch * a2)
    gray = chroma1 * chroma2 == 0

    turn = hue2 - hue1
    turn = turn - 2 * math.pi * (turn > math.pi) + 2 * math.pi * (turn < -math.pi)
    turn[gray] = 0
    light_step, chroma_step = light2 - light1, chroma2 - chroma1
    hue_step = 2 * np.sqrt(chroma1 * chroma2) * np.sin(turn / 2)

    light, chroma = (light1 + light2) / 2, (chroma1 + chroma2) / 2
    total = hue1 + hue2
    apart = np.abs(hue1 - hue2) > math.pi
    hue = (total + 2 * math.pi * (apart & (total < 2 * math.pi)) - 2 * math.pi * (apart & (total >= 2 * math.pi))) / 2
    hue = np.where(gray, total, hue)

    def cosine(times: float, degrees: float) -> Floats:
        return np.cos(times * hue + math.radians(degrees))

    weight = 1 - 0.17 * cosine(1, -30) + 0.24 * cosine(2, 0) + 0.32 * cosine(3, 6) - 0.20 * cosine(4, -63)
    blue = np.exp(-(((np.rad2deg(hue) - 275) / 25) ** 2))
    power = _raise_to_7(chroma)
    rotation = -np.sin(2 * math.radians(30) * blue) * 2 * np.sqrt(power / (power + _POWER))
    square = (light - 50) ** 2
    light_term = light_step / (1 + 0.015 * square / np.sqrt(20 + square))
    chroma_term = chroma_step / (1 + 0.045 * chroma)
    hue_term = hue_step / (1 + 0.015 * chroma * weight)
    return np.sqrt((light_term**2 + chroma_term**2 + hue_term**2 + rotation * chroma_term * hue_term).clip(0))


def mean_color_difference(sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating]) -> Floats:
    """Mean CIEDE2000 of sRGB pictures in [0, 1], (B, 3, H, W) twice -> (B,) float64; 0 is equal."""
    pair = (rgb_to_lab(picture.astype(np.float64)) for picture in (sr, gt))
    return ciede2000(*pair).reshape(len(sr), -1).mean(axis=1)


class ColorDifference:
    """Mean CIEDE2000 of a picture that comes in rows."""

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def take(self, sr: Floats, gt: Floats) -> None:
        """Add the next rows, (3, h, W) twice, sRGB in levels of 255."""
        apart = ciede2000(rgb_to_lab(sr / 255), rgb_to_lab(gt / 255))
        self._total += float(apart.sum())
        self._count += apart.size

    @property
    def mean(self) -> float:
        """The mean over all pixels so far."""
        return self._total / self._count


def start_color_difference(_: Frame) -> Accumulator:
    """Start CIEDE2000 on a picture whose rows are RGB in levels of 255."""
    difference = ColorDifference()
    return Accumulator(difference.take, lambda: difference.mean)


def _hue(b: Floats, a: Floats) -> Floats:
    """The angle in [0, 2 pi), 0 for gray."""
    angle = np.arctan2(b, a)
    return np.where(angle < 0, angle + 2 * math.pi, angle)


def _raise_to_7(values: Floats) -> Floats:
    """The seventh power, by products: several times faster than the power function."""
    cube = values * values * values
    return cube * cube * values
