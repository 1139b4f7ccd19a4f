"""Detection of results that are shifted against their references: a pixel or two ruins every score unnoticed.

Shapes: H height, W width of a gray window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WINDOW = 256
"""Side of the compared window in the center of the picture, in pixels."""
_FARTHEST = 8
_CLEARLY = 1.05
_LEFT_OVER = 0.9
"""Largest ratio of the dissimilarity after undoing the shift to that before, for a shift to count."""


def find_shift(sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating]) -> tuple[int, int] | None:
    """Find the shift (down, right) of a result against its reference, both (H, W); None if there is none.

    The shift maximizes the correlation of gradients, within 8 pixels. Gradients and pixels must both agree clearly
    better there, because block edges of a poor network's output may lie a pixel away without any shift.
    """
    if min(sr.shape) < 4 * _FARTHEST:
        return None
    spectra = [np.fft.rfft2(_compute_edges(picture)) for picture in (sr, gt)]
    agreement = np.fft.irfft2(spectra[0] * spectra[1].conj(), s=sr.shape)
    near = np.roll(agreement, (_FARTHEST, _FARTHEST), axis=(0, 1))[: 2 * _FARTHEST + 1, : 2 * _FARTHEST + 1]
    best = int(near.argmax())
    down, right = best // near.shape[1] - _FARTHEST, best % near.shape[1] - _FARTHEST
    if (down, right) == (0, 0) or float(near.max()) <= max(0.0, _CLEARLY * float(near[_FARTHEST, _FARTHEST])):
        return None
    if _measure_dissimilarity(sr, gt, down, right) <= _LEFT_OVER * _measure_dissimilarity(sr, gt, 0, 0):
        return down, right
    return None


def _measure_dissimilarity(sr: npt.NDArray[np.floating], gt: npt.NDArray[np.floating], down: int, right: int) -> float:
    """1 - correlation of the center of the reference with the shifted result."""
    height, width = gt.shape
    middle = gt[_FARTHEST : height - _FARTHEST, _FARTHEST : width - _FARTHEST]
    moved = sr[_FARTHEST + down : height - _FARTHEST + down, _FARTHEST + right : width - _FARTHEST + right]
    with np.errstate(divide="ignore", invalid="ignore"):  # flat pictures correlate with nothing: NaN
        return 1 - float(np.corrcoef(middle.ravel(), moved.ravel(), dtype=np.float64)[0, 1])


def _compute_edges(picture: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Gradient magnitude minus its mean, faded to 0 at the borders, because the FFT is periodic."""
    picture = picture.astype(np.float64)
    across = picture[1:-1, 2:] - picture[1:-1, :-2]
    down = picture[2:, 1:-1] - picture[:-2, 1:-1]
    edges = np.zeros_like(picture)
    edges[1:-1, 1:-1] = np.hypot(across, down)
    edges = edges - edges.mean()
    fades = [np.hanning(length) for length in picture.shape]
    return edges * fades[0][:, None] * fades[1][None, :]
