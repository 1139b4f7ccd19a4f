"""What a JPEG file holds besides the pixels of its first picture: metadata, a gain map, further pictures, a film."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tessera.images.codecs import jpeg_segments as jpeg
from tessera.images.exif import read_orientation
from tessera.images.libvips import vips
from tessera.images.metadata import Container, GainMap, Metadata, Text, list_names
from tessera.images.photoshop import split_resources
from tessera.images.xmp import GAIN_MAP, MalformedXmpError, mentions_film
from tessera.images.xmp_extended import merge_extended, read_extension_digest

_MOST_PICTURES = 64
_MOST_GAIN_MAP_BYTES = 2**26
_MOST_GAIN_MAP_PIXELS = 2**26
_APPLE_GAIN_MAP = b"aux:hdrgainmap"
_GAIN_MAP_QUALITY = 95
_TRAILER_BYTES = 2**16
_KNOWN_SEGMENTS: dict[int, tuple[bytes, ...]] = {
    jpeg.APP0: (b"JFIF\x00", b"JFXX\x00"),
    jpeg.APP1: (jpeg.EXIF_PREFIX, jpeg.XMP_PREFIX, jpeg.EXTENSION_PREFIX),
    jpeg.APP2: (jpeg.ICC_PREFIX, jpeg.MPF_PREFIX, jpeg.GAIN_MAP_PREFIX),
    jpeg.APP12: (b"Ducky",),
    jpeg.APP13: (jpeg.PHOTOSHOP_PREFIX, b"Adobe_CM"),
    jpeg.APP14: (b"Adobe",),
    jpeg.COM: (b"",),
}
"""What is read, and what is about the coding of the old pixels (JFIF, Ducky, Adobe)."""


@dataclass
class _Followers:
    """What follows the first picture in the file."""

    gain_map: bytes = b""
    pictures: int = 0
    """Further pictures that are neither gain map nor previews."""
    trailer_bytes: int = 0
    has_film: bool = False


def read_jpeg_container(path: Path) -> Container:
    """Read the metadata of a JPEG file. Whatever is damaged is left out and named; only OSError is raised."""
    notes: list[str] = []
    with path.open("rb") as file:
        found = jpeg.read_segments(file)
        followers = _read_followers(file, found)
    if len(found.list_payloads(jpeg.APP1, jpeg.EXIF_PREFIX)) > 1:
        notes.append("Only the first of its EXIF blocks was kept.")
    exif = next((data for data in found.list_payloads(jpeg.APP1, jpeg.EXIF_PREFIX)), b"")
    orientation = read_orientation(exif)
    xmp = _read_xmp(found, notes)
    iptc, photoshop = split_resources(b"".join(found.list_payloads(jpeg.APP13, jpeg.PHOTOSHOP_PREFIX)))
    gain_map = None
    if followers.gain_map:
        version = next(iter(found.list_payloads(jpeg.APP2, jpeg.GAIN_MAP_PREFIX)), b"")
        turned = _turn(followers.gain_map, orientation or 1)
        if turned:
            gain_map = GainMap(turned, version)
        else:
            notes.append("Its gain map (HDR) is damaged or too large and was not kept.")
    notes += _describe_rest(found, followers, xmp)
    return Container(
        metadata=Metadata(
            exif=exif,
            xmp=xmp,
            iptc=iptc,
            photoshop=photoshop,
            texts=tuple(
                Text.decode_comment(data.rstrip(b"\x00"))
                for marker, data in found.segments
                if marker == jpeg.COM and data
            ),
            gain_map=gain_map,
        ),
        orientation=orientation,
        has_profile=bool(found.list_payloads(jpeg.APP2, jpeg.ICC_PREFIX)),
        notes=tuple(notes),
    )


def _read_xmp(found: jpeg.JpegSegments, notes: list[str]) -> bytes:
    """Join the main packet with its extension."""
    xmp = next((data for data in found.list_payloads(jpeg.APP1, jpeg.XMP_PREFIX)), b"").rstrip(b"\x00")
    digest = read_extension_digest(xmp)
    if not digest and not found.list_payloads(jpeg.APP1, jpeg.EXTENSION_PREFIX):
        return xmp
    extended = jpeg.join_extended_xmp(found, digest) if digest else None
    try:
        if extended is not None:
            return merge_extended(xmp, extended)
    except MalformedXmpError:
        pass
    notes.append("Its extended XMP is damaged or incomplete and was not kept.")
    return xmp


def _read_followers(file: BinaryIO, found: jpeg.JpegSegments) -> _Followers:
    result = _Followers()
    if found.end is None:
        return result
    pictures, end = jpeg.find_pictures(file, found, _MOST_PICTURES)
    previews = jpeg.read_preview_numbers(found)
    for number, (start, picture) in enumerate(pictures, start=1):
        assert picture.end is not None
        if not result.gain_map and _is_gain_map(picture) and picture.end - start <= _MOST_GAIN_MAP_BYTES:
            file.seek(start)
            result.gain_map = file.read(picture.end - start)
        elif number not in previews:
            result.pictures += 1
    file.seek(end)
    trailer = file.read(_TRAILER_BYTES)
    if trailer.strip(b"\x00\r\n "):
        result.trailer_bytes = file.seek(0, os.SEEK_END) - end
        result.has_film = b"ftyp" in trailer or b"MotionPhoto" in trailer
    return result


def _is_gain_map(picture: jpeg.JpegSegments) -> bool:
    if picture.list_payloads(jpeg.APP2, jpeg.GAIN_MAP_PREFIX):
        return True
    packets = picture.list_payloads(jpeg.APP1, jpeg.XMP_PREFIX)
    return any(GAIN_MAP in packet or _APPLE_GAIN_MAP in packet for packet in packets)


def _describe_rest(found: jpeg.JpegSegments, followers: _Followers, xmp: bytes) -> list[str]:
    """Name what is kept in no format."""
    notes: list[str] = []
    if followers.pictures:
        notes.append(f"Only the first of its {1 + followers.pictures} pictures was used.")
    if followers.has_film or (followers.trailer_bytes and mentions_film(xmp)):
        notes.append(f"The film of this motion photo ({followers.trailer_bytes:,} bytes) was not kept.")
    elif followers.trailer_bytes:
        notes.append(f"The {followers.trailer_bytes:,} bytes after the end of the picture were not kept.")
    others = [
        f"APP{marker - jpeg.APP0} ({_name_segment(data)})"
        for marker, data in found.segments
        if not data.startswith(_KNOWN_SEGMENTS.get(marker, ()))
    ]
    if others:
        notes.append(f"Data of other programs in its segments {list_names(others)} was not kept.")
    return notes


def _name_segment(data: bytes) -> str:
    """Read the identifier at the start of a segment; C2PA lies in boxes (ISO 19566-5)."""
    if b"jumb" in data[:64]:
        return "C2PA"
    return data[:16].split(b"\x00")[0].decode("latin-1").strip() or "unnamed"


def _turn(gain_map: bytes, orientation: int) -> bytes:
    """Turn a gain map as its picture is turned; empty if it cannot be decoded."""
    if orientation == 1:
        return gain_map
    try:
        image = vips().Image.jpegload_buffer(gain_map, fail_on="error")
        if image.width * image.height > _MOST_GAIN_MAP_PIXELS:
            return b""
        image = image.copy()
        image.set_type(vips().GValue.gint_type, "orientation", orientation)
        turned = bytes(image.autorot().jpegsave_buffer(Q=_GAIN_MAP_QUALITY, subsample_mode="off", keep="none"))
    except vips().Error:
        return b""
    kept = b"".join(
        jpeg.build_segment(marker, data)
        for marker, data in jpeg.read_segments(io.BytesIO(gain_map)).segments
        if marker in (jpeg.APP1, jpeg.APP2) and not data.startswith((jpeg.EXIF_PREFIX, jpeg.MPF_PREFIX))
    )
    return turned[:2] + kept + turned[2:]
