"""Watchdog: ends the process a few seconds after the second Ctrl-C or SIGTERM, whatever runs.

Python's handlers run between two instructions of its main thread, so not while native code keeps that thread. The
signal's number still arrives in the wake-up pipe, and a thread reads it there: one in C, which does not need the
interpreter's lock, or one of Python where the kernels are not built, which works unless native code keeps the lock.
Outputs get their names by renaming, so the end of the process leaves no incomplete file under a final name.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from tessera.native.watchdog import watch_signals_natively

GRACE_SECONDS = 4
"""From the second signal to the end of the process; the promise is 5 seconds."""
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_MESSAGE = b"\ntessera: ended, because the work did not stop. Run the same command again to resume.\n"


@contextmanager
def watch_signals(*, natively: bool = True) -> Generator[None]:
    """Watch the signals that arrive inside; only in the main thread of a POSIX system, elsewhere without effect.

    Args:
        natively: Use the thread in C where it is available.
    """
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: _forget(writing))
    if not (natively and watch_signals_natively(reading, GRACE_SECONDS)):
        threading.Thread(target=_watch, args=(reading,), name="tessera watchdog", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)


def _forget(writing: int) -> None:
    """In a forked process, whose signals are not its parent's: do not write to the parent's pipe."""
    with contextlib.suppress(ValueError, OSError):
        found = signal.set_wakeup_fd(-1)
        if found != writing:
            signal.set_wakeup_fd(found)


def _watch(reading: int) -> None:
    number = _read_request(reading) and _read_request(reading)
    if number:
        end = time.monotonic() + GRACE_SECONDS
        while (left := end - time.monotonic()) > 0:
            if select.select([reading], [], [], left)[0] and not os.read(reading, 1):
                break
        else:
            os.write(2, _MESSAGE)
            os._exit(128 + number)
    os.close(reading)


def _read_request(reading: int) -> int:
    """The number of the next signal that asks to stop; 0 when the pipe was closed."""
    while byte := os.read(reading, 1):
        if byte[0] in _STOPPING:
            return byte[0]
    return 0
