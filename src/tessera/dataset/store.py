"""LMDB stores as BasicSR makes them: encoded pictures under their names, and meta_info.txt beside the data."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any

from tessera.errors import PictureError, UsageError
from tessera.libraries import import_library

_LINE = re.compile(r"^(?P<key>.+?)(?:\.\w{2,5})?\s+\(\d+,\s*\d+(?:,\s*\d+)?\)(?:\s+\d+)?\s*$")


def is_store(path: Path) -> bool:
    """Whether a folder is an LMDB store."""
    return (path / "data.mdb").is_file()


def store_keys(folder: Path) -> list[str]:
    """The names of the pictures in a store, sorted, from its meta_info.txt or, without one, from the store itself.

    Raises UsageError when it lists none, PictureError when it cannot be opened.
    """
    listing = folder / "meta_info.txt"
    if listing.is_file():
        keys = [_key_of_line(line) for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    else:
        with _environment(str(folder)).begin() as transaction:
            keys = [bytes(key).decode(errors="surrogateescape") for key in transaction.cursor().iternext(values=False)]
    if not keys:
        raise UsageError(f"{folder}: this store holds no pictures.")
    return sorted(keys)


def stored_bytes(folder: str, key: str) -> bytes:
    """The encoded picture under a key. Raises PictureError when there is none."""
    with _environment(folder).begin(write=False) as transaction:
        value = transaction.get(key.encode(errors="surrogateescape"))
    if value is None:
        raise PictureError(f"{folder}: holds no picture called {key}, which its meta_info.txt lists.")
    return bytes(value)


def _key_of_line(line: str) -> str:
    """The key in a line of meta_info.txt.

    >>> _key_of_line("0001_s001.png (480,480,3) 1"), _key_of_line("my.holiday.png (8,8,3) 1"), _key_of_line("plain.png")
    ('0001_s001', 'my.holiday', 'plain')
    """
    found = _LINE.match(line)
    return found["key"] if found is not None else re.sub(r"\.\w{2,5}$", "", line.strip())


@functools.lru_cache(maxsize=64)
def _environment(folder: str) -> Any:
    """The opened store: one for each process, because LMDB's handles do not survive a fork."""
    lmdb = import_lmdb(folder)
    try:
        return lmdb.open(folder, readonly=True, lock=False, readahead=False, meminit=False)
    except lmdb.Error as error:
        raise PictureError(f"{folder}: this LMDB store cannot be opened: {error}.") from None


def import_lmdb(folder: str | os.PathLike[str]) -> Any:
    """Import the library that reads and writes stores. Raises UsageError with the command that installs it."""
    try:
        return import_library("lmdb")
    except ImportError:
        raise UsageError(f'{folder}: LMDB stores need lmdb: pip install "tessera-sr[train]".') from None
