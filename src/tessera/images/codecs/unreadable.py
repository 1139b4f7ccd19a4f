"""Formats that folders are searched for although this build of libvips may have no decoder for them.

libvips is asked all the same, because a build of the system's may have one; where it fails, the hint says what to do.
"""

from __future__ import annotations

from tessera.images.codecs.libvips_loader import LibvipsLoader
from tessera.images.picture_format import PictureFormat


def _matches_heic(start: bytes) -> bool:
    return start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1")


def _matches_jpeg_xl(start: bytes) -> bool:
    return start[:10] == b"\x00\x00\x00\x0cJXL \r\n" or start[:2] == b"\xff\x0a"


def _matches_jpeg_2000(start: bytes) -> bool:
    return start[:10] == b"\x00\x00\x00\x0cjP  \r\n" or start[:4] == b"\xff\x4f\xff\x51"


def _matches_radiance(start: bytes) -> bool:
    return start.startswith((b"#?RADIANCE", b"#?RGBE"))


def _matches_openexr(start: bytes) -> bool:
    return start[:4] == b"\x76\x2f\x31\x01"


HEIC = PictureFormat(
    name="HEIC",
    extensions=(".heic",),
    matches=_matches_heic,
    open=LibvipsLoader(format_name="HEIC"),
    hint="HEIC, whose decoder the libvips package leaves out: convert it to JPEG, PNG or AVIF",
)
JPEG_XL = PictureFormat(
    name="JPEG XL",
    extensions=(".jxl",),
    matches=_matches_jpeg_xl,
    open=LibvipsLoader(format_name="JPEG XL"),
    hint="JPEG XL, whose decoder the libvips package leaves out: convert it to PNG",
)
JPEG_2000 = PictureFormat(
    name="JPEG 2000",
    extensions=(".jp2",),
    matches=_matches_jpeg_2000,
    open=LibvipsLoader(format_name="JPEG 2000"),
    hint="JPEG 2000, whose decoder the libvips package leaves out: convert it to PNG",
)
RADIANCE = PictureFormat(
    name="Radiance HDR",
    extensions=(".hdr",),
    matches=_matches_radiance,
    open=LibvipsLoader(format_name="Radiance HDR"),
    hint="Radiance HDR: convert it to PNG or TIFF with 16 bits",
)
OPENEXR = PictureFormat(
    name="OpenEXR",
    extensions=(".exr",),
    matches=_matches_openexr,
    open=LibvipsLoader(format_name="OpenEXR"),
    hint="OpenEXR: convert it to PNG or TIFF with 16 bits",
)
