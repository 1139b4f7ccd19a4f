"""Signals that stop a run: the first after the current tile, the second at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

import typer

from tessera.cli import print_error
from tessera.tiling.prefetch import is_at_work


class Stop:
    """Handles SIGINT and SIGTERM: KeyboardInterrupt at once, or, within `patiently`, a flag that the batch polls."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._patient = False

    @contextmanager
    def patiently(self) -> Generator[None]:
        """Let the current tile finish; a second signal interrupts it."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def __call__(self, number: int, frame: object) -> None:
        """Handle a signal."""
        again, self.number = self.number is not None, number
        if again or not self._patient:
            raise KeyboardInterrupt
        with contextlib.suppress(OSError):
            os.write(2, b"\ntessera: stopping after this tile; a second signal stops at once.\n")


@contextmanager
def stop_signals() -> Generator[Stop]:
    """Handle SIGINT and SIGTERM inside (a signal ignored by the parent process stays ignored)."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    taken = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in taken:
        signal.signal(number, stop)
    try:
        yield stop
    except KeyboardInterrupt:
        print_error("stopped; run the same command again to resume.")
        leave(128 + (stop.number or signal.SIGINT))
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


def leave(code: int) -> NoReturn:
    """Exit with this code, without waiting for a tile that is still running."""
    if is_at_work():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise typer.Exit(code)
