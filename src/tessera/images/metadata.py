"""What a picture carries besides pixels, and how it is corrected when the picture changes size.

EXIF, XMP, IPTC and ICC travel as libvips' header fields. Sizes and orientation inside them are made true again; the
embedded thumbnail, which shows the old picture, is dropped.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tessera.images.tiff_exif import without_thumbnail

_PIXEL_FIELDS = frozenset(
    (
        *("width", "height", "bands", "format", "coding", "interpretation", "xoffset", "yoffset", "xres", "yres"),
        *("filename", "vips-loader", "vips-sequential", "bits-per-sample", "palette", "interlaced", "orientation"),
        *("n-pages", "page-height", "n-subifds", "subifd-pages", "background", "concurrency"),
        *("heif-bitdepth", "heif-compression", "heif-primary"),
        *("jpeg-multiscan", "jpeg-chroma-subsample", "jpeg-thumbnail-data", "photoshop-data"),
        *("loop", "delay", "gif-delay", "gif-loop", "gif-palette"),
    )
)
_ANIMATION_FIELDS = frozenset({"loop", "delay"})
_SIZES_AND_THUMBNAIL = re.compile(r"exif-ifd1-|exif-ifd0-Orientation$|exif-ifd0-Image(Width|Length)$")
_IPTC_HOLDERS = frozenset({"JPEG", "TIFF"})
_EXIF_HOLDERS = frozenset({"JPEG", "PNG", "WebP", "AVIF", "TIFF"})
_XMP_HOLDERS = frozenset({"JPEG", "PNG", "WebP", "AVIF", "TIFF"})  # GIF too, but libvips writes none there
_ICC_HOLDERS = frozenset({"JPEG", "PNG", "WebP", "AVIF", "TIFF"})


@dataclass(frozen=True)
class Field:
    """One header field as libvips has it: its name, its GType and its value."""

    name: str
    gtype: int
    value: Any


@dataclass(frozen=True)
class Metadata:
    """Everything that a picture carried besides its pixels."""

    fields: tuple[Field, ...] = ()
    animation: tuple[Field, ...] = ()
    pixels_per_mm: tuple[float, float] = (1.0, 1.0)

    def value(self, name: str) -> Any:
        """The value of a field, or None."""
        return next((field.value for field in self.fields if field.name == name), None)

    @property
    def has_resolution(self) -> bool:
        """Whether the file gave pixels per length: libvips says 1 per mm or 72 per inch where nothing is known."""
        return not any(abs(self.pixels_per_mm[0] - unknown) < 0.01 for unknown in (0.0, 1.0, 72 / 25.4))

    @property
    def icc_profile(self) -> bytes | None:
        """The embedded ICC profile."""
        return self.value("icc-profile-data")

    def without_icc(self) -> Metadata:
        """The same without its profile, for pixels that no longer belong to it."""
        kept = tuple(field for field in self.fields if field.name != "icc-profile-data")
        return Metadata(kept, self.animation, self.pixels_per_mm)


def gather(image: Any) -> Metadata:
    """Take the metadata of a libvips image, less what only describes its pixels."""
    fields: list[Field] = []
    animation: list[Field] = []
    for name in image.get_fields():
        if name in _PIXEL_FIELDS and name not in _ANIMATION_FIELDS:
            continue
        value = image.get(name)
        if name == "exif-data":
            value = without_thumbnail(bytes(value))
        field = Field(name, image.get_typeof(name), value)
        if name in _ANIMATION_FIELDS:
            animation.append(field)
        elif not _SIZES_AND_THUMBNAIL.match(name):
            fields.append(field)
    return Metadata(tuple(fields), tuple(animation), (image.xres, image.yres))


_XMP_THUMBNAILS = re.compile(rb"<xmp:Thumbnails\b.*?</xmp:Thumbnails\s*>\s*", re.DOTALL)
_JPEG_SEGMENT_BYTES = {"exif-data": 65_533, "iptc-data": 65_533, "xmp-data": 65_533 - 29}  # less XMP's identifier


def _fits(field: Field, format_name: str) -> bool:
    """Whether a field is small enough: in JPEG each kind must go into one segment (libvips writes no further ones)."""
    limit = _JPEG_SEGMENT_BYTES.get(field.name) if format_name == "JPEG" else None
    return limit is None or len(field.value) <= limit


def corrected(metadata: Metadata, *, height: int, width: int, format_name: str) -> tuple[Field, ...]:
    """The fields to write with a picture of this size in this format.

    Orientation becomes 1 and sizes become true, in EXIF (libvips writes the sizes itself) and in XMP.
    """
    result: list[Field] = []
    for field in metadata.fields:
        value = field.value
        if field.name == "xmp-data":
            if format_name not in _XMP_HOLDERS:
                continue
            value = corrected_xmp(bytes(value), height=height, width=width)
        elif field.name == "iptc-data":
            if format_name not in _IPTC_HOLDERS:
                continue
            value = iptc_for(format_name, bytes(value))
        elif field.name == "icc-profile-data" and format_name not in _ICC_HOLDERS:
            continue
        result.append(Field(field.name, field.gtype, value))
    too_large = {field.name for field in result if not _fits(field, format_name)}
    if "exif-data" in too_large:  # libvips would make EXIF again from the tags
        return tuple(field for field in result if field.name not in too_large and not field.name.startswith("exif-"))
    return tuple(field for field in result if field.name not in too_large)


def lost_in(metadata: Metadata, format_name: str) -> tuple[str, ...]:
    """The kinds of metadata that the picture has and the format cannot hold."""
    kinds: Iterable[tuple[str, str, frozenset[str]]] = (
        ("EXIF", "exif-data", _EXIF_HOLDERS),
        ("XMP", "xmp-data", _XMP_HOLDERS),
        ("IPTC", "iptc-data", _IPTC_HOLDERS),
        ("the ICC profile", "icc-profile-data", _ICC_HOLDERS),
    )
    fields = {field.name: field for field in metadata.fields}
    lost: list[str] = []
    for kind, name, holders in kinds:
        if name in fields and format_name not in holders:
            lost.append(kind)
        elif name in fields and not _fits(fields[name], format_name):
            lost.append(f"{kind} of {len(fields[name].value):,} bytes")
    return tuple(lost)


def corrected_xmp(packet: bytes, *, height: int, width: int) -> bytes:
    """Make an XMP packet's orientation and sizes true, as attributes and as elements, and drop its thumbnails.

    >>> corrected_xmp(b'<a tiff:Orientation="6" tiff:ImageWidth="60"/>', height=80, width=120)
    b'<a tiff:Orientation="1" tiff:ImageWidth="120"/>'
    """
    truths = {
        b"tiff:Orientation": b"1",
        b"tiff:ImageWidth": b"%d" % width,
        b"tiff:ImageLength": b"%d" % height,
        b"exif:PixelXDimension": b"%d" % width,
        b"exif:PixelYDimension": b"%d" % height,
    }
    for name, truth in truths.items():
        pattern = re.compile(rb"(\b" + name + rb"\s*(?:=\s*[\"']|>)\s*)\d+")
        packet = pattern.sub(rb"\g<1>" + truth, packet)
    return _XMP_THUMBNAILS.sub(b"", packet)


_PHOTOSHOP = b"Photoshop 3.0\x00"
_IPTC_RESOURCE = 0x0404
_THUMBNAIL_RESOURCES = frozenset({0x0409, 0x040C})


def iptc_for(format_name: str, block: bytes) -> bytes:
    """IPTC as the format stores it: bare records in TIFF, inside Photoshop's resources (less thumbnails) in JPEG.

    (Adobe, "Photoshop File Formats Specification": image resource blocks; IPTC-NAA is resource 0x0404.)
    """
    wrapped = block.startswith(_PHOTOSHOP)
    if format_name == "JPEG":
        if wrapped:
            kept = (whole for number, _, whole in _resources(block) if number not in _THUMBNAIL_RESOURCES)
            return _PHOTOSHOP + b"".join(kept)
        padded = block + b"\x00" * (len(block) % 2)
        return _PHOTOSHOP + b"8BIM" + struct.pack(">HHI", _IPTC_RESOURCE, 0, len(block)) + padded
    if format_name == "TIFF" and wrapped:
        return next((data for number, data, _ in _resources(block) if number == _IPTC_RESOURCE), b"")
    return block


def _resources(block: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Photoshop's image resources: number, data, and the whole of each as it is stored."""
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


def sound_profile(profile: bytes, space: bytes) -> bytes | None:
    """The profile less what follows its end, or None when its header is damaged or it is not for this color space.

    `space` is b"RGB ", b"GRAY" or b"CMYK" (ICC.1:2022, section 7.2).
    """
    if len(profile) < 132 or profile[36:40] != b"acsp" or profile[16:20] != space:
        return None
    (size,) = struct.unpack_from(">I", profile)
    return profile[:size] if 132 <= size <= len(profile) else None


def profile_name(profile: bytes) -> str:
    """The description inside an ICC profile (ICC.1:2022, section 9.2.41; ICC.1:2001, textDescriptionType)."""
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        for index in range(min(count, 100)):
            tag, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
            if tag == b"desc":
                return _description(profile[offset : offset + size]) or "an unnamed profile"
    except (struct.error, UnicodeDecodeError, ValueError):
        pass
    return "an unnamed profile"


def _description(data: bytes) -> str:
    if data[:4] == b"mluc":
        size, start = struct.unpack_from(">II", data, 20)
        return data[start : start + size].decode("utf-16-be").strip("\x00 ")
    (size,) = struct.unpack_from(">I", data, 8)
    return data[12 : 12 + size].split(b"\x00")[0].decode("ascii", "replace").strip()
