"""Files that Tessera writes and reads back in folders that others may have prepared.

A folder can come out of an archive, so any name in it may be a link to a file elsewhere, a FIFO, a device or 3 GB of
text. Whole files are written under a new temporary name and renamed, which replaces a link and leaves its target alone.
Files that grow (journals, logs, locks) are opened without following links and only if they are regular files with a
single name. Reading back is bounded. `tests/test_architecture.py` keeps other ways of writing out of the package.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import IO

from tessera.errors import FileError
from tessera.libraries import import_library
from tessera.storage.atomic import choose_temporary_name, put_in_place

_BINARY: int = getattr(os, "O_BINARY", 0)
_CAREFULLY: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | _BINARY
"""Do not follow a link in the last part of the path, and do not wait for the other end of a FIFO."""


def resolve_parents(path: Path) -> Path:
    """A path without `..`, decided now.

    `new/../a.png` does not exist while `new` is missing, and is `a.png` once `new` was created; a check before and a
    file written afterwards would mean different places.
    """
    return Path(os.path.realpath(path)) if ".." in path.parts else path


@contextlib.contextmanager
def replace_file(path: Path, *, mode: int = 0o666) -> Generator[IO[bytes]]:
    """Write a file under a temporary name next to its place; rename it when the block ends without an error.

    Args:
        path: where the finished file belongs. A link there is replaced, its target stays.
        mode: the permissions of a new file, before the umask.

    Yields:
        The temporary file, open for binary writing and seeking.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full. Nothing is left behind then.
    """
    temporary = choose_temporary_name(path)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _CAREFULLY, mode)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
        put_in_place(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Put a file of these bytes in place, whole or not at all. Raises OSError."""
    with replace_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str, *, encoding: str = "utf-8", errors: str = "strict") -> None:
    """Put a text file in place, whole or not at all, with the line ends as they are. Raises OSError, UnicodeError."""
    write_bytes(path, text.encode(encoding, errors))


def open_for_appending(path: Path, *, max_bytes: int) -> int:
    """Open a file that grows by whole records, or create it: give a descriptor that appends.

    Args:
        path: a regular file with one name; missing is fine.
        max_bytes: the size above which the file is refused.

    Returns:
        A file descriptor, for `os.write` and `os.close`.

    Raises:
        FileError: a link, a second name of another file, a FIFO, a device or a file above `max_bytes` is there.
        OSError: the folder is missing or not writable.
    """
    return _open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, max_bytes)


def open_for_reading(path: Path, *, max_bytes: int) -> int:
    """Open a regular file of bounded size, without following a link: give a descriptor. Raises as `read_bytes` does."""
    return _open_regular(path, os.O_RDONLY, max_bytes, single_name=False)


def append_bytes(path: Path, data: bytes, *, max_bytes: int) -> None:
    """Append a whole record to a file that grows. Raises FileError and OSError as `open_for_appending`."""
    descriptor = open_for_appending(path, max_bytes=max_bytes)
    try:
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)


def open_lock(path: Path) -> int:
    """Open or create a lock file: give a descriptor for reading and writing. Raises FileError and OSError as above."""
    return _open_regular(path, os.O_RDWR | os.O_CREAT, 1 << 20)


@contextlib.contextmanager
def hold_lock(path: Path) -> Generator[bool]:
    """Hold a lock file against other processes; yields whether the system and the file system support locks.

    Raises:
        BlockingIOError: another process holds the lock.
        FileError, OSError: as `open_lock`.
    """
    try:
        locks = import_library("fcntl")
    except ModuleNotFoundError:  # on Windows
        yield False
        return
    descriptor = open_lock(path)
    try:
        is_locked = True
        try:
            locks.flock(descriptor, locks.LOCK_EX | locks.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            is_locked = False
        yield is_locked
    finally:
        os.close(descriptor)


def write_to_device(path: Path, data: bytes) -> None:
    """Write to a device or a FIFO that the user named and that has a reader.

    Raises:
        FileError: a regular file or a folder is there.
        OSError: it cannot be opened; the FIFO has no reader.
    """
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | _BINARY)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileError(f"{path}: expected a device or a FIFO, found a regular file.")
        if hasattr(os, "set_blocking"):
            os.set_blocking(descriptor, True)
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)


def read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Read a regular file of bounded size, without following a link.

    Raises:
        FileError: a link, a FIFO, a device or a file above `max_bytes` is there.
        OSError: the file is missing or not readable.
    """
    with os.fdopen(open_for_reading(path, max_bytes=max_bytes), "rb") as file:
        return file.read(max_bytes)


def _open_regular(path: Path, flags: int, max_bytes: int, *, single_name: bool = True) -> int:
    if not getattr(os, "O_NOFOLLOW", 0) and path.is_symlink():  # Windows
        raise _make_error(path, "a link")
    try:
        descriptor = os.open(path, flags | _CAREFULLY, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _make_error(path, "a link") from None
        if error.errno == errno.ENXIO:  # a FIFO without a reader, or a socket
            raise _make_error(path, "not a regular file") from None
        raise
    try:
        _check_regular(path, os.fstat(descriptor), max_bytes, single_name=single_name)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: Path, found: os.stat_result, max_bytes: int, *, single_name: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _make_error(path, "not a regular file")
    if single_name and found.st_nlink > 1:
        raise _make_error(path, "a second name (hard link) of another file")
    if found.st_size > max_bytes:
        raise FileError(
            f"{path}: expected at most {max_bytes:,} bytes, found {found.st_size:,}. Delete or move this file."
        )


def _make_error(path: Path, what: str) -> FileError:
    return FileError(f"{path}: expected a regular file, found {what}. Delete it, or use another folder.")


def check_inside(path: Path, folder: Path) -> None:
    """Refuse a place that leads out of a folder by way of a linked subfolder.

    The folder itself may be a link: the user named it. Raises FileError.
    """
    root, parent = Path(os.path.realpath(folder)), Path(os.path.realpath(path.parent))
    if parent != root and root not in parent.parents:
        raise FileError(f"{path}: a linked subfolder leads out of {folder}, to {parent}. Delete the link.")


def _write_all(descriptor: int, data: bytes) -> None:
    """Write until nothing is left: a single call may write a part."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
