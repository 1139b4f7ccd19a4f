"""Directories of a TIFF file: which holds the main image, and how its samples are coded.

libvips takes the first directory, which in many files is a thumbnail or a reduced copy (TIFF 6.0, NewSubfileType;
TIFF/EP; DNG 1.7, "Image File Directories"). Everything here is bounded, and directories that point in a circle are
followed once.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

NEW_SUBFILE_TYPE, SUBFILE_TYPE = 254, 255
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 256, 257, 258, 259, 262, 277
MAKE, SUB_IFDS, INK_SET, EXTRA_SAMPLES = 271, 330, 332, 338
YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, REFERENCE_BLACK_WHITE, DNG_VERSION = 529, 530, 532, 50706
_NAMED = frozenset(
    (
        *(NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, MAKE, SUB_IFDS),
        *(INK_SET, EXTRA_SAMPLES, YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, REFERENCE_BLACK_WHITE, DNG_VERSION),
    )
)
_FORMATS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 7: "B", 11: "f", 12: "d", 13: "I", 16: "Q", 18: "Q"}
_MOST_ENTRIES = 4096
_MOST_VALUES = 1024
_MOST_DIRECTORIES = 4096
_REDUCED, _MASK = 1, 4
_REDUCED_IN_OLD_FILES = 2
_MASK_PHOTOMETRIC = 4
_RAW_PHOTOMETRICS = frozenset({32803, 34892})
"""Color filter array and linear raw (TIFF/EP; DNG 1.7)."""
_RAW_COMPRESSIONS = frozenset({32767, 32769, 32770, 34713, 34892, 65535})
"""Of Sony ARW, packed raw, Samsung SRW, Nikon NEF, lossy DNG and Pentax PEF (libtiff, "tiff.h"; dcraw)."""

Number = int | float


@dataclass(frozen=True, kw_only=True)
class TiffDirectory:
    """One image of a TIFF file."""

    page: int
    """Its number in the file's chain of directories, or that of the directory it lies below."""
    sub_image: int | None
    """Its number among the sub-images (SubIFDs) of that page; None for the page itself."""
    tags: dict[int, tuple[Number, ...]]
    places: dict[int, int]
    """Where in the file the value of a tag lies, for tags whose value is stored in the entry."""

    def get_first(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        values = self.tags.get(tag)
        return int(values[0]) if values else default

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.get_first(HEIGHT, 0), self.get_first(WIDTH, 0)

    @property
    def is_picture(self) -> bool:
        """Whether it is neither a reduced copy of another image nor a mask."""
        kind = self.get_first(NEW_SUBFILE_TYPE, 0)
        is_reduced = bool(kind & _REDUCED) or self.get_first(SUBFILE_TYPE, 0) == _REDUCED_IN_OLD_FILES
        return not (is_reduced or kind & _MASK or self.get_first(PHOTOMETRIC, 0) == _MASK_PHOTOMETRIC)

    @property
    def is_raw(self) -> bool:
        """Whether it holds the values of a camera's sensor."""
        return (
            self.get_first(PHOTOMETRIC, 0) in _RAW_PHOTOMETRICS
            or self.get_first(COMPRESSION, 1) in _RAW_COMPRESSIONS
            or DNG_VERSION in self.tags
        )


def read_directories(path: Path) -> tuple[TiffDirectory, ...]:
    """Read the directories of a TIFF file and the sub-images below them; what is damaged is left out.

    Raises OSError.
    """
    with path.open("rb") as file:
        return tuple(_DirectoryReader(file).walk())


def choose_main(directories: Sequence[TiffDirectory]) -> TiffDirectory | None:
    """Choose the main image: the first that is not reduced, pages before sub-images; None without directories."""
    pictures = [each for each in directories if each.is_picture]
    pages = [each for each in pictures if each.sub_image is None]
    return next(iter(pages or pictures or directories), None)


class _DirectoryReader:
    """Follows a file's directories."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = file.seek(0, os.SEEK_END)
        self._seen: set[int] = set()
        file.seek(0)
        start = file.read(16).ljust(16, b"\x00")
        self._order = ">" if start[:2] == b"MM" else "<"
        self._is_big = struct.unpack_from(self._order + "H", start, 2)[0] == 43
        self._word = "Q" if self._is_big else "I"
        self._first: int = struct.unpack_from(self._order + self._word, start, 8 if self._is_big else 4)[0]

    def walk(self) -> Iterator[TiffDirectory]:
        at, page = self._first, 0
        while (found := self._read(at, page, None)) is not None:
            directory, at = found
            yield directory
            for number, below in enumerate(directory.tags.get(SUB_IFDS, ())):
                sub_image = self._read(int(below), page, number)
                if sub_image is not None:
                    yield sub_image[0]
            page += 1

    def _read(self, at: int, page: int, sub_image: int | None) -> tuple[TiffDirectory, int] | None:
        """Read the directory at an offset -> it, and where the next is; None if it is not there or was read before."""
        if at in self._seen or not 0 < at < self._end or len(self._seen) >= _MOST_DIRECTORIES:
            return None
        self._seen.add(at)
        count_format = self._order + ("Q" if self._is_big else "H")
        head = self._read_bytes(at, struct.calcsize(count_format))
        if head is None or (count := struct.unpack(count_format, head)[0]) > _MOST_ENTRIES:
            return None
        entry_bytes, word_bytes = (20, 8) if self._is_big else (12, 4)
        start = at + len(head)
        entries = self._read_bytes(start, count * entry_bytes)
        if entries is None:
            return None
        link = self._read_bytes(start + len(entries), word_bytes)
        tags: dict[int, tuple[Number, ...]] = {}
        places: dict[int, int] = {}
        for offset in range(0, len(entries), entry_bytes):
            tag, kind, values = struct.unpack_from(self._order + "HH" + self._word, entries, offset)
            if tag not in _NAMED or kind not in _FORMATS or tag in tags or not 0 < values <= _MOST_VALUES:
                continue
            unit = self._order + _FORMATS[kind] * values
            size = struct.calcsize(unit)
            data: bytes | None = entries[offset + entry_bytes - word_bytes : offset + entry_bytes][:size]
            if size > word_bytes:
                place = struct.unpack_from(self._order + self._word, entries, offset + entry_bytes - word_bytes)[0]
                data = self._read_bytes(place, size)
            else:
                places[tag] = start + offset + entry_bytes - word_bytes
            if data is not None:
                tags[tag] = _parse(struct.unpack(unit, data), is_rational=kind == 5)
        directory = TiffDirectory(page=page, sub_image=sub_image, tags=tags, places=places)
        return directory, struct.unpack(self._order + self._word, link)[0] if link else 0

    def _read_bytes(self, at: int, count: int) -> bytes | None:
        """Bytes of the file; None where it ends before."""
        if at < 0 or at + count > self._end:
            return None
        self._file.seek(at)
        data = self._file.read(count)
        return data if len(data) == count else None


def _parse(values: tuple[Number, ...], *, is_rational: bool) -> tuple[Number, ...]:
    if not is_rational:
        return values
    return tuple(over / under if under else 0.0 for over, under in zip(values[::2], values[1::2], strict=True))
