"""Journal of an output folder, a JSON line per step, from which a stopped batch is resumed.

An output is "begun" before anything is written and "done" when the finished file is in place. The key of an entry is
computed from the bytes of the input, the bytes of the weights and the settings, never from names alone. An output is
unchanged if its size and time match or, after it was copied or touched, its SHA-256. Each line is appended by a single
write, so several processes can share a journal; a line truncated by a crash is ignored.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.storage.checksum import compute_sha256

JOURNAL_NAME = ".tessera-journal.jsonl"


@dataclass(frozen=True)
class Entry:
    """The latest state of one output."""

    key: str
    done: bool
    bytes: int
    source: str
    """The input picture, as a path relative to the journal's folder."""
    mtime_ns: int = -1
    sha256: str = ""
    """Empty in lines of older versions; only the size of those outputs is compared."""


class Journal:
    """The journal of one output folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / JOURNAL_NAME
        self._real_folder = os.path.realpath(folder)
        self._entries: dict[str, Entry] = {}
        self._bytes_read = 0
        self._seen: tuple[int, int, int, int] | None = None
        """Device, inode, size and time of the journal when it was last read."""
        self.refresh()

    @property
    def outputs(self) -> frozenset[str]:
        """Every output ever begun, as paths relative to the journal's folder."""
        return frozenset(self._entries)

    def refresh(self) -> None:
        """Read the complete lines appended since the last call, by this process or another."""
        with contextlib.suppress(OSError):
            if _identity(os.stat(self._path)) == self._seen:  # noqa: PTH116 - asked for every file
                return
            with self._path.open("rb") as file:
                seen = _identity(os.fstat(file.fileno()))
                if self._seen is None or seen[:2] != self._seen[:2] or seen[2] < self._bytes_read:
                    self._bytes_read = 0
                file.seek(self._bytes_read)
                whole, newline, _ = file.read().rpartition(b"\n")
                self._bytes_read += len(whole) + len(newline)
                self._seen = seen
            for line in whole.split(b"\n"):
                self._take(line)

    def is_done(self, output: Path, key: str) -> bool:
        """Whether this output was finished for this key and its file is unchanged.

        Size and time are compared; the checksum only if the time differs, as in a copied folder.
        """
        self.refresh()
        entry = self._entries.get(self._name(output))
        if entry is None or not entry.done or entry.key != key:
            return False
        try:
            found = output.stat()
            if found.st_size != entry.bytes or not stat.S_ISREG(found.st_mode):
                return False
            return not entry.sha256 or found.st_mtime_ns == entry.mtime_ns or compute_sha256(output) == entry.sha256
        except OSError:
            return False

    def source_of(self, output: Path) -> str | None:
        """The input of an output, as a path relative to the journal's folder; None if it was never begun."""
        entry = self._entries.get(self._name(output))
        return entry.source if entry is not None else None

    def path_from_here(self, source: Path) -> str:
        """A source's path as `source_of` returns it; links in its folder are resolved, so that a file has one name."""
        real = os.path.join(os.path.realpath(source.parent), source.name)  # noqa: PTH118 - thousands of these
        try:
            return Path(os.path.relpath(real, self._real_folder)).as_posix()
        except ValueError:  # another drive
            return Path(real).as_posix()

    def begin(self, output: Path, key: str, source: Path) -> None:
        """Record that this output is about to be written. Raises OSError if the journal cannot be written."""
        self._append(output, {"state": "begun", "key": key, "input": self.path_from_here(source)})

    def finish(self, output: Path, key: str) -> None:
        """Record that this output is in place. Raises OSError if the journal cannot be written.

        If another process has begun the same output for another key meanwhile, the owner of the file is unknown: it
        counts as begun, and the next run processes it again.
        """
        self.refresh()
        last = self._entries.get(self._name(output))
        if last is not None and last.key == key:
            self._append(output, {"state": "done", "key": key, **_description(output), "input": last.source})
        else:
            self._append(output, {"state": "begun", "key": key, "input": last.source if last is not None else ""})

    def _name(self, output: Path) -> str:
        return Path(os.path.relpath(output, self.folder)).as_posix()

    def _append(self, output: Path, record: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"output": self._name(output), **record}, ensure_ascii=True)
        # A line truncated by a crash must not merge with this one.
        data = (b"" if self._ends_whole() else b"\n") + line.encode() + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.refresh()

    def _ends_whole(self) -> bool:
        try:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except OSError:
            return True

    def _take(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, OverflowError):
            record = json.loads(line)
            name, key, source = str(record["output"]), str(record["key"]), str(record.get("input", ""))
            if record["state"] != "done":
                self._entries[name] = Entry(key, False, -1, source)
                return
            size, mtime, digest = int(record["bytes"]), int(record.get("mtime_ns", -1)), str(record.get("sha256", ""))
            self._entries[name] = Entry(key, True, size, source, mtime, digest)


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _description(output: Path) -> dict[str, Any]:
    """Size, time and checksum of the output, read from one open file, even if it is replaced meanwhile."""
    with output.open("rb") as file:
        found = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": digest}


def key_of(*parts: str) -> str:
    """Hash everything that determines an output into one key."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
