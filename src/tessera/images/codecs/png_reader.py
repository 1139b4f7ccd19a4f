"""Metadata in all chunks of a PNG file, before and after the pixels (PNG, third edition, table 7)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tessera.images.codecs.png_chunks import SIGNATURE
from tessera.images.codecs.png_text import (
    XMP_KEYWORD,
    MalformedTextError,
    RawProfile,
    parse_raw_profile,
    parse_text,
)
from tessera.images.exif import PREFIX, read_orientation
from tessera.images.metadata import ColorCoding, Container, Metadata, Text, list_names
from tessera.images.photoshop import split_resources
from tessera.wording import join_words

_MOST_CHUNKS = 2**21
_MOST_OTHER_CHUNKS = 10_000
_MOST_BYTES = 2**26
"""Of all metadata in one file, decompressed."""
_MOST_TEXT_BYTES = 2**24
_MOST_NAMED = 8
_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_XMP_IDENTIFIER = b"http://ns.adobe.com/xap/1.0/\x00"
_ABOUT_PIXELS = frozenset(
    (
        *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"sBIT"),
        *(b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP"),
        *(b"acTL", b"fcTL", b"fdAT"),
    )
)
"""Chunks that the pixels follow, or that are read elsewhere."""
_NOT_KEPT = {
    b"tIME": "time of modification",
    b"bKGD": "background color",
    b"hIST": "histogram",
    b"sPLT": "suggested palette",
    b"oFFs": "offset on the page",
    b"sCAL": "physical scale",
    b"pCAL": "calibration of pixel values",
    b"sTER": "stereo layout",
    b"mDCV": "mastering display (HDR)",
    b"cLLI": "light level (HDR)",
}
"""Chunks of the standard and its extensions that are named in a note."""


@dataclass
class _ChunkContents:
    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    photoshop: bytes = b""
    texts: list[Text] = field(default_factory=list[Text])
    dropped: list[str] = field(default_factory=list[str])
    not_kept: list[str] = field(default_factory=list[str])
    others: list[str] = field(default_factory=list[str])
    color_coding: ColorCoding | None = None
    has_profile: bool = False
    frames: int = 1
    room: int = _MOST_BYTES


def read_png_container(path: Path) -> Container:
    """Read the metadata of a PNG file. Whatever is damaged is left out and named; only OSError is raised."""
    found = _ChunkContents()
    with path.open("rb") as file:
        for kind, size in _list_chunks(file, found):
            if kind in _TEXTS:
                _take_text(kind, _read(file, size, found), found)
            elif kind == b"eXIf":
                found.exif = found.exif or (_read(file, size, found) or b"").removeprefix(PREFIX)
            elif kind == b"iCCP":
                found.has_profile = True
            elif kind == b"cICP" and size == 4:
                primaries, transfer, *others = file.read(4).ljust(4, b"\x00")
                found.color_coding = ColorCoding(primaries, transfer) if others == [0, 1] else None
            elif kind == b"acTL" and size >= 8:
                found.frames = max(1, int.from_bytes(file.read(4), "big"))
            elif kind == b"pHYs":
                across, down, unit = struct.unpack(">IIB", file.read(9).ljust(9, b"\x00"))
                if unit == 0 and across != down:
                    found.not_kept.append(f"pixel aspect ratio of {across}:{down} (PNG pHYs)")
            elif kind in _NOT_KEPT:
                found.not_kept.append(f"{_NOT_KEPT[kind]} (PNG {kind.decode()})")
            elif kind not in _ABOUT_PIXELS:
                found.others.append(kind.decode("latin-1"))
    reasons = list(dict.fromkeys(found.dropped))
    notes = [f"Its {reason} was not kept." for reason in reasons[:_MOST_NAMED]]
    if len(reasons) > _MOST_NAMED:
        notes.append(f"{len(reasons) - _MOST_NAMED:,} more of its texts are damaged or too large and were not kept.")
    if not_kept := list(dict.fromkeys(found.not_kept)):
        notes.append(f"Its {join_words(not_kept)} {'was' if len(not_kept) == 1 else 'were'} not kept.")
    if found.others:
        notes.append(f"Data of other programs in its chunks {list_names(found.others)} was not kept.")
    if found.frames > 1:
        notes.append(f"Only the first of its {found.frames:,} frames was used: animated PNG is not supported.")
    return Container(
        metadata=Metadata(
            exif=found.exif,
            xmp=found.xmp,
            iptc=found.iptc,
            photoshop=found.photoshop,
            texts=tuple(found.texts),
            color_coding=found.color_coding,
        ),
        orientation=read_orientation(found.exif),
        has_profile=found.has_profile,
        notes=tuple(notes),
    )


def _list_chunks(file: BinaryIO, found: _ChunkContents) -> Iterator[tuple[bytes, int]]:
    """Yield kind and size of each chunk, with the file at its data."""
    if file.read(8) != SIGNATURE:
        return
    others = 0
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        size, kind = struct.unpack(">I4s", head)
        at = file.tell()
        if kind not in (b"IDAT", b"fdAT", b"fcTL"):
            others += 1
            if others > _MOST_OTHER_CHUNKS:
                found.dropped.append(f"metadata after the first {_MOST_OTHER_CHUNKS:,} chunks")
                return
            yield kind, size
            file.seek(at)
        file.seek(size + 4, 1)


def _read(file: BinaryIO, size: int, found: _ChunkContents) -> bytes | None:
    """Read a chunk's data; None if there is no room for it, or it is cut short."""
    if size > found.room:
        found.dropped.append(f"metadata above {_MOST_BYTES // 2**20} MiB")
        return None
    data = file.read(size)
    found.room -= len(data)
    return data if len(data) == size else None


def _take_text(kind: bytes, data: bytes | None, found: _ChunkContents) -> None:
    if data is None:
        return
    try:
        text = parse_text(kind, data, min(_MOST_TEXT_BYTES, found.room))
    except MalformedTextError as error:
        keyword = data.partition(b"\x00")[0].decode("latin-1").strip()
        found.dropped.append(f"text {list_names([keyword]) + ' ' if keyword else ''}{error}")
        return
    found.room -= len(text.text)
    if text.keyword == XMP_KEYWORD:
        found.xmp = found.xmp or text.text.encode("utf-8" if kind == b"iTXt" else "latin-1").rstrip(b"\x00")
        return
    profile = parse_raw_profile(text)
    if profile is None or not _take_profile(profile, found):
        found.texts.append(text)


def _take_profile(profile: RawProfile, found: _ChunkContents) -> bool:
    """Take metadata that was stored as text; a dedicated chunk takes precedence. False for an unknown kind."""
    data = profile.data
    if profile.kind in ("exif", "app1") and data.startswith(_XMP_IDENTIFIER):
        found.xmp = found.xmp or data.removeprefix(_XMP_IDENTIFIER).rstrip(b"\x00")
    elif profile.kind in ("exif", "app1"):
        found.exif = found.exif or data.removeprefix(PREFIX)
    elif profile.kind == "xmp":
        found.xmp = found.xmp or data.rstrip(b"\x00")
    elif profile.kind in ("iptc", "8bim"):
        iptc, photoshop = split_resources(data)
        found.iptc, found.photoshop = found.iptc or iptc, found.photoshop or photoshop
    else:
        return False
    return True
