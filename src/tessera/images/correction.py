"""Metadata for a picture of a new size in another format: sizes and orientation corrected, and what the format loses.

EXIF, XMP, IPTC and ICC travel as libvips' header fields.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from tessera.images.metadata import Metadata, MetadataField
from tessera.images.picture_format import MetadataKind, PictureFormat

_KINDS: dict[str, MetadataKind] = {
    "exif-data": "EXIF",
    "xmp-data": "XMP",
    "iptc-data": "IPTC",
    "icc-profile-data": "ICC profile",
}


def correct_metadata(metadata: Metadata, form: PictureFormat, *, height: int, width: int) -> tuple[MetadataField, ...]:
    """Return the fields to write with a picture of this size in this format.

    Orientation becomes 1 and sizes become those of the picture, in XMP here and in EXIF by libvips. What the format
    cannot hold is left out.
    """
    result: list[MetadataField] = []
    too_large: set[str] = set()
    for field in metadata.fields:
        value, kind = field.value, _KINDS.get(field.name)
        # EXIF needs no check here: writers that hold none ignore it
        if kind in ("XMP", "IPTC", "ICC profile") and kind not in form.metadata:
            continue
        if kind == "XMP":
            value = correct_xmp(bytes(value), height=height, width=width)
        elif kind == "IPTC":
            value = convert_iptc(bytes(value), in_photoshop=form.iptc_in_photoshop)
        if kind is not None and len(value) > form.metadata_bytes.get(kind, len(value)):
            too_large.add(field.name)
        result.append(MetadataField(field.name, field.gtype, value))
    kept = (field for field in result if field.name not in too_large)
    if "exif-data" in too_large:  # libvips would rebuild EXIF from the tags
        kept = (field for field in kept if not field.name.startswith("exif-"))
    return tuple(kept)


def list_losses(metadata: Metadata, form: PictureFormat) -> tuple[str, ...]:
    """Name the kinds of metadata that the picture has and the format cannot hold."""
    fields = {field.name: field for field in metadata.fields}
    losses: list[str] = []
    for name, kind in _KINDS.items():
        if name not in fields:
            continue
        words = "the ICC profile" if kind == "ICC profile" else kind
        size = len(fields[name].value)
        if kind not in form.metadata:
            losses.append(words)
        elif size > form.metadata_bytes.get(kind, size):
            losses.append(f"{words} of {size:,} bytes")
    return tuple(losses)


_XMP_THUMBNAILS = re.compile(rb"<xmp:Thumbnails\b.*?</xmp:Thumbnails\s*>\s*", re.DOTALL)


def correct_xmp(packet: bytes, *, height: int, width: int) -> bytes:
    """Correct orientation and sizes in an XMP packet, as attributes and as elements, and drop its thumbnails.

    >>> correct_xmp(b'<a tiff:Orientation="6" tiff:ImageWidth="60"/>', height=80, width=120)
    b'<a tiff:Orientation="1" tiff:ImageWidth="120"/>'
    """
    values = {
        b"tiff:Orientation": b"1",
        b"tiff:ImageWidth": b"%d" % width,
        b"tiff:ImageLength": b"%d" % height,
        b"exif:PixelXDimension": b"%d" % width,
        b"exif:PixelYDimension": b"%d" % height,
    }
    for name, value in values.items():
        pattern = re.compile(rb"(\b" + name + rb"\s*(?:=\s*[\"']|>)\s*)\d+")
        packet = pattern.sub(rb"\g<1>" + value, packet)
    return _XMP_THUMBNAILS.sub(b"", packet)


_PHOTOSHOP = b"Photoshop 3.0\x00"
_IPTC_RESOURCE = 0x0404
_THUMBNAIL_RESOURCES = frozenset({0x0409, 0x040C})


def convert_iptc(block: bytes, *, in_photoshop: bool) -> bytes:
    """Convert IPTC between bare records (TIFF) and records inside Photoshop's resources, without thumbnails (JPEG).

    (Adobe, "Photoshop File Formats Specification": image resource blocks; IPTC-NAA is resource 0x0404.)
    """
    wrapped = block.startswith(_PHOTOSHOP)
    if not in_photoshop:
        if not wrapped:
            return block
        return next((data for number, data, _ in _split_resources(block) if number == _IPTC_RESOURCE), b"")
    if wrapped:
        kept = (whole for number, _, whole in _split_resources(block) if number not in _THUMBNAIL_RESOURCES)
        return _PHOTOSHOP + b"".join(kept)
    padded = block + b"\x00" * (len(block) % 2)
    return _PHOTOSHOP + b"8BIM" + struct.pack(">HHI", _IPTC_RESOURCE, 0, len(block)) + padded


def _split_resources(block: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Split Photoshop's image resources -> number, data, and the whole of each as it is stored."""
    position = len(_PHOTOSHOP)
    while block[position : position + 4] == b"8BIM" and position + 12 <= len(block):
        (number,) = struct.unpack_from(">H", block, position + 4)
        name_bytes = block[position + 6] + 1
        start = position + 6 + name_bytes + name_bytes % 2
        if start + 4 > len(block):
            return
        (size,) = struct.unpack_from(">I", block, start)
        end = start + 4 + size + size % 2
        yield number, block[start + 4 : start + 4 + size], block[position:end]
        position = end
