"""GIF: pixels are read and written by libvips, still or animated; comments and XMP here (GIF89a, 24 and 26)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from tessera.images.codecs.libvips_loader import LibvipsLoader
from tessera.images.metadata import Container, Metadata, Text, list_names
from tessera.images.picture_format import PictureFormat, SaveOptions

_XMP_APPLICATION = b"XMP DataXMP"
_XMP_TRAILER = bytes((1, *range(255, -1, -1), 0))
"""Read as sub-blocks, it leads from any byte of a packet to the end (Adobe, "XMP Specification Part 3", 1.1.2)."""
_APPLICATIONS_ABOUT_FRAMES = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_MOST_BYTES = 2**24
_MOST_BLOCKS = 2**21
_EXTENSION, _IMAGE, _COMMENT, _APPLICATION = 0x21, 0x2C, 0xFE, 0xFF


def _matches(start: bytes) -> bool:
    return start.startswith((b"GIF87a", b"GIF89a"))


def _hold_two_frames(head: Any, frames: int) -> int:
    return 8 * head.height * head.width  # this frame and the one before, in RGBA


class _BlockReader:
    """One pass over the blocks of a file, with bounds on their number and on the bytes kept."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._blocks = _MOST_BLOCKS
        self._room = _MOST_BYTES
        self.comments: list[bytes] = []
        self.xmp = b""
        self.others: list[str] = []

    def run(self) -> None:
        """Read to the end of the file, or to the first block that is damaged."""
        header = self._file.read(13)
        if len(header) < 13:
            return
        self._skip_table(header[10])
        while self._blocks > 0:
            kind = self._file.read(1)
            if kind == bytes((_IMAGE,)):
                head = self._file.read(9)
                if len(head) < 9:
                    return
                self._skip_table(head[8])
                self._file.seek(1, 1)
                self._read_blocks(keep=False)
            elif kind == bytes((_EXTENSION,)):
                self._read_extension()
            else:
                return

    def _read_extension(self) -> None:
        label = self._file.read(1)
        if label == bytes((_COMMENT,)):
            self.comments.append(self._read_blocks(keep=True))
        elif label == bytes((_APPLICATION,)):
            size = self._file.read(1)
            name = self._file.read(size[0] if size else 0)
            if name == _XMP_APPLICATION:
                self.xmp = self._read_xmp() or self.xmp
                return
            if name not in _APPLICATIONS_ABOUT_FRAMES:
                self.others.append(name.decode("latin-1").strip())
            self._read_blocks(keep=False)
        else:
            self._read_blocks(keep=False)

    def _read_xmp(self) -> bytes:
        """The packet is not in sub-blocks; its bytes are read as if it were, with their lengths."""
        return self._read_blocks(keep=True, with_lengths=True).removesuffix(_XMP_TRAILER[:-1])

    def _read_blocks(self, *, keep: bool, with_lengths: bool = False) -> bytes:
        parts: list[bytes] = []
        while self._blocks > 0:
            self._blocks -= 1
            size = self._file.read(1)
            if size in (b"", b"\x00"):
                break
            if keep and self._room >= size[0]:
                data = self._file.read(size[0])
                self._room -= len(data)
                parts += (size, data) if with_lengths else (data,)
            else:
                self._file.seek(size[0], 1)
        return b"".join(parts)

    def _skip_table(self, flags: int) -> None:
        if flags & 0x80:
            self._file.seek(3 * 2 ** ((flags & 7) + 1), 1)


def _read_container(path: Path) -> Container:
    with path.open("rb") as file:
        walk = _BlockReader(file)
        walk.run()
    notes = [f"Data of other programs ({list_names(walk.others)}) was not kept."] if walk.others else []
    return Container(
        metadata=Metadata(
            xmp=walk.xmp,
            texts=tuple(Text.decode_comment(data) for data in walk.comments if data.strip(b"\x00 ")),
        ),
        notes=tuple(notes),
    )


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    data: bytes = image.gifsave_buffer(keep="none")
    metadata = options.metadata
    added = b"".join(_build_comment(text.encode()) for text in metadata.texts)
    if metadata.xmp:
        added += bytes((_EXTENSION, _APPLICATION, len(_XMP_APPLICATION))) + _XMP_APPLICATION
        added += metadata.xmp + _XMP_TRAILER
    start = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    with path.open("wb") as file:
        if added:
            file.write(b"GIF89a" + data[6:start] + added)
            file.write(data[start:])
        else:
            file.write(data)


def _build_comment(text: bytes) -> bytes:
    blocks = (text[at : at + 255] for at in range(0, len(text), 255))
    return bytes((_EXTENSION, _COMMENT)) + b"".join(bytes((len(block),)) + block for block in blocks) + b"\x00"


GIF = PictureFormat(
    name="GIF",
    extensions=(".gif",),
    matches=_matches,
    open=LibvipsLoader(format_name="GIF", animated=True, held_bytes=_hold_two_frames, container=_read_container),
    save=_save,
    alpha_levels=2,
    colors=256,
    gray=False,
    longest_side=65_535,
    animated=True,
    metadata=frozenset(("XMP", "comments")),
    metadata_bytes={"XMP": 2**20},
    whole_in_memory=True,
    encoder_bytes_per_sample=3.5,
    bytes_per_sample=0.5,
)
