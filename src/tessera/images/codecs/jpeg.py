"""JPEG: pixels are read and written by libvips, all other segments here.

libvips (8.18) rebuilds EXIF from the tags that it knows, writes no comments and one XMP segment only, and reads an
Ultra HDR file whole into memory, without XMP and IPTC.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from tessera.images.codecs import jpeg_segments as jpeg
from tessera.images.codecs.jpeg_reader import read_jpeg_container
from tessera.images.codecs.libvips_loader import LibvipsLoader
from tessera.images.codecs.splicing import SplicedFile
from tessera.images.exif import set_density
from tessera.images.metadata import Density, Metadata
from tessera.images.photoshop import join_resources
from tessera.images.picture_format import EMBEDDED_KINDS, PictureFormat, SaveOptions
from tessera.images.xmp import MOST_BYTES, MalformedXmpError
from tessera.images.xmp_extended import split_extended

_MOST_EXIF_BYTES = jpeg.SEGMENT_BYTES - len(jpeg.EXIF_PREFIX)
_MOST_XMP_BYTES = jpeg.SEGMENT_BYTES - len(jpeg.XMP_PREFIX)


def _matches(start: bytes) -> bool:
    return start[:3] == b"\xff\xd8\xff"


def _hold_scans(head: Any, frames: int) -> int:
    """The coefficients of all scans of a progressive file, 16 bits each, which libjpeg holds."""
    progressive = head.get_typeof("jpeg-multiscan") and head.get("jpeg-multiscan")
    return 2 * head.height * head.width * head.bands if progressive else 0


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    metadata = options.metadata
    head = b"".join(_build_segments(metadata))
    index = jpeg.build_picture_index() if metadata.gain_map is not None else b""
    edit = _HeadInsertion(head + index)
    SplicedFile(path, edit).save(
        lambda target: image.jpegsave_target(target, Q=options.quality, subsample_mode="off", keep="icc")
    )
    if metadata.gain_map is not None:
        with path.open("r+b") as file:
            first_bytes = file.seek(0, 2)
            file.write(metadata.gain_map.jpeg)
            jpeg.fill_picture_index(file, 2 + len(head), first_bytes, len(metadata.gain_map.jpeg))


class _HeadInsertion:
    """Puts segments after the SOI marker of a stream."""

    def __init__(self, head: bytes) -> None:
        self._head: bytes | None = head
        self._seen = b""

    def __call__(self, data: bytes) -> bytes | None:
        if self._head is None:
            return None
        self._seen += data
        if len(self._seen) < 2:
            return b""
        result = self._seen[:2] + self._head + self._seen[2:]
        self._head = None
        return result


def _build_segments(metadata: Metadata) -> list[bytes]:
    segments: list[bytes] = []
    if metadata.exif:
        exif = set_density(metadata.exif, metadata.density, most=_MOST_EXIF_BYTES)
        segments.append(jpeg.build_segment(jpeg.APP1, jpeg.EXIF_PREFIX + exif))
    elif metadata.density is not None:
        segments.append(_build_jfif(metadata.density))
    if metadata.xmp:
        segments += _build_xmp(metadata.xmp)
    if resources := join_resources(metadata.iptc, metadata.photoshop):
        step = jpeg.SEGMENT_BYTES - len(jpeg.PHOTOSHOP_PREFIX)
        segments += (
            jpeg.build_segment(jpeg.APP13, jpeg.PHOTOSHOP_PREFIX + resources[at : at + step])
            for at in range(0, len(resources), step)
        )
    if metadata.gain_map is not None and metadata.gain_map.version:
        segments.append(jpeg.build_segment(jpeg.APP2, jpeg.GAIN_MAP_PREFIX + metadata.gain_map.version))
    segments += (jpeg.build_segment(jpeg.COM, text.encode()) for text in metadata.texts)
    return segments


def _build_jfif(density: Density) -> bytes:
    """Build a JFIF header with a density (JFIF 1.02)."""
    per_inch = [min(65_535, max(1, round(value * 25.4))) for value in density]
    return jpeg.build_segment(jpeg.APP0, b"JFIF\x00" + struct.pack(">HBHHBB", 0x0102, 1, *per_inch, 0, 0))


def _build_xmp(packet: bytes) -> list[bytes]:
    """Build one segment, or several where the packet is too large for one."""
    if len(packet) <= _MOST_XMP_BYTES:
        return [jpeg.build_segment(jpeg.APP1, jpeg.XMP_PREFIX + packet)]
    main, extended, digest = split_extended(packet, _MOST_XMP_BYTES)
    return [
        jpeg.build_segment(jpeg.APP1, jpeg.XMP_PREFIX + main),
        *jpeg.split_extended_xmp(extended, digest),
    ]


def _accepts_xmp(packet: bytes) -> bool:
    """Whether a packet fits into one segment or can be split."""
    if len(packet) <= _MOST_XMP_BYTES:
        return True
    try:
        split_extended(packet, _MOST_XMP_BYTES)
    except MalformedXmpError:
        return False
    return True


JPEG = PictureFormat(
    name="JPEG",
    extensions=(".jpg", ".jpeg", ".jpe", ".jfif"),
    matches=_matches,
    open=LibvipsLoader(format_name="JPEG", loader="jpegload", held_bytes=_hold_scans, container=read_jpeg_container),
    save=_save,
    quality=95,
    alpha=False,
    longest_side=65_500,
    metadata=frozenset((*EMBEDDED_KINDS, "comments", "gain map")),
    metadata_bytes={"EXIF": _MOST_EXIF_BYTES, "XMP": MOST_BYTES, "comments": jpeg.SEGMENT_BYTES},
    accepts_xmp=_accepts_xmp,
    bytes_per_sample=0.4,
)
