"""Detection of pictures with the same content, regardless of size, format and quality, from 32 x 32 thumbnails.

The signs of low DCT frequencies are compared first, because that is fast; candidates are then compared by correlation.

Shapes: N pictures.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

SIDE = 32
Thumbs = npt.NDArray[np.float32]

_KEPT = 16
_MOST_DIFFERENT_BITS = 56  # of 255; pictures that have nothing in common differ in about 127
_LEAST_CORRELATION = 0.985
_LEAST_CONTRAST = 4.0
"""Standard deviation, from 0 to 255, below which a picture has too little contrast to compare."""
_ROWS_AT_A_TIME = 64

POSITIONS = 8
"""Number of flips and right-angle rotations."""


def compute_area_weights(length: int) -> npt.NDArray[np.float32]:
    """Weights of area resampling from `length` pixels to 32: (32, length), each row sums to 1."""
    edges = np.arange(SIDE + 1) * (length / SIDE)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(overlap, 0) * (SIDE / length)).astype(np.float32)


def orient(thumb: Thumbs, position: int) -> Thumbs:
    """Flip or rotate square pictures, (..., 32, 32) -> (..., 32, 32), in one of eight ways; 0 leaves them unchanged."""
    thumb = thumb[..., ::-1] if position & 1 else thumb
    thumb = thumb[..., ::-1, :] if position & 2 else thumb
    return thumb.swapaxes(-1, -2) if position & 4 else thumb


def compute_correlation(one: Thumbs, other: Thumbs) -> npt.NDArray[np.float32]:
    """Correlation of pictures (..., 32, 32) -> (...) in [-1, 1]; 0 if one is flat."""
    a, b = (part - part.mean(axis=(-2, -1), keepdims=True) for part in (one, other))
    norms = np.sqrt((a * a).sum(axis=(-2, -1)) * (b * b).sum(axis=(-2, -1)))
    return (a * b).sum(axis=(-2, -1)) / np.maximum(norms, np.float32(1e-6))


def has_contrast(thumbs: Thumbs) -> npt.NDArray[np.bool_]:
    """Which of (N, 32, 32) have enough contrast to be compared."""
    return thumbs.std(axis=(-2, -1)) >= _LEAST_CONTRAST


def find_same_pictures(
    thumbs: Thumbs, others: Thumbs | None = None, *, turns: bool = False
) -> Iterator[tuple[int, int]]:
    """Find pairs (index in `thumbs`, index in `others`) with the same content, at most one for each of `thumbs`.

    Without `others`, each picture is compared with those before it. With `turns`, flips and rotations also match.
    """
    own, theirs = _compute_hashes(thumbs), _compute_hashes(thumbs if others is None else others)
    usable, comparable = has_contrast(thumbs), has_contrast(thumbs if others is None else others)
    among = thumbs if others is None else others
    positions = [
        (position, _compute_hashes(orient(thumbs, position))) for position in range(1, POSITIONS if turns else 1)
    ]
    for first in range(0, len(thumbs), _ROWS_AT_A_TIME):
        rows = slice(first, first + _ROWS_AT_A_TIME)
        found: dict[int, int] = {}
        for position, hashes in [(0, own), *positions]:
            stop = len(among) if others is not None else min(first + _ROWS_AT_A_TIME, len(among))
            differing = np.bitwise_count(hashes[rows, None] ^ theirs[None, :stop]).sum(axis=2, dtype=np.int32)
            near = (differing <= _MOST_DIFFERENT_BITS) & usable[rows, None] & comparable[None, :stop]
            for row, column in np.argwhere(near).tolist():
                index = first + row
                if index in found or (others is None and column >= index):
                    continue
                if compute_correlation(orient(thumbs[index], position), among[column]) >= _LEAST_CORRELATION:
                    found[index] = column
        yield from sorted(found.items())


def _compute_hashes(thumbs: Thumbs) -> npt.NDArray[np.uint64]:
    """Signs of 16 x 16 low frequencies without the mean: (N, 32, 32) -> (N, 4) words of 64 bits."""
    k, x = np.mgrid[0:_KEPT, 0:SIDE]
    basis = np.cos(np.pi * (2 * x + 1) * k / (2 * SIDE)).astype(np.float32)
    bits = (basis @ thumbs @ basis.T > 0).reshape(len(thumbs), -1)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64)
