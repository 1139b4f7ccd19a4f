"""LMDB stores as BasicSR writes them: encoded pictures under their names, and meta_info.txt next to the data."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import struct
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any, NamedTuple

from tessera.dataset.listing_file import read_lines
from tessera.errors import PictureError, UsageError
from tessera.libraries import describe_missing, import_library

_DETAILS = re.compile(r"\s{1,8}\(\d{1,9},\s?\d{1,9}(?:,\s?\d{1,9})?\)(?:\s{1,8}\d{1,9})?$")
_LONGEST_DETAILS = 64
_EXTENSION = re.compile(r"\.\w{2,5}$")
_LONGEST_EXTENSION = 6
_DATA = "data.mdb"
_META = struct.Struct("=16xI20xI36xQ40xQQQ")
"""MDB_meta after a page header: magic, page size, roots of the free list and the data, last page, transaction."""
_PAGE_HEADER = struct.Struct("=10xHH2x")  # flags, end of the node offsets
_OVERFLOW_HEADER = struct.Struct("=12xI")  # number of pages
_NODE = struct.Struct("=HHHH")  # size or page of a child, low and high; flags; size of the key
_BRANCH, _LEAF, _BIG_DATA, _NO_PAGE = 1, 2, 1, 2**64 - 1
_META_BYTES = _META.size
_MAGIC = 0xBEEFC0DE


def is_store(path: Path) -> bool:
    """Whether a folder is an LMDB store."""
    return (path / _DATA).is_file()


def list_keys(folder: Path) -> list[str]:
    """List the names of the pictures in a store, sorted, from its meta_info.txt or, without one, from the store itself.

    Raises UsageError if there are none, PictureError if the store cannot be opened.
    """
    listing = folder / "meta_info.txt"
    if listing.is_file():
        keys = [_parse_key(line) for _, line in read_lines(listing)]
    else:
        with _begin_reading(str(folder)) as transaction:
            keys = [bytes(key).decode(errors="surrogateescape") for key in transaction.cursor().iternext(values=False)]
    if not keys:
        raise UsageError(f"{folder}: no pictures in this store.")
    return sorted(keys)


def read_encoded(folder: str, key: str) -> bytes:
    """Read the encoded picture under a key. Raises PictureError if there is none."""
    with _begin_reading(folder) as transaction:
        value = transaction.get(key.encode(errors="surrogateescape"))
    if value is None:
        raise PictureError(f"{folder}: no picture has the key {key}, which meta_info.txt lists.")
    return bytes(value)


def _parse_key(line: str) -> str:
    """Parse the key in a line of meta_info.txt, in time linear in its length.

    >>> [_parse_key(line) for line in ("0001_s001.png (480,480,3) 1", "my.holiday.png (8,8,3) 1", "plain.png")]
    ['0001_s001', 'my.holiday', 'plain']
    """
    line = line.strip()
    details = _DETAILS.search(line[-_LONGEST_DETAILS:])
    name = line if details is None else line[: -len(details[0])]
    extension = _EXTENSION.search(name[-_LONGEST_EXTENSION:])
    return name if extension is None or len(extension[0]) == len(name) else name[: -len(extension[0])]


@contextlib.contextmanager
def _begin_reading(folder: str) -> Generator[Any]:
    """Begin a transaction. Raises PictureError where the store is damaged or a key is none of LMDB's."""
    environment = _open_environment(folder)
    try:
        with environment.begin() as transaction:
            yield transaction
    except import_lmdb(folder).Error as error:
        raise PictureError(f"{folder}: this LMDB store cannot be read: {error}.") from None


@functools.lru_cache(maxsize=64)
def _open_environment(folder: str) -> Any:
    """Open a store, once in each process, because LMDB's handles do not survive a fork."""
    lmdb = import_lmdb(folder)
    check_is_complete(Path(folder))
    try:
        return lmdb.open(folder, readonly=True, lock=False, readahead=False, meminit=False)
    except lmdb.Error as error:
        raise PictureError(f"{folder}: this LMDB store cannot be opened: {error}.") from None


def check_is_complete(folder: Path) -> None:
    """Check that a store's file has all of its pages, because LMDB maps it: a missing page would end the process.

    The header has two meta pages, of which the one of the last transaction counts (struct MDB_meta in LMDB's mdb.c).
    Raises PictureError for a truncated file; other damage is left to LMDB.
    """
    path = folder / _DATA
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            first = _read_meta(file.read(_META_BYTES))
            if first is None:
                return
            file.seek(first.page_size)
            second = _read_meta(file.read(_META_BYTES))
            newest = max((meta for meta in (first, second) if meta is not None), key=lambda meta: meta.transaction)
            expected = max((newest.last_page + 1) * first.page_size, 2 * first.page_size)
            # Freed pages at the end are never written, so a short file may be complete.
            is_complete = size >= expected or _has_all_pages(file, size, newest)
    except OSError as error:
        raise PictureError(f"{path}: cannot be read: {error.strerror}.") from None
    if not is_complete:
        raise PictureError(
            f"{path}: expected at least {expected:,} bytes, found {size:,}. The store is incomplete, for example copied"
            " in part; copy it again."
        )


class _Meta(NamedTuple):
    page_size: int
    roots: tuple[int, int]
    last_page: int
    transaction: int


def _read_meta(data: bytes) -> _Meta | None:
    """Read a meta page of a 64-bit machine with this byte order; None if it is not one."""
    if len(data) < _META_BYTES:
        return None
    magic, page_size, free_root, root, last_page, transaction = _META.unpack(data)
    return _Meta(page_size, (free_root, root), last_page, transaction) if magic == _MAGIC and page_size else None


def _has_all_pages(file: IO[bytes], size: int, meta: _Meta) -> bool:
    """Whether all pages that the trees refer to lie inside the file, read without mapping it."""
    waiting, seen = [root for root in meta.roots if root != _NO_PAGE], set[int]()
    while waiting:
        number = waiting.pop()
        if number in seen:
            return False
        seen.add(number)
        if (number + 1) * meta.page_size > size:
            return False
        file.seek(number * meta.page_size)
        page = file.read(meta.page_size)
        try:
            children, overflows = _list_references(page)
        except struct.error:
            return False
        for first in overflows:
            file.seek(first * meta.page_size)
            header = file.read(_OVERFLOW_HEADER.size)
            if len(header) < _OVERFLOW_HEADER.size:
                return False
            if (first + _OVERFLOW_HEADER.unpack(header)[0]) * meta.page_size > size:
                return False
        waiting += children
    return True


def _list_references(page: bytes) -> tuple[list[int], list[int]]:
    """The pages that a page of a tree refers to: its children, and the first pages of large values."""
    children: list[int] = []
    overflows: list[int] = []
    kind, end = _PAGE_HEADER.unpack_from(page)
    for (offset,) in struct.iter_unpack("=H", page[16:end]):
        low, high, flags, key_size = _NODE.unpack_from(page, offset)
        if kind & _BRANCH:
            children.append(low | high << 16 | flags << 32)
        elif kind & _LEAF and flags & _BIG_DATA:
            overflows += struct.unpack_from("=Q", page, offset + _NODE.size + key_size)
    return children, overflows


def import_lmdb(folder: str | os.PathLike[str]) -> Any:
    """Import the library that reads and writes stores. Raises UsageError with the command that installs it."""
    try:
        return import_library("lmdb")
    except ImportError:
        raise UsageError(describe_missing(f"{folder}: reading or writing an LMDB store", "lmdb")) from None
