"""Tile geometry: positions, overlap and blending, as plain integers.

All tiles along an axis have the same size. A tile is read with `overlap` pixels of context beyond each seam; output
near the cut is discarded, and two neighbors are blended across each seam over `fade` input pixels. Along one axis at
most two tiles contribute to a pixel, and their weights sum to one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis, in input pixels."""

    length: int
    """Pixels to cover: the picture's side, padded to a multiple of the network's divisor."""
    tile: int
    starts: tuple[int, ...]
    """The first pixel that each tile reads; each reads `tile` pixels."""
    seams: tuple[int, ...]
    """Between tiles i and i + 1: the pixel boundary where both weigh one half."""
    fade: int
    """Pixels over which neighbors are blended, centered on the seam; even."""

    def find_kept_range(self, index: int) -> tuple[int, int]:
        """The pixels of the picture to which a tile contributes (first, last + 1), blended ones included."""
        half = self.fade // 2
        first = 0 if index == 0 else self.seams[index - 1] - half
        last = self.length if index == len(self.starts) - 1 else self.seams[index] + half
        return first, last

    def __len__(self) -> int:
        return len(self.starts)


def plan_axis(length: int, *, tile: int, overlap: int, multiple: int = 1, fade: int | None = None) -> Axis:
    """Cover `length` pixels with equal tiles of at most `tile`, each sharing twice `overlap` with its neighbor.

    Tiles shrink so that all have the same size and none reads beyond the picture. All starts and sizes are multiples of
    `multiple`, and `length` must be one. `fade` defaults to half of `overlap`, rounded down to even: a longer one gives
    weight to pixels nearer the cut and measured worse (benchmarks/overlap.py).

    >>> axis = plan_axis(300, tile=128, overlap=16)
    >>> axis.tile, axis.starts, axis.seams
    (122, (0, 89, 178), (105, 194))
    >>> plan_axis(100, tile=128, overlap=16).starts
    (0,)
    """
    if length < 1 or length % multiple:
        raise ValueError(f"length {length} must be a positive multiple of {multiple}")
    if length <= tile:
        return Axis(length, length, (0,), (), 0)
    # From here on in units of `multiple`, so that rounding never reduces the context.
    units, most = length // multiple, max(tile // multiple, 1)
    context = min(-(-overlap // multiple), (most - 1) // 2)
    count = -(-(units - 2 * context) // (most - 2 * context))
    size = -(-(units + (count - 1) * 2 * context) // count)
    spare = units - size
    starts = tuple(spare * index // (count - 1) * multiple for index in range(count))
    size *= multiple
    seams = tuple((after + before + size) // 2 for before, after in pairwise(starts))
    narrowest = min(before + size - after for before, after in pairwise(starts))
    widest_fade = min(narrowest, *(b - a for a, b in pairwise((0, *seams, length))))
    fade = min(overlap // 2 if fade is None else fade, widest_fade) // 2 * 2
    return Axis(length, size, starts, seams, fade)


def fade_in(fade: int, scale: int) -> npt.NDArray[np.float32]:
    """Weights of the later tile across a seam of `fade` input pixels -> (fade * scale,), a raised cosine from 0 to 1.

    >>> [round(float(weight), 3) for weight in fade_in(2, 2)]
    [0.038, 0.309, 0.691, 0.962]
    """
    count = fade * scale
    position = (np.arange(count, dtype=np.float64) + 0.5) / max(count, 1)
    return (0.5 - 0.5 * np.cos(np.pi * position)).astype(np.float32)


def round_up(length: int, multiple: int) -> int:
    """Round a length up to a multiple of `multiple`.

    >>> round_up(10, 4)
    12
    """
    return -(-length // multiple) * multiple
