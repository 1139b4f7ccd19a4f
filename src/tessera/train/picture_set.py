"""The training set as names and sizes: part of a run, so that a changed set is noticed on resume.

Only file names and sizes count, so a set that moved to another folder is the same set.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.dataset.sources import Listing, PictureRef
from tessera.errors import FileError
from tessera.storage.files import read_bytes, write_bytes

PICTURES_NAME = "pictures.jsonl"
"""The set in the run folder: one `[name, bytes]` per line."""
_MOST_LISTED = 1_000_000
_LARGEST_BYTES = 1 << 30
_NAMED = 3


@dataclass(frozen=True)
class PictureSet:
    """Names and sizes of the pictures of a run, sorted."""

    entries: tuple[tuple[str, int], ...]
    sha256: str

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint stores."""
        return {"count": len(self.entries), "sha256": self.sha256}


def read_picture_set(listing: Listing) -> PictureSet:
    """Ask for the sizes of all pictures of a listing, ground truth and inputs. Files that vanished have size -1."""
    refs = [("", ref) for ref in listing.gt] + [("lq/", ref) for ref in listing.lq or ()]
    entries = sorted(
        {*_size_stores(ref for _, ref in refs), *((f"{mark}{_name(ref)}", _size(ref)) for mark, ref in refs)}
    )
    digest = hashlib.sha256()
    for name, size in entries:
        digest.update(f"{name}\0{size}\n".encode(errors="surrogateescape"))
    return PictureSet(tuple(entries), digest.hexdigest())


def _name(ref: PictureRef) -> str:
    return ref.key or Path(ref.place).name


def _size(ref: PictureRef) -> int:
    if ref.key:
        return 0
    try:
        return Path(ref.place).stat().st_size
    except OSError:
        return -1


def _size_stores(refs: Iterable[PictureRef]) -> Iterator[tuple[str, int]]:
    """The size of each store, which stands for the sizes of the pictures in it."""
    for place in {ref.place for ref in refs if ref.key}:
        data = Path(place) / "data.mdb"
        with contextlib.suppress(OSError):
            yield f"{Path(place).name}/data.mdb", data.stat().st_size


def store_picture_set(folder: Path, pictures: PictureSet) -> None:
    """Write the set into a run folder, so that a later change can be named. Raises OSError."""
    listed = pictures.entries if len(pictures.entries) <= _MOST_LISTED else ()
    write_bytes(folder / PICTURES_NAME, "".join(f"{json.dumps(entry)}\n" for entry in listed).encode())


def describe_change(folder: Path, before: Mapping[str, Any] | None, now: PictureSet) -> str:
    """One sentence about a set that changed since the checkpoint; empty if it is the same or was not recorded."""
    if before is None or before.get("sha256") == now.sha256:
        return ""
    old, new = Counter(_read_stored(folder)), Counter(now.entries)
    parts: list[str] = []
    if old:
        was, found = {name for name, _ in old - new}, {name for name, _ in new - old}
        for word, names in (
            ("missing", was - found),
            ("new", found - was),
            ("of another size", was & found),
        ):
            if names:
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                parts.append(f"{word}: {', '.join(sorted(names)[:_NAMED])}{more}")
    detail = f" ({'; '.join(parts)})" if parts else ""
    return (
        f"The training set has changed since the checkpoint: {before.get('count')} files then, {len(now.entries)}"
        f" now{detail}. Results will not be bit-identical to those of an uninterrupted run."
    )


def _read_stored(folder: Path) -> list[tuple[str, int]]:
    entries: list[tuple[str, int]] = []
    with contextlib.suppress(OSError, FileError, ValueError, TypeError):
        for line in read_bytes(folder / PICTURES_NAME, max_bytes=_LARGEST_BYTES).splitlines():
            name, size = json.loads(line)
            entries.append((str(name), int(size)))
    return entries
