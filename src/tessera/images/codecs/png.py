"""PNG: pixels are read and written by libvips, metadata and resolution in `png_reader`, `png_text` and here.

libvips (8.18) reads no metadata after the pixels, and at most 50 texts, of which only ASCII is right. It always writes
a resolution, and rebuilds EXIF from the tags that it knows.
"""

from __future__ import annotations

import functools
import struct
from pathlib import Path
from typing import Any

from tessera.images.codecs.libvips_loader import LibvipsLoader, count_decoded_bytes
from tessera.images.codecs.png_chunks import SIGNATURE, describe_color_chunks, encode_chunk, read_png_density
from tessera.images.codecs.png_reader import read_png_container
from tessera.images.codecs.png_text import encode_iptc, encode_text, encode_xmp
from tessera.images.codecs.splicing import SplicedFile
from tessera.images.libvips import set_blob, vips
from tessera.images.metadata import Metadata
from tessera.images.photoshop import join_resources
from tessera.images.picture_format import EMBEDDED_KINDS, PictureFormat, SaveOptions


def _matches(start: bytes) -> bool:
    return start.startswith(SIGNATURE)


def _hold_interlaced(head: Any, frames: int) -> int:
    interlaced = head.get_typeof("interlaced") and head.get("interlaced")
    return count_decoded_bytes(head) if interlaced else 0


@functools.lru_cache(maxsize=8)
def _accepts_profile(profile: bytes, gray: bool) -> bool:
    """Whether libpng accepts a profile; one that it rejects (for instance of odd length) would fail the picture."""
    image = vips().Image.black(1, 1, bands=1 if gray else 3).copy(interpretation="b-w" if gray else "srgb")
    set_blob(image, "icc-profile-data", profile)
    try:
        image.pngsave_buffer(keep="icc")
    except vips().Error:
        return False
    return True


class _ChunkFilter:
    """Changes the chunks before the pixels of a PNG stream: metadata is put after the header.

    libvips always writes a density (pHYs), 72 per inch if it knows none; without a density it is left out.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._seen = b""
        self._at_pixels = False

    def __call__(self, data: bytes) -> bytes | None:
        """Take the next bytes -> what is written for them; None after the pixels have begun."""
        if self._at_pixels:
            return None
        self._seen += data
        if len(self._seen) < len(SIGNATURE):
            return b""
        passed, at = b"", 0
        if self._seen.startswith(SIGNATURE):
            passed, at = SIGNATURE, len(SIGNATURE)
        while at + 8 <= len(self._seen):
            (size,) = struct.unpack_from(">I", self._seen, at)
            kind = self._seen[at + 4 : at + 8]
            if kind == b"IDAT":
                self._at_pixels = True
                return passed + self._seen[at:]
            end = at + 12 + size
            if end > len(self._seen):
                break
            if kind != b"pHYs" or self._metadata.density is not None:
                passed += self._seen[at:end]
            if kind == b"IHDR":
                passed += b"".join(_build_chunks(self._metadata))
            at = end
        self._seen = self._seen[at:]
        return passed


def _build_chunks(metadata: Metadata) -> list[bytes]:
    chunks: list[bytes] = []
    if metadata.color_coding is not None:
        codes = (metadata.color_coding.primaries & 255, metadata.color_coding.transfer & 255, 0, 1)
        chunks.append(encode_chunk(b"cICP", bytes(codes)))
    if metadata.exif:
        chunks.append(encode_chunk(b"eXIf", metadata.exif))
    if metadata.xmp:
        chunks.append(encode_xmp(metadata.xmp))
    if resources := join_resources(metadata.iptc, metadata.photoshop):
        chunks.append(encode_iptc(resources))
    return chunks + [encode_text(text) for text in metadata.texts]


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    SplicedFile(path, _ChunkFilter(options.metadata)).save(
        lambda target: image.pngsave_target(target, compression=6, keep="icc")
    )


PNG = PictureFormat(
    name="PNG",
    extensions=(".png",),
    matches=_matches,
    open=LibvipsLoader(
        format_name="PNG",
        held_bytes=_hold_interlaced,
        density=read_png_density,
        container=read_png_container,
        notes_expansion=True,
        color_notes=describe_color_chunks,
    ),
    save=_save,
    deepest=16,
    metadata=frozenset((*EMBEDDED_KINDS, "color coding", "comments", "texts with keywords")),
    accepts_profile=_accepts_profile,
)
