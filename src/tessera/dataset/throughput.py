"""Whether data loading or computation limits the speed of a training run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator

_CLEARLY = 0.15
"""The share of the time that waiting must have before the data is said to limit."""


class ThroughputMeter:
    """Adds up the seconds of waiting for batches and of computing with them; `clock` gives seconds.

    On a CUDA device, wait for it within `computing`: what it has not finished would count as nobody's time.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.waiting_seconds = 0.0
        self.computing_seconds = 0.0
        self.samples = 0

    @contextlib.contextmanager
    def waiting(self) -> Generator[None]:
        """The time until the next batch is there."""
        start = self._clock()
        yield
        self.waiting_seconds += self._clock() - start

    @contextlib.contextmanager
    def computing(self, samples: int) -> Generator[None]:
        """The time of a step with so many samples."""
        start = self._clock()
        yield
        self.computing_seconds += self._clock() - start
        self.samples += samples

    @property
    def waiting_share(self) -> float:
        """The part of the time that was spent waiting, in [0, 1]."""
        seconds = self.waiting_seconds + self.computing_seconds
        return self.waiting_seconds / seconds if seconds > 0 else 0.0

    def sentence(self, *, workers: int, cores: int, cached: bool) -> str:
        """What limits the speed, in numbers, and what would help."""
        seconds = self.waiting_seconds + self.computing_seconds
        if not self.samples or seconds <= 0:
            return "Throughput: not measured yet."
        said = f"{self.samples / seconds:.1f} crops per second, {self.waiting_share:.0%} of the time waiting for data"
        if self.waiting_share < _CLEARLY:
            return f"{said}: limited by computation; more workers would not help."
        ways = [f"more workers ({workers} now, {cores} cores)"] if workers < cores else []
        ways += [] if cached else ["cache = disk, which decodes each picture once"]
        ways += ["smaller pictures (`tessera data crops`)"]
        return f"{said}: limited by data loading. To speed up: {', or '.join(ways)}."
