"""What was done in an output folder: one line of JSON for each step, so that a stopped batch can go on where it was.

A file is "begun" before anything is written and "done" when its output is in its place. The key of an entry is made
from the bytes of the input, the bytes of the weights and the settings, never from a name alone. A line that a crash cut
short is ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOURNAL_NAME = ".tessera-journal.jsonl"
_READ_BYTES = 2**20


@dataclass(frozen=True)
class Entry:
    """The last that is known of one output."""

    key: str
    done: bool
    bytes: int


class Journal:
    """The journal of one output folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_NAME
        self._folder = folder
        self._entries: dict[str, Entry] = {}
        with contextlib.suppress(OSError):
            for line in self._path.read_text("utf-8", "replace").splitlines():
                self._take(line)

    def is_done(self, output: Path, key: str) -> bool:
        """Whether this output was finished for this key and is still there in full."""
        entry = self._entries.get(self._name(output))
        if entry is None or not entry.done or entry.key != key:
            return False
        try:
            return output.stat().st_size == entry.bytes
        except OSError:
            return False

    def knows(self, output: Path) -> bool:
        """Whether this output was ever begun from here."""
        return self._name(output) in self._entries

    def begin(self, output: Path, key: str) -> None:
        """Note that this output is about to be written."""
        self._append(output, {"state": "begun", "key": key})

    def finish(self, output: Path, key: str) -> None:
        """Note that this output is in its place."""
        self._append(output, {"state": "done", "key": key, "bytes": output.stat().st_size})

    def _name(self, output: Path) -> str:
        return Path(os.path.relpath(output, self._folder)).as_posix()

    def _append(self, output: Path, record: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"output": self._name(output), **record}, ensure_ascii=True)
        # A line that a crash cut short must not swallow this one.
        data = (b"" if self._ends_whole() else b"\n") + line.encode() + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._take(line)

    def _ends_whole(self) -> bool:
        try:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except OSError:
            return True

    def _take(self, line: str) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            record = json.loads(line)
            done = record["state"] == "done"
            size = int(record["bytes"]) if done else -1
            self._entries[str(record["output"])] = Entry(str(record["key"]), done, size)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def key_of(*parts: str) -> str:
    """One key from all that decides an output."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
