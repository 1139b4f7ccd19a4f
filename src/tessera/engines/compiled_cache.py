"""Compiled models cached on disk, so that the next process need not compile them.

A file holds a magic line, the SHA-256 of the content, and the content as the compiler returned it. Its name is the
digest of everything that the compiled model depends on, so a file is never outdated; the least recently used ones are
removed to make room. The cache is optional: any disk error counts as a miss, and the model is compiled again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from tessera.errors import FileError
from tessera.machine import cache_folder
from tessera.storage.atomic import PART_MARK
from tessera.storage.files import read_bytes, replace_file
from tessera.storage.leftovers import remove_leftovers

MOST_BYTES = 2 * 2**30
_MAGIC = b"tessera compiled 1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_SUFFIX = ".compiled"
_MOST_READ_BYTES = 4 * 2**30


def get_compiled_folder() -> Path:
    """The folder of compiled models."""
    return cache_folder() / "compiled"


def build_compiled_key(facts: Mapping[str, str]) -> str:
    """The digest of everything that a compiled model depends on; the order of the facts does not count.

    >>> first, same = build_compiled_key({"a": "1", "b": "2"}), build_compiled_key({"b": "2", "a": "1"})
    >>> first == same != build_compiled_key({"a": "1b", "": "2"})
    True
    """
    digest = hashlib.sha256()
    for item in sorted(facts.items()):
        for word in item:
            encoded = word.encode()
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def read_compiled(key: str) -> memoryview | None:
    """The content cached under a key; None when it is missing or damaged."""
    path = _path(key)
    try:
        data = read_bytes(path, max_bytes=_MOST_READ_BYTES)
    except (FileError, OSError, MemoryError):
        return None
    start = len(_MAGIC) + _DIGEST_BYTES
    content = memoryview(data)[start:]
    # A truncated file must not reach the compiler, which trusts its input.
    if data[:start] != _MAGIC + hashlib.sha256(content).digest():
        remove_compiled(key)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # records the last use: many systems do not store access times
    return content


def write_compiled(key: str, content: bytes, most_bytes: int = MOST_BYTES) -> bool:
    """Cache a compiled model under a key, and remove the least recently used ones beyond `most_bytes` in total.

    Returns whether it was cached; a full or read-only disk is not an error.
    """
    if len(content) > most_bytes:
        return False
    path = _path(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as file:
            file.write(_MAGIC)
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        _make_room(path.parent, most_bytes)
    except OSError:
        return False
    return True


def remove_compiled(key: str) -> None:
    """Remove the content cached under a key, if the disk allows it."""
    with contextlib.suppress(OSError):
        _path(key).unlink(missing_ok=True)


def _make_room(folder: Path, most_bytes: int) -> None:
    remove_leftovers(folder)
    finished: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process may be removing files, too
            facts = path.stat()
            if path.suffix == _SUFFIX and PART_MARK not in path.name:
                finished.append((facts.st_mtime, facts.st_size, path))
    total = 0
    for _, size, path in sorted(finished, reverse=True):
        total += size
        if total > most_bytes:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _path(key: str) -> Path:
    return get_compiled_folder() / f"{key}{_SUFFIX}"
