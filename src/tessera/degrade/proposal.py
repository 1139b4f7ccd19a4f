"""From what low-quality pictures show to the ranges of a degradation that makes such pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tessera.degrade.blur import LARGEST_KERNEL, PUBLISHED_SIZES
from tessera.degrade.estimate import Damage
from tessera.wording import counted


@dataclass(frozen=True, kw_only=True)
class Span:
    """The middle nine tenths of a number, and how many pictures it was measured on."""

    low: float
    high: float
    pictures: int


def proposal(damages: Sequence[Damage], name: str, scale: int) -> str:
    """Ranges for Real-ESRGAN's degradation that fit what was measured, as TOML, with how much each rests on.

    Noise and JPEG are put into the second stage, which comes last; blur into the first, in pixels of the large picture.
    Each range is the middle nine tenths of what was measured.
    """
    noise = span([each.noise_sigma_255 for each in damages])
    quality = span([each.jpeg_quality for each in damages])
    blur = span([each.blur_sigma for each in damages])
    compressed = [each for each in damages if each.jpeg_quality is not None]
    lines = [
        f"# Measured on {counted(len(damages), 'picture')} of {json.dumps(name)}; ranges are the middle nine tenths.",
        '[degradation]\nkind = "realesrgan"',
    ]
    if blur is None:
        lines.append("\n# Blur: no picture has edges that it could be told from.")
    else:
        low, high = (min(max(value * scale, 0.1), 25.0) for value in (blur.low, blur.high))
        lines.append(
            f"\n[degradation.first.blur] # edges of {blur.pictures} show sigma {blur.low:.2f} to {blur.high:.2f}"
        )
        lines.append(f"sigma = [{low:.2f}, {high:.2f}] # times {scale}: in pixels of the large picture")
        largest = min(2 * math.ceil(2.5 * high) + 1, LARGEST_KERNEL)
        if largest > max(PUBLISHED_SIZES):  # a kernel of 21 would cut such a Gaussian off
            lines.append(f"sizes = {list(range(min(PUBLISHED_SIZES), largest + 1, 2))}")
    if noise is None:
        lines.append("\n# Noise: no picture has flat areas that it could be told from.")
    else:
        lines.append(f"\n[degradation.second.noise] # flat areas of {noise.pictures}; what JPEG left of it")
        lines.append(f"sigma_255 = [{noise.low:.1f}, {noise.high:.1f}]")
    if quality is None:
        lines.append(
            "\n# JPEG: no picture has its traces, so there is none.\n[degradation.second.jpeg]\nprobability = 0.0"
        )
    else:
        in_file = sum(each.jpeg_in_file for each in compressed)
        beside = quality.pictures - in_file
        lines.append(f"\n[degradation.second.jpeg] # by the tables of {in_file} files and the pixels of {beside}")
        lines.append(f"probability = {quality.pictures / len(damages):.2f}")
        lines.append(f"quality = [{max(quality.low, 1.0):.0f}.0, {min(quality.high, 99.0):.0f}.0]")
    return "\n".join(lines)


def span(values: Sequence[float | None]) -> Span | None:
    """Where the middle nine tenths of what was measured lie; None when nothing was."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = np.quantile(known, (0.05, 0.95))
    return Span(low=float(low), high=float(high), pictures=len(known))
