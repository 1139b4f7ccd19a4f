"""Boxes of AVIF and HEIF files that libvips (8.18) neither reads nor writes: color coding, premultiplied alpha.

(ISO/IEC 14496-12, ISO base media file format; ISO/IEC 23008-12, HEIF, 6.5.5 and 7.3; MIAF, 7.3.5.2.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tessera.images.codecs.av1_header import read_av1_color_coding
from tessera.images.metadata import ColorCoding

_MOST_BYTES = 2**24
"""Of the boxes that describe the items; the coded pixels are not read."""
_MOST_BOXES = 4096
_FULL_RANGE = 0x80
_MOST_HEADER_BYTES = 4096


@dataclass(frozen=True)
class _Box:
    kind: bytes
    start: int
    """Of its header."""
    body: int
    end: int


@dataclass(frozen=True, kw_only=True)
class HeifFacts:
    """Facts about the primary picture."""

    color_coding: ColorCoding | None = None
    is_premultiplied: bool = False


def read_heif_facts(path: Path) -> HeifFacts:
    """Read the facts that libvips does not report; whatever is damaged counts as absent. Raises OSError."""
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES)
    try:
        meta = _find(data, 0, len(data), b"meta")
        if meta is None:
            return HeifFacts()
        primary = _read_primary(data, meta)
        return HeifFacts(
            color_coding=_find_color_coding(data, meta, primary),
            is_premultiplied=_is_premultiplied(data, meta, primary),
        )
    except (struct.error, IndexError):
        return HeifFacts()


def add_color_coding(data: bytes, coding: ColorCoding, *, matrix: int) -> bytes:
    """Add a color coding to the primary picture of a file that has none.

    Matrix 6 and full range are what libheif codes by default. A file of another structure stays as it is.
    """
    try:
        return _Insertion(data, coding, matrix).apply()
    except (struct.error, IndexError, ValueError, OverflowError):
        return data


# --------------------------------------------------------------------------------------------------------- reading


def _list_boxes(data: bytes, start: int, end: int) -> Iterator[_Box]:
    end = min(end, len(data))
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        stop = end if size == 0 else start + size
        if stop < body:
            return
        yield _Box(kind, start, body, min(stop, end))
        start = stop


def _find(data: bytes, start: int, end: int, *kinds: bytes) -> _Box | None:
    """Find a box by the kinds of its parents and its own."""
    box = next((box for box in _list_boxes(data, start, end) if box.kind == kinds[0]), None)
    if box is None or len(kinds) == 1:
        return box
    return _find(data, _children(box), box.end, *kinds[1:])


def _children(box: _Box) -> int:
    return box.body + (4 if box.kind in (b"meta", b"iref") else 0)  # version and flags


def _read_primary(data: bytes, meta: _Box) -> int:
    box = _find(data, _children(meta), meta.end, b"pitm")
    if box is None:
        raise IndexError("no primary item")
    return struct.unpack_from(">H" if data[box.body] == 0 else ">I", data, box.body + 4)[0]


def _list_properties(data: bytes, meta: _Box, item: int) -> Iterator[_Box]:
    """The properties of an item, in the order of its associations."""
    store = _find(data, _children(meta), meta.end, b"iprp", b"ipco")
    if store is None:
        return
    boxes = list(_list_boxes(data, store.body, store.end))
    for found, first, count, width in _list_associations(data, meta):
        if found == item:
            for at in range(first, first + count * width, width):
                index = data[at] & 0x7F if width == 1 else struct.unpack_from(">H", data, at)[0] & 0x7FFF
                if 1 <= index <= len(boxes):
                    yield boxes[index - 1]


def _list_associations(data: bytes, meta: _Box) -> Iterator[tuple[int, int, int, int]]:
    """Each item, where its associations begin, their number, and the bytes of each."""
    box = _find(data, _children(meta), meta.end, b"iprp", b"ipma")
    if box is None:
        return
    id_format = ">H" if data[box.body] == 0 else ">I"
    width = 2 if data[box.body + 3] & 1 else 1
    (entries,) = struct.unpack_from(">I", data, box.body + 4)
    at = box.body + 8
    for _ in range(min(entries, _MOST_BOXES)):
        (item,) = struct.unpack_from(id_format, data, at)
        at += struct.calcsize(id_format)
        count = data[at]
        yield item, at + 1, count, width
        at += 1 + count * width


def _parse_color(data: bytes, box: _Box) -> ColorCoding | None:
    if box.kind != b"colr" or data[box.body : box.body + 4] != b"nclx":
        return None
    primaries, transfer = struct.unpack_from(">HH", data, box.body + 4)
    return ColorCoding(primaries, transfer)  # RGB of full range, whatever range the YCbCr has


def _find_color_coding(data: bytes, meta: _Box, primary: int) -> ColorCoding | None:
    """The color coding in the box of the picture; without such a box and a profile, the one in its AV1 stream."""
    properties = list(_list_properties(data, meta, primary))
    if any(box.kind == b"colr" for box in properties):
        return next(filter(None, (_parse_color(data, box) for box in properties)), None)
    coded = primary
    if not any(box.kind == b"av1C" for box in properties):  # a grid, whose tiles are coded
        coded = next(_list_references(data, meta, b"dimg", primary), primary)
        properties = list(_list_properties(data, meta, coded))
    for box in properties:
        if box.kind == b"av1C" and (coding := read_av1_color_coding(data[box.body + 4 : box.end])):
            return coding
    start = _find_item_data(data, meta, coded)
    return None if start is None else read_av1_color_coding(data[start : start + _MOST_HEADER_BYTES])


def _find_item_data(data: bytes, meta: _Box, wanted: int) -> int | None:
    """Where in the file the data of an item begin (ISO/IEC 14496-12, 8.11.3)."""
    box = _find(data, _children(meta), meta.end, b"iloc")
    if box is None:
        return None
    version, sizes, more_sizes = data[box.body], data[box.body + 4], data[box.body + 5]
    number_bytes = 4 if version == 2 else 2
    at = box.body + 6
    items = int.from_bytes(data[at : at + number_bytes], "big")
    at += number_bytes
    for _ in range(min(items, _MOST_BOXES)):
        item = int.from_bytes(data[at : at + number_bytes], "big")
        at += number_bytes
        method = data[at + 1] & 15 if version else 0
        at += (2 if version else 0) + 2
        base = int.from_bytes(data[at : at + (more_sizes >> 4)], "big")
        at += more_sizes >> 4
        (extents,) = struct.unpack_from(">H", data, at)
        at += 2
        index_bytes = more_sizes & 15 if version else 0
        if item == wanted:
            at += index_bytes
            return base + int.from_bytes(data[at : at + (sizes >> 4)], "big") if method == 0 and extents else None
        at += extents * (index_bytes + (sizes >> 4) + (sizes & 15))
    return None


def _list_references(data: bytes, meta: _Box, kind: bytes, source: int) -> Iterator[int]:
    """The first item of each reference of a kind from an item."""
    references = _find(data, _children(meta), meta.end, b"iref")
    if references is None:
        return
    id_format = ">H" if data[references.body] == 0 else ">I"
    size = struct.calcsize(id_format)
    for box in _list_boxes(data, _children(references), references.end):
        if box.kind == kind and struct.unpack_from(id_format, data, box.body)[0] == source:
            yield struct.unpack_from(id_format, data, box.body + size + 2)[0]


def _is_premultiplied(data: bytes, meta: _Box, primary: int) -> bool:
    return any(True for _ in _list_references(data, meta, b"prem", primary))


# --------------------------------------------------------------------------------------------------------- writing


class _Insertion:
    """A box of color coding that is put into a file, with all sizes and offsets that it moves."""

    def __init__(self, data: bytes, coding: ColorCoding, matrix: int) -> None:
        self._data = data
        self._meta = _require(_find(data, 0, len(data), b"meta"))
        body = struct.pack(">4sHHHB", b"nclx", coding.primaries, coding.transfer, matrix, _FULL_RANGE)
        self._color = struct.pack(">I4s", 8 + len(body), b"colr") + body

    def apply(self) -> bytes:
        data, meta = self._data, self._meta
        primary = _read_primary(data, meta)
        parents = [meta, *(_require(self._below_meta(*kinds)) for kinds in ((b"iprp",), (b"iprp", b"ipco")))]
        store, associations = parents[-1], _require(self._below_meta(b"iprp", b"ipma"))
        number = len(list(_list_boxes(data, store.body, store.end))) + 1
        own = [entry[1:] for entry in _list_associations(data, meta) if entry[0] == primary]
        first, count, width = own[0]
        if (width == 1 and number > 0x7F) or store.start > associations.start or count == 255:
            raise ValueError("an unusual order of boxes")
        added = len(self._color) + width
        changed = bytearray(data)
        for box, more in (*((each, added) for each in parents[:2]), (store, len(self._color)), (associations, width)):
            struct.pack_into(">I", changed, box.start, box.end - box.start + more)
        changed[first - 1] = count + 1
        self._move_items(changed, added)
        end = first + count * width
        association = number.to_bytes(width, "big")
        return bytes(changed[: store.end] + self._color + changed[store.end : end] + association + changed[end:])

    def _below_meta(self, *kinds: bytes) -> _Box | None:
        return _find(self._data, _children(self._meta), self._meta.end, *kinds)

    def _move_items(self, changed: bytearray, added: int) -> None:
        """Add to the offsets of items whose data follow (ISO/IEC 14496-12, 8.11.3)."""
        data = self._data
        box = _require(self._below_meta(b"iloc"))
        version = data[box.body]
        sizes, more_sizes = data[box.body + 4], data[box.body + 5]
        offset_bytes, length_bytes, base_bytes = sizes >> 4, sizes & 15, more_sizes >> 4
        index_bytes = more_sizes & 15 if version else 0
        wide = version == 2
        at = box.body + 6
        items = int.from_bytes(data[at : at + (4 if wide else 2)], "big")
        at += 4 if wide else 2
        for _ in range(items):
            at += 4 if wide else 2
            method = data[at + 1] & 15 if version else 0
            at += (2 if version else 0) + 2
            base = int.from_bytes(data[at : at + base_bytes], "big")
            if method == 0 and base >= self._meta.end:
                changed[at : at + base_bytes] = (base + added).to_bytes(base_bytes, "big")
            elif base:
                raise ValueError("an unusual base of offsets")
            at += base_bytes
            (extents,) = struct.unpack_from(">H", data, at)
            at += 2
            for _ in range(extents):
                at += index_bytes
                offset = int.from_bytes(data[at : at + offset_bytes], "big")
                if method == 0 and not base and offset >= self._meta.end:
                    changed[at : at + offset_bytes] = (offset + added).to_bytes(offset_bytes, "big")
                at += offset_bytes + length_bytes


def _require(box: _Box | None) -> _Box:
    if box is None:
        raise ValueError("a box is missing")
    return box
