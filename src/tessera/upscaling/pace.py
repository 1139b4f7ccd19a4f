"""The pace of a running picture, which corrects the expected seconds of later ones.

A plan is measured in a second or two with a small tile, on a machine that may be busy at that moment. The first
tiles of a real picture show the actual pace; it is stored in the plan, so that the next forecast starts from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tessera.planning.preparing import Ready
from tessera.upscaling.filejob import TileDone

LEAST_TILES = 3
"""Tiles after the first one that make a measurement: the first includes the start of the engine and of the decoder."""
LEAST_SECONDS = 1.0


class Pace:
    """Times the tiles of one picture; call it after each tile.

    `clock` returns seconds.
    """

    def __init__(self, on_tile: TileDone | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._on_tile, self._clock = on_tile, clock
        self._first: float | None = None
        self._last = 0.0
        self._tiles = 0

    def __call__(self, done: int, total: int, pixels: int) -> None:
        """Note that a tile is done."""
        now = self._clock()
        if self._first is None or done <= 1:  # also when the picture restarts with smaller tiles
            self._first, self._tiles = now, 0
        else:
            self._tiles += 1
        self._last = now
        if self._on_tile is not None:
            self._on_tile(done, total, pixels)

    def seconds_per_tile(self) -> float | None:
        """Mean seconds of a tile; None after too few of them."""
        seconds = 0.0 if self._first is None else self._last - self._first
        if self._tiles < LEAST_TILES or seconds < LEAST_SECONDS:
            return None
        return seconds / self._tiles

    def correct(self, ready: Ready, *, side: int, runs: int = 1) -> None:
        """Correct the plan of a picture that is done: tiles of `side` squared pixels, each run `runs` times."""
        seconds, choice = self.seconds_per_tile(), ready.choice
        if seconds is None or choice is None or ready.planner is None or not choice.candidate.timings:
            return
        planned = choice.candidate.seconds_per_megapixel(side) * side**2 / 1e6 * runs
        ready.planner.note_pace(choice.candidate, seconds / planned)
