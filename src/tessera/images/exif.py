"""EXIF blocks, corrected in place: a block is a small TIFF file without pixels (EXIF 2.32, section 4.5).

No value moves, so that maker notes, whose offsets count from the start of the block, stay valid, and tags that no
library knows stay too. All blocks are without the prefix "Exif\\0\\0".
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from tessera.images.metadata import Density

PREFIX = b"Exif\x00\x00"
_WIDTH, _HEIGHT, _ORIENTATION, _EXIF_POINTER, _PIXEL_X, _PIXEL_Y = 256, 257, 274, 34665, 40962, 40963
_INTEROP_POINTER, _RELATED_WIDTH, _RELATED_HEIGHT = 40965, 4097, 4098
_THUMBNAIL, _THUMBNAIL_BYTES = 513, 514
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_INCH = 2
_MM_PER_INCH = 25.4
_MM_PER_UNIT: dict[int | None, float] = {_INCH: _MM_PER_INCH, 3: 10.0}
_CLOSE = 1e-3
"""PNG stores whole pixels per meter, so that 300 per inch comes back as 299.9994."""
_MOST_ENTRIES = 4096
_FINEST_DENOMINATOR = 1000
MOST_BYTES = 2**26


class MalformedExifError(Exception):
    """A block whose first directory cannot be read."""


@dataclass(frozen=True)
class _EntryHeader:
    at: int
    tag: int
    kind: int
    count: int


class _Block:
    """An EXIF block that is edited in place."""

    def __init__(self, block: bytes) -> None:
        self.data = bytearray(block)
        order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(bytes(block[:4]))
        if order is None or not 8 <= len(block) <= MOST_BYTES:
            raise MalformedExifError
        self.order = order
        self.first = self._word(4)

    def list_entries(self, directory: int) -> Iterator[_EntryHeader]:
        """Yield the entries of a directory. Raises MalformedExifError."""
        count = self.count_entries(directory)
        for index in range(count):
            at = directory + 2 + 12 * index
            yield _EntryHeader(at, *struct.unpack_from(self.order + "HHI", self.data, at))

    def count_entries(self, directory: int) -> int:
        """Read the number of entries. Raises MalformedExifError if the directory is not wholly in the block."""
        if not 8 <= directory <= len(self.data) - 2:
            raise MalformedExifError
        (count,) = struct.unpack_from(self.order + "H", self.data, directory)
        if not 0 < count <= _MOST_ENTRIES or directory + 2 + 12 * count > len(self.data):
            raise MalformedExifError
        return count

    def read_number(self, entry: _EntryHeader) -> int | None:
        """Read a single SHORT or LONG."""
        if entry.count != 1 or entry.kind not in (_SHORT, _LONG):
            return None
        if entry.kind == _LONG:
            return self._word(entry.at + 8)
        return struct.unpack_from(self.order + "H", self.data, entry.at + 8)[0]

    def read_ratio(self, entry: _EntryHeader) -> float:
        """Read a single RATIONAL. Raises MalformedExifError and ZeroDivisionError."""
        at = self._word(entry.at + 8)
        if entry.kind != _RATIONAL or entry.count != 1 or at + 8 > len(self.data):
            raise MalformedExifError
        return self._word(at) / self._word(at + 4)

    def write_number(self, entry: _EntryHeader, value: int) -> None:
        """Replace a value by a single SHORT if it was one and the number fits, else by a LONG."""
        short = entry.kind == _SHORT and value < 2**16
        form, kind = ("HHIHxx", _SHORT) if short else ("HHII", _LONG)
        struct.pack_into(self.order + form, self.data, entry.at, entry.tag, kind, 1, value)

    def correct_directory(self, directory: int, values: Mapping[int, int]) -> int | None:
        """Replace the values of tags; for a pointer (EXIF, interoperability), return what it points to instead."""
        below: int | None = None
        for entry in self.list_entries(directory):
            if entry.tag in (_EXIF_POINTER, _INTEROP_POINTER) and entry.tag in values:
                below = self.read_number(entry)
            elif entry.tag in values:
                self.write_number(entry, values[entry.tag])
        return below

    def drop_thumbnail(self) -> None:
        """Unlink the second directory and erase the JPEG file that it points to."""
        link = self.first + 2 + 12 * self.count_entries(self.first)
        if link + 4 > len(self.data):
            return
        second = self._word(link)
        struct.pack_into(self.order + "I", self.data, link, 0)
        try:
            places = {entry.tag: self.read_number(entry) for entry in self.list_entries(second)}
        except MalformedExifError:
            return
        at, size = places.get(_THUMBNAIL) or 0, places.get(_THUMBNAIL_BYTES) or 0
        end = at + size
        if self.data.startswith(b"\xff\xd8", at) and at >= 8 and end <= len(self.data):
            if end == len(self.data):
                del self.data[at:]
            else:
                self.data[at:end] = bytes(end - at)

    def _word(self, at: int) -> int:
        return struct.unpack_from(self.order + "I", self.data, at)[0]


def correct_exif(block: bytes, *, height: int, width: int) -> bytes:
    """Set orientation to 1 and sizes to those of the picture where the block has them, and drop the thumbnail.

    Raises MalformedExifError if the first directory cannot be read.
    """
    edited = _Block(block)
    values = {_WIDTH: width, _HEIGHT: height, _ORIENTATION: 1, _EXIF_POINTER: 0}
    below = edited.correct_directory(edited.first, values)
    with contextlib.suppress(MalformedExifError):  # only a lower directory: others cannot read its values either
        if below is not None:
            values = {_PIXEL_X: width, _PIXEL_Y: height, _INTEROP_POINTER: 0}
            below = edited.correct_directory(below, values)
        if below is not None:
            edited.correct_directory(below, {_RELATED_WIDTH: width, _RELATED_HEIGHT: height})
    edited.drop_thumbnail()
    return bytes(edited.data)


def read_orientation(block: bytes) -> int | None:
    """Read the orientation, 1 to 8; None if the block has none or is malformed."""
    try:
        read = _Block(block)
        found = next((entry for entry in read.list_entries(read.first) if entry.tag == _ORIENTATION), None)
    except MalformedExifError:
        return None
    value = read.read_number(found) if found is not None else None
    return value if value is not None and 1 <= value <= 8 else None


def read_density(block: bytes) -> Density | None:
    """Read the resolution in pixels per millimeter; None if the block has none or it is malformed."""
    try:
        read = _Block(block)
        entries = {entry.tag: entry for entry in read.list_entries(read.first)}
        unit = read.read_number(entries[_RESOLUTION_UNIT]) if _RESOLUTION_UNIT in entries else _INCH
        across, down = (read.read_ratio(entries[tag]) / _MM_PER_UNIT[unit] for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    except (MalformedExifError, KeyError, ZeroDivisionError):
        return None
    return across, down


def set_density(block: bytes, density: Density | None, *, most: int = MOST_BYTES) -> bytes:
    """Return a block with this density, unchanged if it has it already or would pass `most` bytes.

    An empty block becomes one that has nothing else. The first directory is written again at the end of the block;
    nothing else moves.
    """
    found = read_density(block)
    if density is None or (
        found and all(math.isclose(*pair, rel_tol=_CLOSE) for pair in zip(found, density, strict=True))
    ):
        return block
    result = _add_density(block, density)
    return result if len(result) <= most else block


def _add_density(block: bytes, density: Density) -> bytes:
    order, following, old = "<", 0, dict[int, bytes]()
    if block:
        read = _Block(block)
        order = read.order
        old = {entry.tag: block[entry.at : entry.at + 12] for entry in read.list_entries(read.first)}
        link = read.first + 2 + 12 * read.count_entries(read.first)
        following = struct.unpack_from(order + "I", block, link)[0] if link + 4 <= len(block) else 0
    else:
        block = struct.pack("<2sHI", b"II", 42, 0)
    result = bytearray(block) + b"\x00" * (len(block) % 2)
    for tag, pixels_per_mm in zip((_X_RESOLUTION, _Y_RESOLUTION), density, strict=True):
        ratio = Fraction(pixels_per_mm * _MM_PER_INCH).limit_denominator(_FINEST_DENOMINATOR)
        old[tag] = struct.pack(order + "HHII", tag, _RATIONAL, 1, len(result))
        result += struct.pack(order + "II", min(ratio.numerator, 2**32 - 1), ratio.denominator)
    old[_RESOLUTION_UNIT] = struct.pack(order + "HHIHxx", _RESOLUTION_UNIT, _SHORT, 1, _INCH)
    struct.pack_into(order + "I", result, 4, len(result))
    entries = b"".join(old[tag] for tag in sorted(old))
    return bytes(result) + struct.pack(order + "H", len(old)) + entries + struct.pack(order + "I", following)
