"""PNG chunks: size, density, and color information that libvips drops (PNG, third edition, 11.3.2 and 11.3.4).

gAMA, cHRM and cICP are not applied, but a note tells the user why colors may shift.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WANTED = frozenset((b"IHDR", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"pHYs"))
_METER = 1
_MOST_CHUNKS = 10_000
_MOST_BYTES = 64
_SRGB_GAMMA, _GAMMA_OFF = 45_455, 500
_SRGB_PRIMARIES = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
_PRIMARIES_OFF = 1_000  # libpng's own tolerance for calling primaries those of sRGB
_FULL_RANGE_RGB = (0, 1)
"""No matrix, full range (ITU-T H.273): a color coding that is carried through."""


def encode_chunk(kind: bytes, data: bytes) -> bytes:
    """Build a chunk: length, kind, data, checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def read_png_size(start: bytes) -> tuple[int, int] | None:
    """Read the (H, W) that the first 24 bytes of a PNG file claim; None if it is not a PNG."""
    if start[:8] != SIGNATURE or start[12:16] != b"IHDR" or len(start) < 24:
        return None
    width, height = struct.unpack_from(">II", start, 16)
    return height, width


def read_png_density(path: Path) -> tuple[float, float] | None:
    """Read the density in pixels per millimeter (pHYs); None if absent, or if it is only a ratio."""
    body = dict(_chunks_before_pixels(path)).get(b"pHYs", b"")
    if len(body) < 9 or body[8] != _METER:
        return None
    across, down = struct.unpack_from(">II", body)
    return (across / 1000, down / 1000) if across and down else None


def describe_color_chunks(path: Path) -> Iterator[str]:
    """Describe color information that is not applied, in one sentence; nothing for a file that says sRGB.

    A color coding of full range is carried through (`png_reader`).
    """
    chunks = dict(_chunks_before_pixels(path))
    code_points = tuple(chunks.get(b"cICP", b"")[:4])
    followed = "its ICC profile is used instead" if b"iCCP" in chunks else "the values are taken as sRGB"
    if len(code_points) == 4 and code_points[2:] != _FULL_RANGE_RGB:
        primaries, transfer = code_points[:2]
        yield f"Its color coding (PNG cICP: primaries {primaries}, transfer {transfer}) is not applied: {followed}."
        return
    if code_points or b"sRGB" in chunks or b"iCCP" in chunks:  # which go before gAMA and cHRM
        return
    found: list[str] = []
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4], "big")
    if gamma and abs(gamma - _SRGB_GAMMA) > _GAMMA_OFF:
        found.append(f"gamma of {gamma / 100_000:.4g} (PNG gAMA)")
    header, corners = chunks.get(b"IHDR", b""), chunks.get(b"cHRM", b"")
    in_color = header[9:10] not in (b"\x00", b"\x04")
    if in_color and len(corners) >= 32:
        off = (abs(a - b) for a, b in zip(struct.unpack_from(">8I", corners), _SRGB_PRIMARIES, strict=True))
        if max(off) > _PRIMARIES_OFF:
            found.append("primaries (PNG cHRM)")
    if found:
        verb = "is" if found[0].startswith("gamma") and len(found) == 1 else "are"
        yield f"Its {' and '.join(found)} {verb} not applied: {followed}."


def _chunks_before_pixels(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The chunks about color and density, each with its first bytes."""
    with path.open("rb") as file:
        if file.read(8) != SIGNATURE:
            return
        for _ in range(_MOST_CHUNKS):
            head = file.read(8)
            if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
                return
            (size,) = struct.unpack_from(">I", head)
            taken = file.read(min(size, _MOST_BYTES)) if head[4:] in _WANTED else b""
            if head[4:] in _WANTED:
                yield head[4:], taken
            file.seek(size - len(taken) + 4, 1)
