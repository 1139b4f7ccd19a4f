"""JPEG: read and written by libvips, which writes no JFIF header, so that EXIF carries the density."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tessera.images.codecs.exif_cleanup import choose_kept, remove_invented_tags
from tessera.images.codecs.libvips_loader import LibvipsLoader
from tessera.images.picture_format import ALL_KINDS, PictureFormat, SaveOptions

_SEGMENT_BYTES = 65_533
_XMP_IDENTIFIER_BYTES = 29


def _matches(start: bytes) -> bool:
    return start[:3] == b"\xff\xd8\xff"


def _hold_scans(head: Any, frames: int) -> int:
    """The coefficients of all scans of a progressive file, 16 bits each, which libjpeg holds."""
    progressive = head.get_typeof("jpeg-multiscan") and head.get("jpeg-multiscan")
    return 2 * head.height * head.width * head.bands if progressive else 0


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    keep = choose_kept(image, options.metadata, density_in_exif=True)
    image.jpegsave(os.fsencode(path), Q=options.quality, subsample_mode="off", keep=keep)
    remove_invented_tags(path, options.metadata)


JPEG = PictureFormat(
    name="JPEG",
    extensions=(".jpg", ".jpeg", ".jpe", ".jfif"),
    matches=_matches,
    open=LibvipsLoader(format_name="JPEG", held_bytes=_hold_scans),
    save=_save,
    quality=95,
    alpha=False,
    longest_side=65_500,
    metadata=ALL_KINDS,
    iptc_in_photoshop=True,
    # each kind must go into one segment, because libvips writes no further ones
    metadata_bytes={"EXIF": _SEGMENT_BYTES, "IPTC": _SEGMENT_BYTES, "XMP": _SEGMENT_BYTES - _XMP_IDENTIFIER_BYTES},
    bytes_per_sample=0.4,
)
