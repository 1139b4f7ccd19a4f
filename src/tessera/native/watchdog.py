"""The thread in C that ends a process which does not react to signals, because native code keeps the interpreter.

Not in `library`, because every command uses it, and `library` imports NumPy.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_LIBRARY = Path(__file__).with_name(f"libtessera_kernels.{'dylib' if sys.platform == 'darwin' else 'so'}")


def watch_signals_natively(descriptor: int, seconds: int) -> bool:
    """Start the thread; it closes `descriptor` when the writing end of the pipe is closed.

    Args:
        descriptor: The reading end of a pipe that receives the numbers of signals (`signal.set_wakeup_fd`).
        seconds: The time that the process has left after the second SIGINT or SIGTERM.

    Returns:
        Whether it was started: not without the kernels, or with those of an earlier version.
    """
    try:
        return ctypes.CDLL(str(_LIBRARY)).tk_watch_signals(descriptor, seconds) == 0
    except (OSError, AttributeError):
        return False
