"""EXIF, IPTC and Photoshop's resources in TIFF files: all are directories of tags.

libvips (8.18) reads no EXIF from a TIFF, and only the first quarter of its IPTC (it counts words where libtiff counts
bytes). A TIFF keeps EXIF in its own structure: the descriptive tags among those of the picture, and two directories
below it (TIFF 6.0, section 2; BigTIFF as in libtiff; EXIF 2.32, 4.6). An EXIF block is itself a small TIFF without
pixels, so one reader and one writer of directories serve both.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tessera.images.georeference import GEOREFERENCE_TAGS, Georeference, Values

_EXIF_POINTER, _GPS_POINTER, _INTEROP_POINTER = 34665, 34853, 40965
_POINTERS = frozenset({_EXIF_POINTER, _GPS_POINTER, _INTEROP_POINTER})
_PIXEL_X, _PIXEL_Y = 40962, 40963
_XMP, _IPTC, _PHOTOSHOP, _ICC = 700, 33723, 34377, 34675
_DESCRIPTIONS = frozenset(
    (
        *(269, 270, 271, 272, 285, 305, 306, 315, 316, 33432),  # document, description, make, model, software, ...
        *(18246, 18249),  # rating, in stars and in percent
        *range(40091, 40096),  # title, comment, author, keywords and subject as Windows writes them
        *(36867, 50341),  # time of the photograph, print image matching
    )
)
_STRUCTURE = frozenset(
    (
        *range(254, 267),
        *(273, 274, *range(277, 285), *range(288, 294), 296, 297, 301, *range(317, 348), *range(512, 522)),
        *(529, 530, 531, 532, 559),
    )
)
"""Tags about how the pixels are stored and shown (TIFF 6.0; TIFF Technical Notes 1 and 2)."""
_NAMES_OF_GEOREFERENCE = {
    33550: "GeoTIFF scale",
    33922: "GeoTIFF tie points",
    34264: "GeoTIFF transformation",
    34735: "GeoTIFF keys",
    34736: "GeoTIFF numbers",
    34737: "GeoTIFF texts",
    42112: "GDAL metadata",
    42113: "GDAL no-data value",
}
_OTHER_NAMES = {**_NAMES_OF_GEOREFERENCE, 37724: "Photoshop layers", 50838: "ImageJ sizes", 50839: "ImageJ metadata"}
_UNIT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNITS = {5: 2, 10: 2}
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274
_TEXT, _SHORT, _LONG, _RATIONAL, _UNDEFINED, _DOUBLE, _IFD8 = 2, 3, 4, 5, 7, 12, 18
_NO_ABSOLUTE_UNIT = 1
_MOST_ENTRIES = 4096
_MOST_BYTES = 2**24
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
RESOLUTION_TAGS = frozenset({_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT})


class _MalformedError(Exception):
    """The directories do not hold together."""


@dataclass(frozen=True)
class _Layout:
    """How a file writes its numbers: byte order, and 8-byte offsets (BigTIFF) or 4-byte ones."""

    order: str
    big: bool

    @property
    def word(self) -> str:
        """The struct format of an offset."""
        return self.order + ("Q" if self.big else "I")

    @property
    def word_bytes(self) -> int:
        """The size of an offset, and of a value that is stored in its entry."""
        return 8 if self.big else 4

    @property
    def count(self) -> str:
        """The struct format of the number of entries."""
        return self.order + ("Q" if self.big else "H")


@dataclass(frozen=True)
class _TagValue:
    kind: int
    count: int
    data: bytes
    """The values in the byte order of the file they came from."""


_Table = dict[int, _TagValue]


@dataclass(frozen=True, kw_only=True)
class TiffMetadata:
    """Metadata in the first directory of a TIFF file; empty where it has none or is broken."""

    exif: bytes = b""
    """A block without orientation, sizes and resolution."""
    iptc: bytes = b""
    photoshop: bytes = b""
    georeference: Georeference | None = None
    others: tuple[str, ...] = ()
    """Tags of other kinds, as words for a note."""


def read_tiff_metadata(path: Path) -> TiffMetadata:
    """Read the metadata of a TIFF file."""
    try:
        with path.open("rb") as file:
            layout, at = _read_start(file)
            found = _read_table(file, layout, at, (_IPTC, _PHOTOSHOP).__contains__, [2 * _MOST_BYTES])
            tags = _raw_entries(file, layout, at)[0].keys()
            tables = _read_tables(file, layout, at, _DESCRIPTIONS.__contains__)
            georeference = _read_georeference(file, layout, at)
    except (_MalformedError, OSError, struct.error):
        return TiffMetadata()
    others = tags - _DESCRIPTIONS - _STRUCTURE - _POINTERS
    if georeference is not None:
        others -= georeference.tags.keys()
    others -= {_X_RESOLUTION, _Y_RESOLUTION, _XMP, _IPTC, _PHOTOSHOP, _ICC}
    damaged = (tags & _DESCRIPTIONS) - tables[0].keys() | (tags & {_EXIF_POINTER, _GPS_POINTER}) - tables.keys()
    damaged |= (tags & {_IPTC, _PHOTOSHOP}) - found.keys()
    names = (_OTHER_NAMES.get(tag, f"tag {tag}") for tag in sorted(others))
    return TiffMetadata(
        exif=_build_block(layout, tables),
        iptc=found[_IPTC].data if _IPTC in found else b"",
        photoshop=found[_PHOTOSHOP].data if _PHOTOSHOP in found else b"",
        georeference=georeference,
        others=(*names, *(f"damaged tag {tag}" for tag in sorted(damaged))),
    )


def _read_georeference(file: BinaryIO, layout: _Layout, at: int) -> Georeference | None:
    """Read where the picture lies on the Earth; None if it is stored turned, for which tags would have to be turned."""
    sizes = _read_table(file, layout, at, {_WIDTH, _HEIGHT, _ORIENTATION}.__contains__, [_MOST_BYTES])
    numbers = {
        tag: struct.unpack(layout.order + ("H" if entry.kind == _SHORT else "I"), entry.data)[0]
        for tag, entry in sizes.items()
        if entry.count == 1 and entry.kind in (_SHORT, _LONG)
    }
    height, width = numbers.get(_HEIGHT, 0), numbers.get(_WIDTH, 0)
    tags: dict[int, Values] = {}
    for tag, entry in _read_table(file, layout, at, GEOREFERENCE_TAGS.__contains__, [_MOST_BYTES]).items():
        if entry.kind == _TEXT:
            tags[tag] = entry.data
        elif entry.kind in (_SHORT, _DOUBLE):
            tags[tag] = struct.unpack(layout.order + ("H" if entry.kind == _SHORT else "d") * entry.count, entry.data)
    if not tags or not height or not width or numbers.get(_ORIENTATION, 1) != 1:
        return None
    return Georeference(height, width, tags)


def _build_georeference(georeference: Georeference, order: str) -> _Table:
    table: _Table = {}
    for tag, values in georeference.tags.items():
        if isinstance(values, bytes):
            table[tag] = _TagValue(_TEXT, len(values), values)
        else:
            whole = all(isinstance(value, int) for value in values)
            packed = struct.pack(order + ("H" if whole else "d") * len(values), *values)
            table[tag] = _TagValue(_SHORT if whole else _DOUBLE, len(values), packed)
    return table


def _build_block(layout: _Layout, tables: Mapping[int, _Table]) -> bytes:
    """Build an EXIF block from directories."""
    if not any(tables.values()):
        return b""
    block = io.BytesIO(struct.pack(layout.order + "2sHI", b"II" if layout.order == "<" else b"MM", 42, 8))
    block.seek(8)
    at = _write_tables(block, tables, layout.order, _Layout(layout.order, big=False))
    block.seek(4)
    block.write(struct.pack(layout.order + "I", at))
    return block.getvalue()


def find_faulty_entries(path: Path) -> dict[int, bytes]:
    """Find entries of the first directory that are only metadata but that libtiff refuses a file for.

    Returns:
        Offset of each in the file -> a sound entry in its place: no unit of the resolution, no directory of EXIF.
    """
    found: dict[int, bytes] = {}
    try:
        with path.open("rb") as file:
            layout, at = _read_start(file)
            entries, _ = _raw_entries(file, layout, at)
            (count,) = struct.unpack(layout.count, _read_at(file, at, struct.calcsize(layout.count)))
            for index in range(count):
                place = at + struct.calcsize(layout.count) + (4 + 2 * layout.word_bytes) * index
                tag, kind = struct.unpack(layout.order + "HH", _read_at(file, place, 4))
                value = struct.unpack_from(layout.order + "H", entries[tag], 4 + layout.word_bytes)[0]
                if tag == _RESOLUTION_UNIT and not (kind == _SHORT and 1 <= value <= 3):
                    found[place] = _build_entry(layout, tag, _SHORT, struct.pack(layout.order + "H", _NO_ABSOLUTE_UNIT))
                elif tag in _POINTERS and kind not in (_LONG, 13, _IFD8 if layout.big else _LONG):
                    found[place] = _build_entry(layout, tag, _LONG, bytes(4))
    except (_MalformedError, OSError, struct.error):
        return {}
    return found


def _read_at(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _build_entry(layout: _Layout, tag: int, kind: int, value: bytes) -> bytes:
    """Build an entry with one value that is stored in it."""
    head = struct.pack(layout.order + "HH" + layout.word[1:], tag, kind, 1)
    return head + value.ljust(layout.word_bytes, b"\x00")


def edit_tiff(
    path: Path,
    block: bytes,
    *,
    iptc: bytes = b"",
    photoshop: bytes = b"",
    georeference: Georeference | None = None,
    has_density: bool = True,
) -> None:
    """Append a directory to a TIFF file with an EXIF block's tags, IPTC, Photoshop's resources and a georeference.

    A broken block is left out. Without `has_density` the resolution that libvips always writes becomes 1:1 without
    unit (TIFF 6.0, section 8: the tags must be there, and unit 1 stands for no absolute dimensions).
    Maker notes are copied as they are; offsets that some makers put inside them are no longer valid.
    """
    tables: dict[int, _Table] = {}
    block_layout = _Layout("<", big=False)
    with contextlib.suppress(_MalformedError, struct.error):
        source = io.BytesIO(block)
        block_layout, at = _read_start(source)
        tables = _read_tables(source, block_layout, at, _belongs_to_exif)
    for tag, data in ((_IPTC, iptc), (_PHOTOSHOP, photoshop)):
        if data:
            tables.setdefault(0, {})[tag] = _TagValue(_UNDEFINED, len(data), data)
    if georeference is not None:
        tables.setdefault(0, {}).update(_build_georeference(georeference, block_layout.order))
    if not has_density:
        one = _TagValue(_RATIONAL, 1, struct.pack(block_layout.order + "II", 1, 1))
        unit = _TagValue(_SHORT, 1, struct.pack(block_layout.order + "H", _NO_ABSOLUTE_UNIT))
        tables.setdefault(0, {}).update({_X_RESOLUTION: one, _Y_RESOLUTION: one, _RESOLUTION_UNIT: unit})
    if not any(tables.values()):
        return
    with path.open("r+b") as file:
        layout, at = _read_start(file)
        own, following = _raw_entries(file, layout, at)
        if not has_density:
            own = {tag: entry for tag, entry in own.items() if tag not in RESOLUTION_TAGS}
        file.seek(0, os.SEEK_END)
        first = _write_tables(file, tables, block_layout.order, layout, own, following)
        file.seek(8 if layout.big else 4)
        file.write(struct.pack(layout.word, first))


def _belongs_to_exif(tag: int) -> bool:
    """Whether a tag of an EXIF block's first directory is neither about its pixels nor another kind of metadata."""
    others = {_X_RESOLUTION, _Y_RESOLUTION, _XMP, _IPTC, _PHOTOSHOP, _ICC, *GEOREFERENCE_TAGS}
    return tag not in _STRUCTURE and tag not in others


def _read_start(file: BinaryIO) -> tuple[_Layout, int]:
    start = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 8:
        raise _MalformedError
    (version,) = struct.unpack_from(order + "H", start, 2)
    if version not in (42, 43):
        raise _MalformedError
    layout = _Layout(order, big=version == 43)
    return layout, struct.unpack_from(layout.word, start, 8 if layout.big else 4)[0]


def _read_tables(file: BinaryIO, layout: _Layout, at: int, of_first: Callable[[int], bool]) -> dict[int, _Table]:
    """Read the first directory (under 0, the tags that `of_first` takes) and those below it, under their pointers."""
    room = [_MOST_BYTES]
    found = {0: _read_table(file, layout, at, lambda tag: tag in _POINTERS or of_first(tag), room)}
    for above, tag in ((0, _EXIF_POINTER), (0, _GPS_POINTER), (_EXIF_POINTER, _INTEROP_POINTER)):
        entry = found.get(above, {}).get(tag)
        if entry is None or entry.kind not in (_LONG, 13, 16, _IFD8) or entry.count != 1:
            continue
        (below,) = struct.unpack(layout.order + ("Q" if len(entry.data) == 8 else "I"), entry.data)
        with contextlib.suppress(_MalformedError, OSError, struct.error):  # the others may be sound
            found[tag] = _read_table(file, layout, below, None, room)
    return {name: {tag: table[tag] for tag in table if tag not in _POINTERS} for name, table in found.items()}


def _read_table(
    file: BinaryIO, layout: _Layout, at: int, wanted: Callable[[int], bool] | None, room: list[int]
) -> dict[int, _TagValue]:
    table: _Table = {}
    for tag, raw in _raw_entries(file, layout, at)[0].items():
        kind, count = struct.unpack_from(layout.order + "H" + layout.word[1:], raw, 2)
        if kind not in _UNIT_BYTES or (wanted is not None and not wanted(tag)):
            continue
        size = _UNIT_BYTES[kind] * _UNITS.get(kind, 1) * count
        room[0] -= size
        if room[0] < 0:
            raise _MalformedError
        data = raw[-layout.word_bytes :][:size]
        if size > layout.word_bytes:
            file.seek(min(struct.unpack(layout.word, raw[-layout.word_bytes :])[0], 2**62))
            data = file.read(size)
        if len(data) == size:
            table[tag] = _TagValue(kind, count, data)
    return table


def _raw_entries(file: BinaryIO, layout: _Layout, at: int) -> tuple[dict[int, bytes], int]:
    """The entries of a directory as they lie in the file, and where the next directory is."""
    file.seek(min(at, 2**62))
    (count,) = struct.unpack(layout.count, file.read(struct.calcsize(layout.count)))
    if count > _MOST_ENTRIES:
        raise _MalformedError
    entry_bytes = 4 + 2 * layout.word_bytes
    data = file.read(entry_bytes * count + layout.word_bytes)
    (following,) = struct.unpack_from(layout.word, data, entry_bytes * count)
    pieces = (data[entry_bytes * index : entry_bytes * (index + 1)] for index in range(count))
    return {struct.unpack_from(layout.order + "H", piece)[0]: piece for piece in pieces}, following


def _write_tables(
    file: BinaryIO,
    tables: Mapping[int, _Table],
    order: str,
    layout: _Layout,
    own: Mapping[int, bytes] | None = None,
    following: int = 0,
) -> int:
    """Write directories from here on, the lowest first -> where the first is.

    `own` are entries that the first directory has already, in the file's own layout: they stay.
    """
    places: dict[int, int] = {}

    def pointers(*tags: int) -> dict[int, bytes]:
        kind = _IFD8 if layout.big else _LONG
        form = layout.order + "HH" + 2 * layout.word[1:]
        return {tag: struct.pack(form, tag, kind, 1, places[tag]) for tag in tags if tag in places}

    for tag in (_INTEROP_POINTER, _EXIF_POINTER, _GPS_POINTER):
        if tables.get(tag):
            below = pointers(_INTEROP_POINTER) if tag == _EXIF_POINTER else {}
            places[tag] = _write_table(file, tables[tag], order, layout, below, 0)
    first = {tag: entry for tag, entry in tables.get(0, {}).items() if tag not in (own or {})}
    return _write_table(file, first, order, layout, {**(own or {}), **pointers(_EXIF_POINTER, _GPS_POINTER)}, following)


def _write_table(
    file: BinaryIO, table: _Table, order: str, layout: _Layout, raw: Mapping[int, bytes], following: int
) -> int:
    """Write one directory: values that need room first, then its entries (with those in `raw`) -> where it is."""
    entries = dict(raw)
    for tag, entry in table.items():
        data = entry.data
        if order != layout.order:
            data = _swap_bytes(data, _UNIT_BYTES[entry.kind])
        if len(data) > layout.word_bytes:
            data = struct.pack(layout.word, _append(file, data))
        head = struct.pack(layout.order + "HH" + layout.word[1:], tag, entry.kind, entry.count)
        entries[tag] = head + data.ljust(layout.word_bytes, b"\x00")
    body = struct.pack(layout.count, len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
    return _append(file, body + struct.pack(layout.word, following))


def _append(file: BinaryIO, data: bytes) -> int:
    """Write at the next multiple of 8 bytes -> where that is."""
    file.write(b"\x00" * (-file.tell() % 8))
    at = file.tell()
    file.write(data)
    return at


def _swap_bytes(data: bytes, unit_bytes: int) -> bytes:
    return b"".join(data[at : at + unit_bytes][::-1] for at in range(0, len(data), unit_bytes))
