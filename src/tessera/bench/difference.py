"""Deviation of a result from the fp32 reference, and the limits for each number type.

Shapes: B pictures, C channels, H and W of the output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_EXACT = 1
SHARE_REDUCED = 0.99
PSNR_QUANTIZED = 38.0
"""An RMS error of about 3 levels, above which results look different."""


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Deviation of one 8-bit picture from another, as written to files; PSNR of equal pictures is None."""

    largest_levels: int
    share_within_one: float
    psnr_db: float | None

    def combine_worst(self, other: Deviation | None) -> Deviation:
        """The worse of both in each measure."""
        if other is None:
            return self
        known = [psnr for psnr in (self.psnr_db, other.psnr_db) if psnr is not None]
        return Deviation(
            largest_levels=max(self.largest_levels, other.largest_levels),
            share_within_one=min(self.share_within_one, other.share_within_one),
            psnr_db=min(known, default=None),
        )


def compare_tensors(result: Tensor, reference: Tensor) -> Deviation | None:
    """Compare (B, C, H, W) twice, float in [0, 1]; None where the result has another size or non-finite values.

    Levels are those of the rounded pictures, PSNR that of the values before rounding, clipped to [0, 1].
    """
    found, wanted = result.detach().float().cpu().numpy(), reference.detach().float().cpu().numpy()
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return None
    found, wanted = found.clip(0, 1), wanted.clip(0, 1)
    return _difference(np.rint(found * 255) - np.rint(wanted * 255), (found - wanted).astype(np.float64))


def compare_pixels(result: npt.NDArray[np.uint8], reference: npt.NDArray[np.uint8]) -> Deviation | None:
    """Compare two finished pictures of 8 bits, (H, W, C); None when their sizes differ."""
    if result.shape != reference.shape:
        return None
    levels = result.astype(np.float32) - reference.astype(np.float32)
    return _difference(levels, levels.astype(np.float64) / 255)


def _difference(levels: npt.NDArray[np.float32], values: npt.NDArray[np.float64]) -> Deviation:
    square = float(np.mean(values**2))
    return Deviation(
        largest_levels=int(np.abs(levels).max()),
        share_within_one=float(np.mean(np.abs(levels) <= 1)),
        psnr_db=-10 * math.log10(square) if square > 0 else None,
    )


def find_problem(found: Deviation | None, products: str) -> str | None:
    """Explain why a result is wrong for its number type; None if it is correct.

    Limits: fp32 1 level everywhere; bf16 and fp16 1 level on 99 % of the values (as promised for precision auto);
    int8 at least 38 dB.
    """
    if found is None:
        return "The result differs from the reference in size, or contains non-finite values."
    if products == "fp32":
        if found.largest_levels > LARGEST_EXACT:
            return f"The result deviates by {found.largest_levels} levels; the limit of fp32 is {LARGEST_EXACT}."
    elif products == "int8":
        if found.psnr_db is not None and found.psnr_db < PSNR_QUANTIZED:
            return f"The result has {found.psnr_db:.1f} dB to the reference; int8 needs {PSNR_QUANTIZED:.0f} dB."
    elif found.share_within_one < SHARE_REDUCED:
        within = f"{found.share_within_one * 100:.2f} %"
        return f"Only {within} of the values are within 1 level; {products} needs {SHARE_REDUCED:.0%}."
    return None
