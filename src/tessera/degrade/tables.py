"""Quantization tables of JPEG files, and the qualities they correspond to (ITU-T T.81, annexes B and K).

Tables are 64 integers, frequencies row by row.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

Steps = npt.NDArray[np.int64]

LUMA_STEPS = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_STEPS = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 32),
)
_START, _TABLES, _SCAN = 0xD8, 0xDB, 0xDA
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def build_luma_table(quality: int) -> Steps:
    """Build the luma table that libjpeg writes for a quality from 1 to 100, (64,) in [1, 255].

    >>> build_luma_table(50)[:4].tolist(), build_luma_table(90)[:4].tolist()
    ([16, 11, 10, 16], [3, 2, 2, 3])
    """
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((np.array(LUMA_STEPS, np.int64) * percent + 50) // 100, 1, 255)


@functools.cache
def _build_all_tables() -> npt.NDArray[np.float64]:
    return np.stack([build_luma_table(quality) for quality in range(1, 101)]).astype(np.float64)


def find_nearest_quality(steps: Steps) -> int:
    """Find the quality whose luma table is nearest in ratio to this one, (64,), which may be another encoder's."""
    apart = np.abs(np.log(_build_all_tables()) - np.log(np.maximum(steps, 1))).sum(axis=1)
    return int(apart.argmin()) + 1


def read_luma_table(path: Path) -> Steps | None:
    """Read the luma table (number 0) of a JPEG file, (64,); None for files that are not JPEG or lack it."""
    data = path.read_bytes()
    if data[:2] != bytes((0xFF, _START)):
        return None
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _SCAN:
            return None
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _TABLES and (table := _parse_table_zero(data[at + 4 : at + 2 + length])) is not None:
            return table
        at += 2 + length
    return None


def _parse_table_zero(body: bytes) -> Steps | None:
    while body:
        deep, number = body[0] >> 4, body[0] & 15
        size = 128 if deep else 64
        if len(body) < 1 + size:
            return None
        if number == 0:
            read = np.frombuffer(body[1 : 1 + size], ">u2" if deep else "u1").astype(np.int64)
            steps = np.empty(64, np.int64)
            steps[list(_list_zigzag())] = read
            return steps
        body = body[1 + size :]
    return None


@functools.cache
def _list_zigzag() -> tuple[int, ...]:
    """Positions of a file's table entries: along the diagonals, up and down in turn."""

    def order(place: int) -> tuple[int, int]:
        row, column = divmod(place, 8)
        return row + column, row if (row + column) % 2 else column

    return tuple(sorted(range(64), key=order))
