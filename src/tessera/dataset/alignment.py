"""Whether a result lies where its reference does: a shift of a pixel or two ruins every score and is easily overlooked.

Shapes: H height, W width of a gray window.
"""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 256
"""Pixels a side that are looked at, in the middle of the picture."""
_FARTHEST = 8
_CLEARLY = 1.05
_LEFT_OVER = 0.9
"""What the unlikeness of the pictures must fall to, as a part of what it was, when the shift is taken back."""


def shift_between(sr: Tensor, gt: Tensor) -> tuple[int, int] | None:
    """How far (down, right) a result is shifted against its reference, both (H, W); None when it lies where it should.

    Where the gradients of both agree best, up to 8 pixels away, and only when gradients and pixels agree clearly better
    there: a poor network's blocks may have their edges a pixel away without being shifted.
    """
    if min(sr.shape) < 4 * _FARTHEST:
        return None
    spectra = [torch.fft.rfft2(_edges(picture)) for picture in (sr, gt)]
    agreement = torch.fft.irfft2(spectra[0] * spectra[1].conj(), s=sr.shape)
    near = torch.roll(agreement, (_FARTHEST, _FARTHEST), dims=(0, 1))[: 2 * _FARTHEST + 1, : 2 * _FARTHEST + 1]
    best = int(near.argmax())
    down, right = best // near.shape[1] - _FARTHEST, best % near.shape[1] - _FARTHEST
    if (down, right) == (0, 0) or float(near.max()) <= max(0.0, _CLEARLY * float(near[_FARTHEST, _FARTHEST])):
        return None
    if _unlikeness(sr, gt, down, right) <= _LEFT_OVER * _unlikeness(sr, gt, 0, 0):
        return down, right
    return None


def _unlikeness(sr: Tensor, gt: Tensor, down: int, right: int) -> float:
    """One less the correlation of the middle of the reference with the result that far from it."""
    height, width = gt.shape
    middle = gt[_FARTHEST : height - _FARTHEST, _FARTHEST : width - _FARTHEST]
    moved = sr[_FARTHEST + down : height - _FARTHEST + down, _FARTHEST + right : width - _FARTHEST + right]
    return 1 - float(torch.corrcoef(torch.stack([middle.flatten(), moved.flatten()]).double())[0, 1])


def _edges(picture: Tensor) -> Tensor:
    """Gradient magnitude less its mean, faded out at the borders, which the transform takes for neighbors."""
    picture = picture.double()
    across = picture[1:-1, 2:] - picture[1:-1, :-2]
    down = picture[2:, 1:-1] - picture[:-2, 1:-1]
    edges = torch.zeros_like(picture)
    edges[1:-1, 1:-1] = torch.hypot(across, down)
    edges = edges - edges.mean()
    fades = [torch.hann_window(length, periodic=False, dtype=torch.float64) for length in picture.shape]
    return edges * fades[0][:, None] * fades[1][None, :]
