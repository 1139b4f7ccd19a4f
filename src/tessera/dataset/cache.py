"""Decoded pictures at hand: in memory, or as files that are mapped, so that a crop reads only its own pixels.

A cache fills up and then stays as it is. Pictures come once an epoch, each epoch in another order, so the one that was
used longest ago is the one that is most surely wanted next: to drop it for another would empty the cache of what it is
for. Shapes: H height, W width.
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
from tessera.storage.atomic import choose_temporary_name, put_in_place

_LAYOUT = "1"
_WITH_ALPHA = "-alpha"

Read = Callable[[PictureRef], Decoded]


class Cache(Protocol):
    """Gives a picture, from where it keeps it or by reading it."""

    def get(self, ref: PictureRef, read: Read) -> Decoded:
        """The pixels (H, W, 3), perhaps mapped from a file. Raises what `read` raises."""
        ...


class MemoryCache:
    """Keeps the first pictures that fit into `bytes_at_most`, in the memory of one process."""

    def __init__(self, bytes_at_most: int) -> None:
        self._left = bytes_at_most
        self._held: dict[PictureRef, Decoded] = {}

    def get(self, ref: PictureRef, read: Read) -> Decoded:
        """The pixels, kept if there is room."""
        if (held := self._held.get(ref)) is not None:
            return held
        decoded = read(ref)
        if decoded.pixels.nbytes <= self._left:
            own = np.ascontiguousarray(decoded.pixels)
            self._left -= own.nbytes
            self._held[ref] = decoded = Decoded(own, decoded.had_alpha)
        return decoded


class DiskCache:
    """Keeps pictures as .npy files under a name made of path, size and time, for all workers and all runs.

    `writers` processes share `bytes_at_most`, less what lies in the folder already: each fills its part alone, so that
    they need not agree on anything and the limit holds. A file appears whole or not at all.
    """

    def __init__(self, folder: Path, bytes_at_most: int, *, writers: int = 1) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._left = max(0, bytes_at_most - _bytes_in(folder)) // max(1, writers)
        except OSError as error:
            raise UsageError(f"{folder}: cannot hold the cache of decoded pictures: {error.strerror}.") from None

    def get(self, ref: PictureRef, read: Read) -> Decoded:
        """The pixels mapped from their file, which is written if there is none and room for it."""
        name = _name_of(ref)
        if name is None:  # not there: let the reader say so
            return read(ref)
        for ending, had_alpha in (("", False), (_WITH_ALPHA, True)):
            path = self._folder / f"{name}{ending}.npy"
            with contextlib.suppress(FileNotFoundError):
                try:
                    return Decoded(np.load(path, mmap_mode="r"), had_alpha)
                except (ValueError, EOFError, OSError) as error:
                    if isinstance(error, FileNotFoundError):
                        raise
                    path.unlink(missing_ok=True)  # damaged, as after a power cut: made again below
        decoded = read(ref)
        if decoded.pixels.nbytes <= self._left:
            self._keep(self._folder / f"{name}{_WITH_ALPHA if decoded.had_alpha else ''}.npy", decoded)
        return decoded

    def _keep(self, path: Path, decoded: Decoded) -> None:
        temporary = choose_temporary_name(path)
        try:
            with temporary.open("wb") as file:
                np.save(file, np.ascontiguousarray(decoded.pixels))
            put_in_place(temporary, path)
            self._left -= decoded.pixels.nbytes
        except OSError:  # a full disk ends the caching, not the training
            self._left = 0
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _name_of(ref: PictureRef) -> str | None:
    """A name that changes when the file does; None when it is not there."""
    try:
        status = Path(ref.place, "data.mdb" if ref.key else "").stat()
    except (OSError, ValueError):
        return None
    told = f"{_LAYOUT}\n{os.path.realpath(ref.place)}\n{ref.key}\n{status.st_size}\n{status.st_mtime_ns}"
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:40]


def _bytes_in(folder: Path) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # another process may just have renamed it
                total += entry.stat().st_size
    return total
