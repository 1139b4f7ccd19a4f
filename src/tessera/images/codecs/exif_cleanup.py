"""EXIF that libvips has written: tags that it invents are removed, in place.

When libvips writes EXIF it adds what the standard calls mandatory: a resolution (72 per inch if it knows none) and a
color space ("uncalibrated").
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from tessera.images.exif_tables import COLOR_SPACE, PREFIX, RESOLUTION_TAGS, has_tag, remove_tags
from tessera.images.libvips import get_blob, open_image
from tessera.images.metadata import Metadata

_KEPT = "icc|xmp|iptc|other|gainmap"


def choose_kept(image: Any, metadata: Metadata, *, density_in_exif: bool = False) -> str:
    """Return libvips' `keep`: EXIF only if the picture has some, or if the format stores the density there."""
    exif = bool(image.get_typeof("exif-data")) or (density_in_exif and metadata.density is not None)
    return f"{_KEPT}|exif" if exif else _KEPT


def clean_exif(block: bytes, metadata: Metadata) -> bytes:
    """Remove from an EXIF block the tags that libvips invented -> a block of the same length."""
    removed: set[int] = set()
    if metadata.density is None:
        removed |= RESOLUTION_TAGS
    if not has_tag(bytes(metadata.value("exif-data") or b""), COLOR_SPACE):
        removed.add(COLOR_SPACE)
    return remove_tags(block, removed)


def remove_invented_tags(path: Path, metadata: Metadata) -> None:
    """Clean the EXIF block of a finished file in place (the file's format must have no checksum over it)."""
    written = get_blob(open_image(path, access="sequential"), "exif-data").removeprefix(PREFIX)
    cleaned = clean_exif(written, metadata)
    if cleaned == written:
        return
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        at = content.find(written)
        if at >= 0:
            content[at : at + len(cleaned)] = cleaned
