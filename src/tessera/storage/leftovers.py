"""Unfinished files of killed runs: their names state the process that owns them (`tessera.storage.atomic`)."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tessera.storage.atomic import identify_machine, parse_owner

_OLD_SECONDS = 7 * 24 * 3600


def remove_leftovers(folder: Path, *, of_this_process: bool = False) -> None:
    """Delete unfinished files of killed runs (their process is gone), or of this one.

    Process numbers mean nothing for another machine that shares the folder: its leftovers go after a week.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            owner = parse_owner(entry.name)
            if owner is None:
                continue
            process, machine = owner
            with contextlib.suppress(OSError):
                if machine != identify_machine():
                    dead = time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_SECONDS
                else:
                    dead = (process == os.getpid() and of_this_process) or not _is_running(process)
                if dead:
                    Path(entry).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":  # os.kill(process, 0) would kill there; unfinished files stay until their picture is done
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
