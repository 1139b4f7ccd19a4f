"""Small records in the cache folder, one JSON file each: written atomically, ignored if damaged.

Our own because keys are JSON and a record must be readable by people; a file's name is a digest of its key, and the key
is stored in it too, so that a misplaced file is not taken for another record.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tessera.errors import FileError
from tessera.machine import cache_folder
from tessera.storage.files import read_bytes, write_text

LARGEST_BYTES = 2**20

Key = Mapping[str, str | int | None]


def read_cached(folder: str, key: Key) -> Any | None:
    """Read the value stored for a key in a subfolder of the cache; None if absent or damaged."""
    try:
        record: Any = json.loads(read_bytes(_path(folder, key), max_bytes=LARGEST_BYTES))
    except (FileError, OSError, ValueError, RecursionError):
        return None
    return record.get("value") if isinstance(record, dict) and record.get("key") == dict(key) else None


def write_cached(folder: str, key: Key, value: Any) -> None:
    """Store a JSON value for a key; does nothing if it is larger than 1 MiB or cannot be written."""
    path = _path(folder, key)
    text = json.dumps({"key": dict(key), "value": value}, indent=1) + "\n"
    if len(text) > LARGEST_BYTES:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)


def remove_cached(folder: str, key: Key) -> None:
    """Remove the value stored for a key, if the disk allows it."""
    with contextlib.suppress(OSError):
        _path(folder, key).unlink(missing_ok=True)


def _path(folder: str, key: Key) -> Path:
    digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()
    return cache_folder() / folder / f"{digest[:32]}.json"
