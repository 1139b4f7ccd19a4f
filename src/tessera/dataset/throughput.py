"""Whether data loading or computation limits the speed of a training run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator

_CLEARLY = 0.15
"""Share of waiting time above which data loading is the limit."""


class ThroughputMeter:
    """Sums the time spent waiting for batches and computing; `clock` returns seconds.

    On a CUDA device, synchronize within `measure_computing`; otherwise unfinished work is not counted.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.waiting_seconds = 0.0
        self.computing_seconds = 0.0
        self.samples = 0

    @contextlib.contextmanager
    def measure_waiting(self) -> Generator[None]:
        """Measure the time until the next batch arrives."""
        start = self._clock()
        yield
        self.waiting_seconds += self._clock() - start

    @contextlib.contextmanager
    def measure_computing(self, samples: int) -> Generator[None]:
        """Measure the time of a step on `samples` samples."""
        start = self._clock()
        yield
        self.computing_seconds += self._clock() - start
        self.samples += samples

    @property
    def waiting_share(self) -> float:
        """Share of the time spent waiting, in [0, 1]."""
        seconds = self.waiting_seconds + self.computing_seconds
        return self.waiting_seconds / seconds if seconds > 0 else 0.0

    def describe(self, *, workers: int, cores: int, cached: bool) -> str:
        """Describe the throughput, its limit, and ways to improve it."""
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
