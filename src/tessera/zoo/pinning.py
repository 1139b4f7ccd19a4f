"""Checksums of files whose publisher states none.

The first answer of a server may be a login page or an error. So a file is pinned only after it was read as the network
that it should be: its SHA-256 is written next to it, in the format of `sha256sum -c`, and required from then on.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from tessera.errors import DownloadError
from tessera.storage.files import read_bytes, write_text

_MOST_BYTES = 4096


def pin_path(path: Path) -> Path:
    """The file with the pinned checksum of a file."""
    return path.with_name(f"{path.name}.sha256")


def read_pin(path: Path) -> frozenset[str]:
    """Read the pinned checksum of a file; empty if there is none.

    Raises DownloadError when the file with the checksum holds anything else.
    """
    try:
        text = read_bytes(pin_path(path), max_bytes=_MOST_BYTES)
    except OSError:
        return frozenset()
    match = re.match(rb"\s*([0-9a-fA-F]{64})\b", text)
    if match is None:
        raise DownloadError(
            f"{pin_path(path)}: expected the SHA-256 of {path.name}. Delete it to accept the file as it is."
        )
    return frozenset({match[1].decode().lower()})


def write_pin(path: Path, digest: str) -> None:
    """Pin the checksum of a file; does nothing in a read-only folder, so that a shared one still works."""
    with contextlib.suppress(OSError):
        write_text(pin_path(path), f"{digest}  {path.name}\n")
