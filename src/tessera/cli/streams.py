"""Standard streams that are closed, full or without a reader: the work continues, the exit code reports it."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO, Any, cast

_READER_GONE = 141
"""128 + SIGPIPE, as a shell reports it."""
_lost: dict[str, str] = {}
"""Streams that took no more output, with the reason."""


def open_streams() -> None:
    """Open closed standard streams on the null device, so that no file gets their number and prints do not fail.

    File names outside of the terminal's encoding are escaped from now on.
    """
    _lost.clear()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if not _is_open(number):
            _connect_to_null(number)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            cast(Any, stream).reconfigure(errors="backslashreplace")


def write_line(text: str, *, to_errors: bool = False) -> None:
    """Write a line to standard output, or to standard error, at once.

    A full disk is remembered for `close_streams`. Raises BrokenPipeError when the reader of standard output has gone.
    """
    name = "stderr" if to_errors else "stdout"
    if name in _lost:
        return
    try:
        print(text, file=getattr(sys, name), flush=True)
    except BrokenPipeError:
        if not to_errors:
            raise
        _lose(name, "")
    except (OSError, ValueError) as error:  # ValueError: closed meanwhile
        _lose(name, getattr(error, "strerror", None) or str(error))


def close_streams(code: int) -> int:
    """Flush what is left; return the exit code, which is not 0 if output was lost."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except BrokenPipeError:
            _lose(name, "")
            code = code or (_READER_GONE if name == "stdout" else 0)
        except (OSError, ValueError) as error:
            _lose(name, getattr(error, "strerror", None) or str(error))
    reason = _lost.get("stdout")
    if reason:
        write_line(f"tessera: standard output: {reason}; some lines are lost.", to_errors=True)
        code = code or 1
    return code


def leave_output() -> int:
    """Print nothing more, because the reader of standard output has gone; the exit code for this."""
    _lose("stdout", "")
    return _READER_GONE


def describe_system_error(error: OSError) -> str:
    """One sentence about an error of the operating system."""
    reason = error.strerror or str(error)
    if error.filename is None:
        return f"the operating system refused an operation: {reason}."
    return f"{os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else error.filename}: {reason}."


def _lose(name: str, reason: str) -> None:
    _lost.setdefault(name, reason)
    stream = cast(IO[str], getattr(sys, name))
    with contextlib.suppress(OSError, ValueError):  # what is still buffered would fail again at the end
        _connect_to_null(stream.fileno())
        stream.flush()


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _connect_to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
