"""JPEG files as a sequence of segments: the metadata in them, and what follows the picture in the file.

(ITU-T T.81, annex B; CIPA DC-007 for further pictures; Adobe, "XMP Specification Part 3", 1.1.3, for XMP.)
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

SEGMENT_BYTES = 65_533
EXIF_PREFIX = b"Exif\x00\x00"
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\x00"
EXTENSION_PREFIX = b"http://ns.adobe.com/xmp/extension/\x00"
PHOTOSHOP_PREFIX = b"Photoshop 3.0\x00"
ICC_PREFIX = b"ICC_PROFILE\x00"
GAIN_MAP_PREFIX = b"urn:iso:std:iso:ts:21496:-1\x00"
MPF_PREFIX = b"MPF\x00"
APP0, APP1, APP2, APP11, APP12, APP13, APP14, COM = 0xE0, 0xE1, 0xE2, 0xEB, 0xEC, 0xED, 0xEE, 0xFE
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers without a length."""
_PIECE_BYTES = 2**20
_MOST_SEGMENTS = 100_000
_MOST_BYTES = 2**26
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_EXTENSION_HEAD_BYTES = 40


@dataclass
class JpegSegments:
    """The metadata segments of one picture in a JPEG file, and where the picture ends."""

    segments: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    """Marker and payload of APP0 to APP15 and COM."""
    end: int | None = None
    """Just after the EOI marker; None if the file is cut short."""

    def list_payloads(self, marker: int, prefix: bytes) -> list[bytes]:
        """List what follows the prefix in each segment that has it."""
        return [data[len(prefix) :] for found, data in self.segments if found == marker and data.startswith(prefix)]


def build_segment(marker: int, data: bytes) -> bytes:
    """Build a segment of at most 65,533 bytes of data.

    >>> build_segment(0xFE, b"hello").hex()
    'fffe000768656c6c6f'
    """
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def read_segments(file: BinaryIO, start: int = 0) -> JpegSegments:
    """Read the segments of the picture that starts at `start`; whatever is not JPEG ends the reading."""
    found = JpegSegments()
    file.seek(start)
    if file.read(2) != bytes((0xFF, _SOI)):
        return found
    room = _MOST_BYTES
    for _ in range(_MOST_SEGMENTS):
        marker = _read_marker(file)
        if marker == _EOI:
            found.end = file.tell()
            return found
        if marker in _ALONE:
            continue
        head = file.read(2)
        if marker is None or len(head) < 2 or head < b"\x00\x02":
            return found
        size = int.from_bytes(head, "big") - 2
        if (0xE0 <= marker <= 0xEF or marker == COM) and size <= room:
            data = file.read(size)
            if len(data) < size:
                return found
            room -= size
            found.segments.append((marker, data))
        else:
            file.seek(size, 1)
        if marker == _SOS and not _skip_scan(file):
            return found
    return found


def _read_marker(file: BinaryIO) -> int | None:
    """Read a marker with the fill bytes before it; None if something else is there."""
    if file.read(1) != b"\xff":
        return None
    for _ in range(_PIECE_BYTES):
        code = file.read(1)
        if code != b"\xff":
            return code[0] if code else None
    return None


def _skip_scan(file: BinaryIO) -> bool:
    """Go to the marker after the coded data; False at the end of the file."""
    at = file.tell()
    while piece := file.read(_PIECE_BYTES):
        found = _AFTER_SCAN.search(piece)
        if found is not None:
            file.seek(at + found.start())
            return True
        at += len(piece) - piece.endswith(b"\xff")
        if len(piece) < _PIECE_BYTES:
            return False
        file.seek(at)
    return False


def find_pictures(file: BinaryIO, first: JpegSegments, most: int) -> tuple[list[tuple[int, JpegSegments]], int]:
    """Find the pictures that follow the first one directly, zeros between them aside -> those, where they end."""
    found: list[tuple[int, JpegSegments]] = []
    end = first.end
    assert end is not None
    while len(found) < most:
        start = _skip_zeros(file, end)
        following = read_segments(file, start)
        if following.end is None:
            break
        found.append((start, following))
        end = following.end
    return found, end


def _skip_zeros(file: BinaryIO, at: int) -> int:
    file.seek(at)
    while piece := file.read(_PIECE_BYTES):
        left = piece.lstrip(b"\x00")
        at += len(piece) - len(left)
        if left:
            break
    return at


def join_extended_xmp(segments: JpegSegments, digest: bytes) -> bytes | None:
    """Join the parts of the extended XMP with this digest; None if parts are missing (the parts say their place)."""
    parts: dict[int, bytes] = {}
    whole = 0
    for data in segments.list_payloads(APP1, EXTENSION_PREFIX):
        if len(data) < _EXTENSION_HEAD_BYTES or data[:32].upper() != digest.upper():
            continue
        whole, offset = struct.unpack_from(">II", data, 32)
        parts[offset] = data[_EXTENSION_HEAD_BYTES:]
    joined: list[bytes] = []
    at = 0
    while parts.get(at):
        joined.append(parts[at])
        at += len(parts[at])
    return b"".join(joined) if whole and at == whole else None


def split_extended_xmp(extended: bytes, digest: bytes) -> Iterator[bytes]:
    """Yield the segments of an extended XMP packet."""
    step = SEGMENT_BYTES - len(EXTENSION_PREFIX) - _EXTENSION_HEAD_BYTES
    for at in range(0, len(extended), step):
        head = EXTENSION_PREFIX + digest + struct.pack(">II", len(extended), at)
        yield build_segment(APP1, head + extended[at : at + step])


def read_preview_numbers(segments: JpegSegments) -> frozenset[int]:
    """Read which of the file's pictures (0 is the first) are only previews, from the multi-picture index."""
    for payload in segments.list_payloads(APP2, MPF_PREFIX):
        order = {b"II": "<", b"MM": ">"}.get(payload[:2])
        if order is None:
            continue
        try:
            (at,) = struct.unpack_from(order + "I", payload, 4)
            (count,) = struct.unpack_from(order + "H", payload, at)
            for index in range(min(count, 100)):
                tag, _, size, place = struct.unpack_from(order + "HHII", payload, at + 2 + 12 * index)
                if tag == 0xB002:
                    kinds = [
                        struct.unpack_from(order + "I", payload, place + 16 * number)[0] & 0xFFFFFF
                        for number in range(min(size // 16, 1000))
                    ]
                    return frozenset(n for n, kind in enumerate(kinds) if kind in (0x010001, 0x010002))
        except struct.error:
            continue
    return frozenset()


def build_picture_index() -> bytes:
    """Build the index of a file with two pictures (CIPA DC-007, 5.2); `fill_picture_index` sets their places."""
    entries = struct.pack("<HHI4s", 0xB000, 7, 4, b"0100")
    entries += struct.pack("<HHII", 0xB001, 4, 1, 2) + struct.pack("<HHII", 0xB002, 7, 32, 50)
    index = struct.pack("<2sHIH", b"II", 42, 8, 3) + entries + struct.pack("<I", 0)
    return build_segment(APP2, MPF_PREFIX + index + bytes(32))


def fill_picture_index(file: BinaryIO, index_at: int, first_bytes: int, second_bytes: int) -> None:
    """Set sizes and places in the index segment at `index_at`, in a file whose second picture follows the first."""
    origin = index_at + 4 + len(MPF_PREFIX)
    file.seek(origin + 50)
    file.write(struct.pack("<IIIHH", 0x030000, first_bytes, 0, 0, 0))
    file.write(struct.pack("<IIIHH", 0, second_bytes, first_bytes - origin, 0, 0))
