"""The progress of a training run on standard error: a bar on a terminal, lines elsewhere.

Without a terminal, a line appears at least every 10 s on a pipe and every 30 s in a file, also while pictures are
listed, weights are downloaded or a step takes longer, so that a reader sees that the run is alive and what is left.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from typing import Any

from tessera.cli import make_printable, print_error
from tessera.cli.heartbeat import choose_interval
from tessera.cli.options import show_options
from tessera.cli.progress import duration

_RATE_STEPS = 50
"""The rate is the mean over this many steps, so that the time left follows a changing speed."""


class TrainingDisplay:
    """A progress bar on a terminal, and lines otherwise; a context manager.

    Args:
        every: steps between lines without a terminal.
        quiet: show nothing.
        interval: longest time between lines, in seconds; None chooses by the kind of standard error.
    """

    def __init__(self, *, every: int, quiet: bool, interval: float | None = None) -> None:
        self._quiet = quiet
        self._every = every
        self._interval = interval
        self._bar: Any = None
        self._task: Any = None
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = self._last_line = time.monotonic()
        self._times: deque[tuple[int, float]] = deque(maxlen=_RATE_STEPS + 1)
        """The last steps, each with the time when it was finished."""
        self._status = ""

    def __enter__(self) -> TrainingDisplay:
        if self._quiet:
            return self
        if sys.stderr.isatty():
            self._start_bar()
            return self
        if self._interval is None:
            self._interval = choose_interval()
        self._thread = threading.Thread(target=self._print_regularly, daemon=True, name="progress")
        self._thread.start()
        return self

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        if self._thread is not None:
            self._thread.join()
        if self._bar is not None:
            self._bar.stop()

    def show_message(self, sentence: str) -> None:
        """Print a message above the progress bar."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(make_printable(show_options(sentence)), highlight=False, markup=False)
            return
        with self._lock:
            print_error(show_options(sentence))
            self._last_line = time.monotonic()

    def show_start(self, step: int, steps: int) -> None:
        """Say in the next lines that the first batch is awaited."""
        with self._lock:
            self._status = f"step {step:,} of {steps:,}: waiting for the first pictures"

    def show_step(self, step: int, steps: int, values: dict[str, float]) -> None:
        """Show the losses of a finished step."""
        if self._quiet:
            return
        losses = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if "gradient" not in name)
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(losses, total=steps)
            self._bar.update(self._task, completed=step, description=losses)
            return
        now = time.monotonic()
        with self._lock:
            if self._times and step <= self._times[-1][0]:  # rolled back
                self._times.clear()
            self._times.append((step, now))
            self._status = f"step {step:,} of {steps:,}  {losses}{self._describe_rate(step, steps)}"
            if step % self._every == 0 or step == steps or now - self._last_line >= (self._interval or 0):
                self._print(self._status)

    def _describe_rate(self, step: int, steps: int) -> str:
        (first, then), (_, now) = self._times[0], self._times[-1]
        if step <= first or now <= then:
            return ""
        rate = (step - first) / (now - then)
        left = f", {duration((steps - step) / rate)} left" if step < steps else ""
        return f"  {rate:.2f} steps/s{left}"

    def _print_regularly(self) -> None:
        """Repeat the status after each interval without a line."""
        assert self._interval is not None
        while True:
            with self._lock:
                wait = self._last_line + self._interval - time.monotonic()
                if wait <= 0:
                    since = duration(time.monotonic() - self._began)
                    self._print(f"{self._status or 'preparing'}  ({since} so far)")
                    wait = self._interval
            if self._finished.wait(wait):
                return

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        self._last_line = time.monotonic()
