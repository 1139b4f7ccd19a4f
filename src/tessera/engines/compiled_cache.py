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

from tessera.machine import cache_folder
from tessera.storage.atomic import PART_MARK, choose_temporary_name, put_in_place

MOST_BYTES = 2 * 2**30
_MAGIC = b"tessera compiled 1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_SUFFIX = ".compiled"
_FORSAKEN_SECONDS = 24 * 3600


def compiled_folder() -> Path:
    """The folder of compiled models."""
    return cache_folder() / "compiled"


def compiled_key(facts: Mapping[str, str]) -> str:
    """The digest of everything that a compiled model depends on; the order of the facts does not count.

    >>> compiled_key({"a": "1", "b": "2"}) == compiled_key({"b": "2", "a": "1"}) != compiled_key({"a": "1b", "": "2"})
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
        data = path.read_bytes()
    except (OSError, MemoryError):
        return None
    start = len(_MAGIC) + _DIGEST_BYTES
    content = memoryview(data)[start:]
    # A truncated file must not reach the compiler, which trusts its input.
    if data[:start] != _MAGIC + hashlib.sha256(content).digest():
        forget_compiled(key)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # records the last use: many systems do not store access times
    return content


def keep_compiled(key: str, content: bytes, most_bytes: int = MOST_BYTES) -> bool:
    """Cache a compiled model under a key, and remove the least recently used ones beyond `most_bytes` in total.

    Returns whether it was cached; a full or read-only disk is not an error.
    """
    if len(content) > most_bytes:
        return False
    path = _path(key)
    temporary = choose_temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(_MAGIC)
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        put_in_place(temporary, path)
        _make_room(path.parent, most_bytes)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def forget_compiled(key: str) -> None:
    """Remove the content cached under a key, if the disk allows it."""
    with contextlib.suppress(OSError):
        _path(key).unlink(missing_ok=True)


def _make_room(folder: Path, most_bytes: int) -> None:
    kept: list[tuple[float, int, Path]] = []
    newest = 0.0
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process may be removing files, too
            facts = path.stat()
            newest = max(newest, facts.st_mtime)
            if path.suffix == _SUFFIX:
                kept.append((facts.st_mtime, facts.st_size, path))
    for age, _, path in kept:
        if PART_MARK in path.name and newest - age > _FORSAKEN_SECONDS:  # left by a killed process
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    finished = sorted((item for item in kept if PART_MARK not in item[2].name), reverse=True)
    total = 0
    for _, size, path in finished:
        total += size
        if total > most_bytes:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _path(key: str) -> Path:
    return compiled_folder() / f"{key}{_SUFFIX}"
