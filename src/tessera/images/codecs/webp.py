"""WebP: pixels are read and written by libvips, still or animated; EXIF and XMP here, to the byte (RFC 9649, 2.7)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from tessera.images.codecs.libvips_loader import LibvipsLoader, count_decoded_bytes
from tessera.images.exif import MOST_BYTES, PREFIX, read_orientation, set_density
from tessera.images.metadata import Container, Metadata, list_names
from tessera.images.picture_format import PictureFormat, SaveOptions

_HAS_EXIF, _HAS_XMP, _HAS_ALPHA = 0x08, 0x04, 0x10
_MOST_CHUNKS = 100_000
_KNOWN = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "))


def _matches(start: bytes) -> bool:
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def _hold_frames(head: Any, frames: int) -> int:
    decoded = count_decoded_bytes(head)
    return 3 * decoded + (decoded * frames if frames > 1 else 0)


def _read_container(path: Path) -> Container:
    found: dict[bytes, bytes] = {}
    others: list[str] = []
    notes: list[str] = []
    with path.open("rb") as file:
        file.seek(12)
        for _ in range(_MOST_CHUNKS):
            head = file.read(8)
            if len(head) < 8:
                break
            kind, size = struct.unpack("<4sI", head)
            end = file.tell() + size + size % 2
            if kind in (b"EXIF", b"XMP ", b"ICCP") and kind not in found:
                found[kind] = _read_block(file, kind, size, notes)
            elif kind not in _KNOWN:
                others.append(kind.decode("latin-1"))
            file.seek(end)
    if others:
        notes.append(f"Data of other programs in its chunks {list_names(others)} was not kept.")
    exif = found.get(b"EXIF", b"").removeprefix(PREFIX)
    return Container(
        metadata=Metadata(exif=exif, xmp=found.get(b"XMP ", b"").rstrip(b"\x00")),
        orientation=read_orientation(exif),
        has_profile=b"ICCP" in found,
        notes=tuple(notes),
    )


def _read_block(file: BinaryIO, kind: bytes, size: int, notes: list[str]) -> bytes:
    if kind == b"ICCP":
        return b""
    data = file.read(size) if size <= MOST_BYTES else b""
    if len(data) < size:
        notes.append(f"Its {kind.decode().strip()} is cut short or too large and was not kept.")
        return b""
    return data


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    data: bytes = image.webpsave_buffer(
        Q=options.quality,
        smart_subsample=True,
        alpha_q=100,
        exact=True,  # colors under transparent pixels stay
        effort=4,
        keep="icc",
    )
    metadata = options.metadata
    exif = set_density(metadata.exif, metadata.density)
    with path.open("wb") as file:
        for piece in _insert_metadata(data, exif, metadata.xmp, height=options.height, width=options.width):
            file.write(piece)


def _insert_metadata(data: bytes, exif: bytes, xmp: bytes, *, height: int, width: int) -> list[bytes]:
    """Append the chunks of EXIF and XMP, and announce them in the header, which a plain file has to get first."""
    if not exif and not xmp:
        return [data]
    flags = (_HAS_EXIF if exif else 0) | (_HAS_XMP if xmp else 0)
    start = 12
    if data[12:16] == b"VP8X":
        flags |= data[20]
        header = data[12:20] + bytes((flags,)) + data[21:30]
        start = 30
    else:
        if data[12:16] == b"VP8L" and data[24] & _HAS_ALPHA:  # alpha_is_used, bit 28 after the signature byte
            flags |= _HAS_ALPHA
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        header = b"VP8X" + struct.pack("<IB3x", 10, flags) + sides
    pieces = [header, data[start:], *(_build_chunk(*chunk) for chunk in ((b"EXIF", exif), (b"XMP ", xmp)) if chunk[1])]
    size = 4 + sum(len(piece) for piece in pieces)
    return [b"RIFF" + struct.pack("<I", size) + b"WEBP", *pieces]


def _build_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\x00" * (len(data) % 2)


WEBP = PictureFormat(
    name="WebP",
    extensions=(".webp",),
    matches=_matches,
    open=LibvipsLoader(format_name="WebP", animated=True, held_bytes=_hold_frames, container=_read_container),
    save=_save,
    quality=95,
    gray=False,
    longest_side=16_383,
    animated=True,
    metadata=frozenset(("EXIF", "XMP", "ICC profile")),
    whole_in_memory=True,
    encoder_bytes_per_sample=4.5,
    bytes_per_sample=0.4,
)
