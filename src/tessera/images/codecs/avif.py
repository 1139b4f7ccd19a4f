"""AVIF: read and written by libvips with libheif and AV1."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tessera.images.codecs.exif_cleanup import choose_kept, remove_invented_tags
from tessera.images.codecs.libvips_loader import LibvipsLoader, count_decoded_bytes
from tessera.images.picture_format import PictureFormat, SaveOptions


def _matches(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and any(brand in start[8:] for brand in (b"avif", b"avis"))


def _hold_planes(head: Any, frames: int) -> int:
    return 4 * count_decoded_bytes(head)  # planes of the decoder, of libheif, and RGB


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    keep = choose_kept(image, options.metadata, density_in_exif=True)
    deep = image.format == "ushort"
    if deep:  # round to 12 bits here, because the encoder would truncate
        image = ((image * (4095 / 65_535)).rint() * 16).cast("ushort").copy(interpretation="rgb16")
    image.heifsave(
        os.fsencode(path),
        compression="av1",
        Q=options.quality,
        bitdepth=12 if deep else 8,
        subsample_mode="off",
        effort=4,
        keep=keep,
    )
    remove_invented_tags(path, options.metadata)


AVIF = PictureFormat(
    name="AVIF",
    extensions=(".avif", ".heif"),
    matches=_matches,
    open=LibvipsLoader(format_name="AVIF", held_bytes=_hold_planes),
    save=_save,
    quality=90,
    deepest=12,
    gray=False,
    longest_side=16_384,
    metadata=frozenset(("EXIF", "XMP", "ICC profile")),
    whole_in_memory=True,
    bytes_per_sample=0.3,
)
