"""Photoshop's image resources, in which JPEG keeps IPTC (Adobe, "Photoshop File Formats Specification").

IPTC-NAA is resource 0x0404; resources 0x0409 and 0x040C are thumbnails of the old picture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

IDENTIFIER = b"Photoshop 3.0\x00"
_SIGNATURE = b"8BIM"
_IPTC = 0x0404
_THUMBNAILS = frozenset({0x0409, 0x040C})
_IPTC_MARKER = b"\x1c"


def split_resources(block: bytes) -> tuple[bytes, bytes]:
    """Split a block (with its identifier or without, or bare IPTC) -> IPTC records, other resources.

    Thumbnails are dropped.

    >>> split_resources(b"\\x1c\\x02\\x78\\x00\\x01A")
    (b'\\x1c\\x02x\\x00\\x01A', b'')
    """
    if block.startswith(_IPTC_MARKER):
        return block, b""
    iptc: list[bytes] = []
    others: list[bytes] = []
    for number, data, whole in _list_resources(block.removeprefix(IDENTIFIER)):
        if number == _IPTC:
            iptc.append(data)
        elif number not in _THUMBNAILS:
            others.append(whole)
    return b"".join(iptc), b"".join(others)


def join_resources(iptc: bytes, others: bytes) -> bytes:
    """Build a block without identifier from IPTC records and other resources; empty if both are."""
    if not iptc:
        return others
    padded = iptc + b"\x00" * (len(iptc) % 2)
    return _SIGNATURE + struct.pack(">HHI", _IPTC, 0, len(iptc)) + padded + others


def _list_resources(block: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield number, data, and the whole of each resource as it is stored."""
    position = 0
    while block.startswith(_SIGNATURE, position) and position + 12 <= len(block):
        (number,) = struct.unpack_from(">H", block, position + 4)
        name_bytes = block[position + 6] + 1
        start = position + 6 + name_bytes + name_bytes % 2
        if start + 4 > len(block):
            return
        (size,) = struct.unpack_from(">I", block, start)
        end = start + 4 + size + size % 2
        if start + 4 + size > len(block):
            return
        yield number, block[start + 4 : start + 4 + size], block[position:end].ljust(end - position, b"\x00")
        position = end
