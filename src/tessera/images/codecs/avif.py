"""AVIF: read and written by libvips with libheif and AV1; the EXIF block is put in place here, to the byte."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

from tessera.images.codecs.heif_boxes import add_color_coding, read_heif_facts
from tessera.images.codecs.libvips_loader import LibvipsLoader, Selection, count_decoded_bytes, make_alpha_straight
from tessera.images.exif import PREFIX, set_density
from tessera.images.libvips import get_blob, set_blob, vips
from tessera.images.metadata import Container, Metadata
from tessera.images.picture_format import PictureFormat, SaveOptions

_MATRIX = 6
"""BT.601 in full range, which libheif codes by default."""
_IMAGE_DESCRIPTION, _ASCII = 270, 2
_MOST_EXIF_BYTES = 2**16 - 512
"""What fits into the 64 KiB that libvips allows, with the tags that it adds."""


def _matches(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and any(brand in start[8:] for brand in (b"avif", b"avis"))


def _read_container(path: Path) -> Container:
    with path.open("rb") as file:
        start = file.read(64)
    size = min(int.from_bytes(start[:4], "big"), len(start))
    brands = [start[at : at + 4] for at in (8, *range(16, size, 4))]
    facts = read_heif_facts(path)
    metadata = Metadata(color_coding=facts.color_coding)
    notes: list[str] = []
    if b"avis" in brands:
        notes.append("Only the first frame of its sequence was used.")
    if b"tmap" in brands:  # ISO 23008-12, 6.6.2.4
        notes.append("Its gain map (HDR) was not kept.")
    return Container(metadata=metadata, notes=tuple(notes))


def _select(path: Path) -> Selection:
    """libvips delivers premultiplied alpha as it is stored."""
    return Selection(convert=make_alpha_straight) if read_heif_facts(path).is_premultiplied else Selection()


def _hold_planes(head: Any, frames: int) -> int:
    return 4 * count_decoded_bytes(head)  # planes of the decoder, of libheif, and RGB


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    metadata = options.metadata
    exif = set_density(metadata.exif, metadata.density, most=_MOST_EXIF_BYTES)
    image = image.copy()
    if metadata.xmp:
        set_blob(image, "xmp-data", metadata.xmp)
    if exif:
        set_blob(image, "exif-data", PREFIX + _build_placeholder(len(exif)))
    deep = image.format == "ushort"
    if deep:  # round to 12 bits here, because the encoder would truncate
        image = ((image * (4095 / 65_535)).rint() * 16).cast("ushort").copy(interpretation="rgb16")

    def encode(keep: str) -> bytes:
        return image.heifsave_buffer(
            compression="av1",
            Q=options.quality,
            bitdepth=12 if deep else 8,
            subsample_mode="off",
            effort=4,
            keep=keep,
        )

    data = (_put_exif(encode("icc|xmp|exif"), exif) if exif else None) or encode("icc|xmp")
    if metadata.color_coding is not None and metadata.icc_profile is None:
        data = add_color_coding(data, metadata.color_coding, matrix=_MATRIX)
    with path.open("wb") as file:
        file.write(data)


def _build_placeholder(size: int) -> bytes:
    """Build a block that libvips, which rebuilds EXIF from the tags it knows, writes with at least this size."""
    text = os.urandom(16).hex().encode() + b"x" * size + b"\x00"
    head = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, _IMAGE_DESCRIPTION, _ASCII, len(text), 26, 0)
    return head + text


def _put_exif(data: bytes, exif: bytes) -> bytes | None:
    """Replace the EXIF that libvips wrote, the rest of its room zeros (readers follow offsets from the start).

    None if libvips left too little room, which its limit of 64 KiB could cause.
    """
    written = get_blob(vips().Image.heifload_buffer(data), "exif-data").removeprefix(PREFIX)
    at = data.find(written) if len(written) >= len(exif) else -1
    if at < 0:
        return None
    return data[:at] + exif.ljust(len(written), b"\x00") + data[at + len(written) :]


AVIF = PictureFormat(
    name="AVIF",
    extensions=(".avif", ".heif"),
    matches=_matches,
    open=LibvipsLoader(
        format_name="AVIF", select=_select, loader="heifload", held_bytes=_hold_planes, container=_read_container
    ),
    save=_save,
    quality=90,
    deepest=12,
    gray=False,
    longest_side=16_384,
    metadata=frozenset(("EXIF", "XMP", "ICC profile", "color coding")),
    metadata_bytes={"EXIF": _MOST_EXIF_BYTES},
    whole_in_memory=True,
    encoder_bytes_per_sample=12.0,
    bytes_per_sample=0.3,
)
