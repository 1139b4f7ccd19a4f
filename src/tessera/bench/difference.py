"""How far a result is from the fp32 reference, and when that is too far.

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
"""Root mean square of about 3 levels: coarser than that, it is another picture."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Between two pictures of 8 bits, as they would be written to files; PSNR of equal pictures is None."""

    largest_levels: int
    share_within_one: float
    psnr_db: float | None

    def worse(self, other: Difference | None) -> Difference:
        """The worse of both in each respect."""
        if other is None:
            return self
        known = [psnr for psnr in (self.psnr_db, other.psnr_db) if psnr is not None]
        return Difference(
            largest_levels=max(self.largest_levels, other.largest_levels),
            share_within_one=min(self.share_within_one, other.share_within_one),
            psnr_db=min(known, default=None),
        )


def difference(result: Tensor, reference: Tensor) -> Difference | None:
    """Compare (B, C, H, W) with (B, C, H, W), float in [0, 1]; None when the result is no picture of that size.

    Levels are those of the rounded pictures, PSNR that of the values before rounding, clipped to [0, 1].
    """
    found, wanted = result.detach().float().cpu().numpy(), reference.detach().float().cpu().numpy()
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return None
    found, wanted = found.clip(0, 1), wanted.clip(0, 1)
    return _difference(np.rint(found * 255) - np.rint(wanted * 255), (found - wanted).astype(np.float64))


def pixel_difference(result: npt.NDArray[np.uint8], reference: npt.NDArray[np.uint8]) -> Difference | None:
    """Compare two finished pictures of 8 bits, (H, W, C); None when their sizes differ."""
    if result.shape != reference.shape:
        return None
    levels = result.astype(np.float32) - reference.astype(np.float32)
    return _difference(levels, levels.astype(np.float64) / 255)


def _difference(levels: npt.NDArray[np.float32], values: npt.NDArray[np.float64]) -> Difference:
    square = float(np.mean(values**2))
    return Difference(
        largest_levels=int(np.abs(levels).max()),
        share_within_one=float(np.mean(np.abs(levels) <= 1)),
        psnr_db=-10 * math.log10(square) if square > 0 else None,
    )


def problem_with(found: Difference | None, products: str) -> str | None:
    """Why a result is wrong for the type that it was multiplied in, as a sentence; None when it is right.

    fp32 is held to 1 level everywhere, bf16 and fp16 to 1 level on 99 % of the values (what `--precision auto`
    promises), int8 to 38 dB.
    """
    if found is None:
        return "The result has another size than the reference, or values that are no numbers."
    if products == "fp32":
        if found.largest_levels > LARGEST_EXACT:
            return f"It is {found.largest_levels} levels off, and fp32 may be {LARGEST_EXACT}."
    elif products == "int8":
        if found.psnr_db is not None and found.psnr_db < PSNR_QUANTIZED:
            return f"It is {found.psnr_db:.1f} dB from the reference, and int8 has to reach {PSNR_QUANTIZED:.0f}."
    elif found.share_within_one < SHARE_REDUCED:
        within = f"{found.share_within_one * 100:.2f} %"
        return f"Only {within} of its values are within 1 level, and {products} has to reach {SHARE_REDUCED:.0%}."
    return None
