"""Signs of life without a terminal: a line on standard error at regular intervals while a command works."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable

from tessera.cli import print_error

PIPE_SECONDS = 9.0
LOG_SECONDS = 28.0
"""The promise is a line at least every 10 s on a pipe and every 30 s in a log file."""


def choose_interval() -> float:
    """Seconds between two lines: longer where standard error is a regular file."""
    try:
        is_log = stat.S_ISREG(os.fstat(sys.stderr.fileno()).st_mode)
    except (OSError, ValueError):
        is_log = False
    return LOG_SECONDS if is_log else PIPE_SECONDS


class Heartbeat:
    """Prints what `describe` returns, in a thread, until it is stopped; an empty text prints nothing.

    Args:
        describe: What is done and what is left, in one line.
        seconds: The interval; None chooses it by what standard error is.
    """

    def __init__(self, describe: Callable[[], str], seconds: float | None = None) -> None:
        self._describe = describe
        self._seconds = choose_interval() if seconds is None else seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tessera heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to print."""
        self._thread.start()

    def stop(self) -> None:
        """Print nothing more."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            line = self._describe()
            if line:
                print_error(line)
