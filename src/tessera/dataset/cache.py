"""Caches of decoded pictures: in memory, or as memory-mapped files, so that a crop reads only its own pixels.

A full cache does not change. Each picture is read once per epoch, in random order, so the least recently used picture
is the one needed soonest, and evicting it would make the cache useless.

Shapes: H height, W width.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from tessera.dataset.decoding import Decoded
from tessera.dataset.sources import PictureRef
from tessera.errors import UsageError
from tessera.storage.files import replace_file

_LAYOUT = "1"
_WITH_ALPHA = "-alpha"

Read = Callable[[PictureRef], Decoded]


class Cache(Protocol):
    """A cache of decoded pictures."""

    def get(self, ref: PictureRef, read: Read) -> Decoded:
        """Return the pixels (H, W, 3) from the cache or from `read`. Raises what `read` raises."""
        ...


class MemoryCache:
    """Caches the first pictures that fit into `bytes_at_most`, in the memory of one process."""

    def __init__(self, bytes_at_most: int) -> None:
        self._left = bytes_at_most
        self._held: dict[PictureRef, Decoded] = {}

    def get(self, ref: PictureRef, read: Read) -> Decoded:
        """Return the pixels, and cache them if there is room."""
        if (held := self._held.get(ref)) is not None:
            return held
        decoded = read(ref)
        if decoded.pixels.nbytes <= self._left:
            own = np.ascontiguousarray(decoded.pixels)
            self._left -= own.nbytes
            self._held[ref] = decoded = Decoded(own, decoded.had_alpha)
        return decoded


class DiskCache:
    """Caches pictures as .npy files, named by a digest of path, size and time, for all workers and runs.

    Each of `writers` processes may fill an equal share of `bytes_at_most` minus the files that exist, so the limit
    holds without communication. Files are written atomically.
    """

    def __init__(self, folder: Path, bytes_at_most: int, *, writers: int = 1) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._left = max(0, bytes_at_most - _sum_bytes(folder)) // max(1, writers)
        except OSError as error:
            raise UsageError(f"{folder}: this cache folder cannot be written: {error.strerror}.") from None

    def get(self, ref: PictureRef, read: Read) -> Decoded:
        """Return the pixels, memory-mapped from their file; write the file if it is missing and there is room."""
        name = _build_name(ref)
        if name is None:  # missing: the reader raises the error
            return read(ref)
        for ending, had_alpha in (("", False), (_WITH_ALPHA, True)):
            path = self._folder / f"{name}{ending}.npy"
            with contextlib.suppress(FileNotFoundError):
                try:
                    return Decoded(np.load(path, mmap_mode="r"), had_alpha)
                except (ValueError, EOFError, OSError) as error:
                    if isinstance(error, FileNotFoundError):
                        raise
                    path.unlink(missing_ok=True)  # damaged, for example by a power cut: written again below
        decoded = read(ref)
        if decoded.pixels.nbytes <= self._left:
            self._store(self._folder / f"{name}{_WITH_ALPHA if decoded.had_alpha else ''}.npy", decoded)
        return decoded

    def _store(self, path: Path, decoded: Decoded) -> None:
        try:
            with replace_file(path) as file:
                np.save(file, np.ascontiguousarray(decoded.pixels))
            self._left -= decoded.pixels.nbytes
        except OSError:  # a full disk ends the caching, not the training
            self._left = 0


def _build_name(ref: PictureRef) -> str | None:
    """Build a file name that changes when the picture does; None if the picture is missing."""
    try:
        status = Path(ref.place, "data.mdb" if ref.key else "").stat()
    except (OSError, ValueError):
        return None
    identity = f"{_LAYOUT}\n{os.path.realpath(ref.place)}\n{ref.key}\n{status.st_size}\n{status.st_mtime_ns}"
    return hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:40]


def _sum_bytes(folder: Path) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # another process may just have renamed it
                total += entry.stat().st_size
    return total
