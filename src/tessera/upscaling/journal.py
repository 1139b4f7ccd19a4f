"""Journal of an output folder, a JSON line per step, from which a stopped batch is resumed.

An output is "begun" before anything is written, and "done" just before the finished file is renamed to its place. A
journal may come out of an archive, so its lines are hints, not facts: a line counts only for a file that has the size
and SHA-256 that it states. The key of an entry is computed from the bytes of the input, the bytes of the weights and
the settings, never from names alone. Each line is appended by a single write, so several processes can share a journal;
a line truncated by a crash is ignored.
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
from tessera.storage.files import open_for_appending, open_for_reading

JOURNAL_NAME = ".tessera-journal.jsonl"
MAX_JOURNAL_BYTES = 1 << 27
"""About 200,000 pictures."""
_MAX_LINE_BYTES = 1 << 16
_MAX_DESCRIPTION = 300


@dataclass(frozen=True)
class Job:
    """One picture with everything that determines its output."""

    key: str
    """Digest of the input's bytes and of `setup`."""
    setup: str
    """Digest of the weights, the settings and the output's name."""
    description: str
    """The model and the settings for people."""


@dataclass(frozen=True)
class JournalEntry:
    """A finished output, as a line of the journal states it."""

    key: str
    setup: str
    description: str
    bytes: int
    sha256: str
    source: str
    """The input picture, as a path relative to the journal's folder."""
    mtime_ns: int = -1


class Journal:
    """The journal of one output folder.

    Raises:
        FileError: A link, a FIFO, a device or a file above `MAX_JOURNAL_BYTES` has its name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / JOURNAL_NAME
        self._real_folder = os.path.realpath(folder)
        self._entries: dict[str, dict[str, JournalEntry]] = {}
        """The finished outputs by name, then by key: another process may be about to rename either file."""
        self._bytes_read = 0
        self._seen: tuple[int, int, int, int] | None = None
        """Device, inode, size and time of the journal when it was last read."""
        self.refresh()

    @property
    def outputs(self) -> frozenset[str]:
        """Every output that lines describe, as paths relative to the journal's folder."""
        return frozenset(self._entries)

    def refresh(self) -> None:
        """Read the complete lines appended since the last call, by this process or another. Raises FileError."""
        with contextlib.suppress(OSError):
            if _identity(os.lstat(self._path)) == self._seen:
                return
            with os.fdopen(open_for_reading(self._path, max_bytes=MAX_JOURNAL_BYTES), "rb") as file:
                seen = _identity(os.fstat(file.fileno()))
                if self._seen is None or seen[:2] != self._seen[:2] or seen[2] < self._bytes_read:
                    self._bytes_read = 0
                file.seek(self._bytes_read)
                whole, newline, _ = file.read(MAX_JOURNAL_BYTES).rpartition(b"\n")
                self._bytes_read += len(whole) + len(newline)
                self._seen = seen
            for line in whole.split(b"\n"):
                self._take(line)

    def is_done(self, output: Path, key: str) -> bool:
        """Whether this output was finished for this key and its file is unchanged.

        Size and time are compared; the checksum only if the time differs, as in a copied folder.
        """
        self.refresh()
        entry = self._entries.get(self._name(output), {}).get(key)
        return entry is not None and _is_unchanged(output, entry)

    def has_output(self, name: str) -> bool:
        """Whether one of `outputs` is still the file that a line describes; compared as by `is_done`."""
        return any(_is_unchanged(self.folder / name, entry) for entry in self._entries.get(name, {}).values())

    def find_origin(self, output: Path) -> JournalEntry | None:
        """The latest entry whose size and checksum are those of the file; None if no line describes this file."""
        self.refresh()
        entries = self._entries.get(self._name(output))
        if not entries:
            return None
        try:
            found = output.lstat()
            alike = [entry for entry in entries.values() if entry.bytes == found.st_size]
            if not alike or not stat.S_ISREG(found.st_mode):
                return None
            digest = compute_sha256(output)
        except OSError:
            return None
        return next((entry for entry in reversed(alike) if entry.sha256 == digest), None)

    def path_from_here(self, source: Path) -> str:
        """A source's path as entries hold it; links in its folder are resolved, so that a file has one name."""
        real = os.path.join(os.path.realpath(source.parent), source.name)  # noqa: PTH118 - thousands of these
        try:
            return Path(os.path.relpath(real, self._real_folder)).as_posix()
        except ValueError:  # another drive
            return Path(real).as_posix()

    def begin(self, output: Path, job: Job, source: Path) -> None:
        """Record that this output is about to be written. Raises OSError, FileError if the journal is not writable."""
        self._append(output, {"state": "begun", "key": job.key, "input": self.path_from_here(source)})

    def finish(self, output: Path, job: Job, source: Path, *, written: Path) -> None:
        """Record a finished file that is about to be renamed to its place. Raises OSError, FileError.

        Args:
            output: The place of the file.
            job: What the file was made from.
            source: The input picture.
            written: The file under its temporary name.
        """
        record = {
            "state": "done",
            "key": job.key,
            "setup": job.setup,
            "made_with": job.description[:_MAX_DESCRIPTION],
            **_describe_file(written),
            "input": self.path_from_here(source),
        }
        self._append(output, record)

    def _name(self, output: Path) -> str:
        return Path(os.path.relpath(output, self.folder)).as_posix()

    def _append(self, output: Path, record: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"output": self._name(output), **record}, ensure_ascii=True)
        # A line truncated by a crash must not merge with this one.
        data = (b"" if self._ends_whole() else b"\n") + line.encode() + b"\n"
        descriptor = open_for_appending(self._path, max_bytes=MAX_JOURNAL_BYTES)
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.refresh()

    def _ends_whole(self) -> bool:
        try:
            with os.fdopen(open_for_reading(self._path, max_bytes=MAX_JOURNAL_BYTES), "rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except OSError:
            return True

    def _take(self, line: bytes) -> None:
        if len(line) > _MAX_LINE_BYTES:
            return
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, OverflowError):
            record = json.loads(line)
            if record["state"] != "done":
                return
            entry = JournalEntry(
                key=str(record["key"]),
                setup=str(record.get("setup", "")),
                description=str(record.get("made_with", ""))[:_MAX_DESCRIPTION],
                bytes=int(record["bytes"]),
                sha256=str(record["sha256"]),
                source=str(record.get("input", "")),
                mtime_ns=int(record.get("mtime_ns", -1)),
            )
            entries = self._entries.setdefault(str(record["output"]), {})
            entries.pop(entry.key, None)  # the latest comes last
            entries[entry.key] = entry


def _is_unchanged(output: Path, entry: JournalEntry) -> bool:
    try:
        found = output.lstat()
        if found.st_size != entry.bytes or not stat.S_ISREG(found.st_mode):
            return False
        return found.st_mtime_ns == entry.mtime_ns or compute_sha256(output) == entry.sha256
    except OSError:
        return False


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _describe_file(path: Path) -> dict[str, Any]:
    """Size, time and checksum of a file, read from one open file."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": digest}


def key_of(*parts: str) -> str:
    """Hash everything that determines an output into one key."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
