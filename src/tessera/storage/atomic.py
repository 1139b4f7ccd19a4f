"""Atomic writes: a file is written under a temporary name, flushed to the disk, then renamed to its place.

Our own because the temporary name records the owner, so that leftovers of a killed run can be told from files in
progress, also where two machines (or two containers with the same process numbers) share a folder.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import socket
from pathlib import Path

PART_MARK = ".tessera-part"
_PART = re.compile(re.escape(PART_MARK) + r"(\d+)(?:-([0-9a-f]{8})-)?")


@functools.cache
def identify_machine() -> str:
    """Return 8 hex digits for this machine since its start and this container: the scope of process numbers."""
    known = [socket.gethostname()]
    with contextlib.suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with contextlib.suppress(OSError):
        known.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return hashlib.sha256("\n".join(known).encode(errors="surrogateescape")).hexdigest()[:8]


def choose_temporary_name(path: Path) -> Path:
    """Make a hidden name next to `path`, with the same extension, that no other process or machine chooses."""
    # 40 letters take at most 160 bytes, of the 255 that a name may have
    owner = f"{os.getpid()}-{identify_machine()}-{secrets.token_hex(6)}"
    stem = path.stem.partition(PART_MARK)[0][:40]  # of a temporary name itself, too, so that its owner stays readable
    return path.with_name(f".{stem}{PART_MARK}{owner}{path.suffix}")


def parse_owner(name: str) -> tuple[int, str] | None:
    """Parse the process and machine that own a temporary name ("" if not recorded); None for other names.

    >>> parse_owner(".a.tessera-part77-0123abcd-5f5f5f5f5f5f.png")
    (77, '0123abcd')
    >>> parse_owner("a.png") is None
    True
    """
    found = _PART.search(name) if name.startswith(".") else None
    return None if found is None else (int(found[1]), found[2] or "")


def put_in_place(temporary: Path, path: Path) -> None:
    """Flush a finished file to the disk and rename it to its place, replacing an existing file."""
    descriptor = os.open(temporary, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder, so that renames in it survive a power cut, where the system supports it."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # some network file systems refuse; the file itself is flushed
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
