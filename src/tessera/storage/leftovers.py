"""Temporary files and folders that killed processes left behind, found by the owner in their names.

`storage.atomic.choose_temporary_name` records process and machine in every temporary name, so a file in progress of a
process that still runs is never touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Generator
from pathlib import Path

from tessera.storage.atomic import identify_machine, parse_owner
from tessera.storage.files import hold_lock

LOCK_NAME = ".lock"
_OLD_SECONDS = 7 * 24 * 3600


@contextlib.contextmanager
def claim_folder(folder: Path, *inner: Path) -> Generator[None]:
    """Hold the lock of a folder, after temporary files of killed processes were removed from it and `inner`.

    Raises:
        BlockingIOError: another process holds the lock.
        FileError, OSError: the lock file cannot be opened, or is not a regular file.
    """
    with hold_lock(folder / LOCK_NAME) as is_locked:
        for each in (folder, *inner):
            remove_leftovers(each, of_every_process=is_locked)
        yield


def remove_leftovers(folder: Path, *, of_this_process: bool = False, of_every_process: bool = False) -> None:
    """Delete unfinished files and folders of killed processes in `folder`, not below it.

    Process numbers mean nothing to another machine that shares the folder: its leftovers are deleted after a week.

    Args:
        folder: a folder; nothing happens if it is missing.
        of_this_process: delete those of this process too.
        of_every_process: delete all, because the caller holds a lock that excludes other writers.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            owner = parse_owner(entry.name)
            if owner is None:
                continue
            process, machine = owner
            with contextlib.suppress(OSError):
                if of_every_process:
                    dead = True
                elif machine != identify_machine():
                    dead = time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_SECONDS
                else:
                    dead = (process == os.getpid() and of_this_process) or not _is_running(process)
                if not dead:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":  # os.kill(process, 0) would kill there; unfinished files stay until their file is done
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
