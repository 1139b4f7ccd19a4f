"""PNG: read and written by libvips; chunks that it drops on reading or invents on writing are handled here."""

from __future__ import annotations

import functools
import struct
from pathlib import Path
from typing import Any

from tessera.images.codecs.exif_cleanup import choose_kept, clean_exif
from tessera.images.codecs.libvips_loader import LibvipsLoader, count_decoded_bytes
from tessera.images.codecs.png_chunks import SIGNATURE, describe_color_chunks, encode_chunk, read_png_density
from tessera.images.libvips import set_blob, vips
from tessera.images.metadata import Metadata
from tessera.images.picture_format import PictureFormat, SaveOptions


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
    """A file that libvips writes a PNG stream to: chunks before the pixels are corrected, the rest passes through.

    libvips always writes a density (pHYs), 72 per inch if it knows none, and adds tags to EXIF.
    """

    def __init__(self, path: Path, metadata: Metadata) -> None:
        self._file = path.open("wb", buffering=0)
        self._metadata = metadata
        self._held = b""
        self._in_header = True
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Take the next bytes; libvips stops at an answer of -1."""
        try:
            piece = self._filter(bytes(data)) if self._in_header else data
            while len(piece):
                piece = piece[self._file.write(piece) :]
            return len(data)
        except OSError as error:  # raised again by _save, because no exception passes through libvips
            self.error = error
            return -1

    def close(self) -> None:
        self._file.close()

    def _filter(self, data: bytes) -> bytes:
        self._held += data
        if len(self._held) < len(SIGNATURE):
            return b""
        passed, at = b"", 0
        if self._held.startswith(SIGNATURE):
            passed, at = SIGNATURE, len(SIGNATURE)
        while at + 8 <= len(self._held):
            (size,) = struct.unpack_from(">I", self._held, at)
            kind = self._held[at + 4 : at + 8]
            if kind == b"IDAT":
                self._in_header = False
                passed, self._held = passed + self._held[at:], b""
                return passed
            end = at + 12 + size
            if end > len(self._held):
                break
            passed += self._correct(kind, self._held[at + 8 : end - 4], self._held[at:end])
            at = end
        self._held = self._held[at:]
        return passed

    def _correct(self, kind: bytes, body: bytes, whole: bytes) -> bytes:
        if kind == b"pHYs" and self._metadata.density is None:
            return b""
        return encode_chunk(kind, clean_exif(body, self._metadata)) if kind == b"eXIf" else whole


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    chunks = _ChunkFilter(path, options.metadata)
    try:
        target = vips().TargetCustom()
        target.on_write(chunks.write)
        image.pngsave_target(target, compression=6, keep=choose_kept(image, options.metadata))
    except vips().Error:
        raise chunks.error or OSError("the PNG encoder failed") from None
    finally:
        chunks.close()


PNG = PictureFormat(
    name="PNG",
    extensions=(".png",),
    matches=_matches,
    open=LibvipsLoader(
        format_name="PNG",
        held_bytes=_hold_interlaced,
        density=read_png_density,
        notes_expansion=True,
        color_notes=describe_color_chunks,
    ),
    save=_save,
    deepest=16,
    metadata=frozenset(("EXIF", "XMP", "ICC profile", "ICC profile of gray")),
    accepts_profile=_accepts_profile,
)
