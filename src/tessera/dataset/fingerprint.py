"""Whether two pictures show the same, whatever their size, format and quality: by what is left of them at 32 x 32.

The signs of the low frequencies of that small picture (its DCT) are compared first, because that is fast; what agrees
in most of them is then compared pixel by pixel. Shapes: N pictures.
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
"""Standard deviation in levels of 255, below which a picture is too empty to tell from another."""
_ROWS_AT_A_TIME = 64

POSITIONS = 8
"""In how many ways a picture can be mirrored and turned by right angles."""


def area_weights(length: int) -> npt.NDArray[np.float32]:
    """How much each of `length` pixels counts for each of 32: (32, length), every row adds up to 1."""
    edges = np.arange(SIDE + 1) * (length / SIDE)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(overlap, 0) * (SIDE / length)).astype(np.float32)


def turned(thumb: Thumbs, position: int) -> Thumbs:
    """One of the eight positions of a square picture, (..., 32, 32) -> (..., 32, 32); 0 is as it is."""
    thumb = thumb[..., ::-1] if position & 1 else thumb
    thumb = thumb[..., ::-1, :] if position & 2 else thumb
    return thumb.swapaxes(-1, -2) if position & 4 else thumb


def correlation(one: Thumbs, other: Thumbs) -> npt.NDArray[np.float32]:
    """Of pictures (..., 32, 32) -> (...) in [-1, 1]; 0 where one is flat."""
    a, b = (part - part.mean(axis=(-2, -1), keepdims=True) for part in (one, other))
    norms = np.sqrt((a * a).sum(axis=(-2, -1)) * (b * b).sum(axis=(-2, -1)))
    return (a * b).sum(axis=(-2, -1)) / np.maximum(norms, np.float32(1e-6))


def has_contrast(thumbs: Thumbs) -> npt.NDArray[np.bool_]:
    """Which of (N, 32, 32) show enough to be compared."""
    return thumbs.std(axis=(-2, -1)) >= _LEAST_CONTRAST


def same_pictures(thumbs: Thumbs, others: Thumbs | None = None, *, turns: bool = False) -> Iterator[tuple[int, int]]:
    """Pairs (index in `thumbs`, index in `others`) that show the same; one for each of `thumbs` at most.

    Without `others`, each picture is compared with those before it. With `turns`, also mirrored and turned.
    """
    own, theirs = _hashes(thumbs), _hashes(thumbs if others is None else others)
    usable, comparable = has_contrast(thumbs), has_contrast(thumbs if others is None else others)
    among = thumbs if others is None else others
    positions = [(position, _hashes(turned(thumbs, position))) for position in range(1, POSITIONS if turns else 1)]
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
                if correlation(turned(thumbs[index], position), among[column]) >= _LEAST_CORRELATION:
                    found[index] = column
        yield from sorted(found.items())


def _hashes(thumbs: Thumbs) -> npt.NDArray[np.uint64]:
    """The signs of 16 x 16 low frequencies less the mean: (N, 32, 32) -> (N, 4) words of 64 bits."""
    k, x = np.mgrid[0:_KEPT, 0:SIDE]
    basis = np.cos(np.pi * (2 * x + 1) * k / (2 * SIDE)).astype(np.float32)
    bits = (basis @ thumbs @ basis.T > 0).reshape(len(thumbs), -1)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64)
