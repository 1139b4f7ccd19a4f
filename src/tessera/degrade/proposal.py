"""Proposes the ranges of a degradation that produces pictures like the measured ones."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tessera.degrade.blur import LARGEST_KERNEL, PUBLISHED_SIZES
from tessera.degrade.estimate import Damage
from tessera.wording import format_count


@dataclass(frozen=True, kw_only=True)
class Span:
    """The central 90 % of a number, and the number of pictures it was measured on."""

    low: float
    high: float
    pictures: int


def propose_degradation(damages: Sequence[Damage], name: str, scale: int) -> str:
    """Format ranges for Real-ESRGAN's degradation as TOML, with the number of pictures behind each.

    Noise and JPEG go to the second stage, blur to the first, in pixels of the large picture. Each range is the central
    90 % of the measurements.
    """
    noise = measure_span([each.noise_sigma_255 for each in damages])
    quality = measure_span([each.jpeg_quality for each in damages])
    blur = measure_span([each.blur_sigma for each in damages])
    compressed = [each for each in damages if each.jpeg_quality is not None]
    lines = [
        f"# Measured on {format_count(len(damages), 'picture')} of {json.dumps(name)}; each range is the central 90 %.",
        '[degradation]\nkind = "realesrgan"',
    ]
    if blur is None:
        lines.append("\n# Blur: not estimated, because no picture has usable edges.")
    else:
        low, high = (min(max(value * scale, 0.1), 25.0) for value in (blur.low, blur.high))
        lines.append(
            f"\n[degradation.first.blur] # edges of {blur.pictures} show sigma {blur.low:.2f} to {blur.high:.2f}"
        )
        lines.append(f"sigma = [{low:.2f}, {high:.2f}] # times {scale}: in ground-truth pixels")
        largest = min(2 * math.ceil(2.5 * high) + 1, LARGEST_KERNEL)
        if largest > max(PUBLISHED_SIZES):  # a kernel of 21 would truncate such a Gaussian
            lines.append(f"sizes = {list(range(min(PUBLISHED_SIZES), largest + 1, 2))}")
    if noise is None:
        lines.append("\n# Noise: not estimated, because no picture has flat areas.")
    else:
        lines.append(f"\n[degradation.second.noise] # flat areas of {noise.pictures}; after JPEG")
        lines.append(f"sigma_255 = [{noise.low:.1f}, {noise.high:.1f}]")
    if quality is None:
        lines.append("\n# JPEG: no picture has traces of it.\n[degradation.second.jpeg]\nprobability = 0.0")
    else:
        in_file = sum(each.jpeg_in_file for each in compressed)
        in_pixels = quality.pictures - in_file
        lines.append(f"\n[degradation.second.jpeg] # by the tables of {in_file} files and the pixels of {in_pixels}")
        lines.append(f"probability = {quality.pictures / len(damages):.2f}")
        lines.append(f"quality = [{max(quality.low, 1.0):.0f}.0, {min(quality.high, 99.0):.0f}.0]")
    return "\n".join(lines)


def measure_span(values: Sequence[float | None]) -> Span | None:
    """Find the central 90 % of the measurements; None without any."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = np.quantile(known, (0.05, 0.95))
    return Span(low=float(low), high=float(high), pictures=len(known))
