"""Text in PNG chunks, and other metadata that programs store as text (PNG, third edition, 11.3.3).

ImageMagick writes EXIF, IPTC and XMP as text with the keyword "Raw profile type ..." and the bytes in hexadecimal.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from tessera.images.codecs.png_chunks import encode_chunk
from tessera.images.metadata import Text

XMP_KEYWORD = "XML:com.adobe.xmp"
_RAW_PROFILE = "Raw profile type "
_IPTC_KEYWORD = _RAW_PROFILE + "iptc"
_MOST_KEYWORD_BYTES = 79
_COMPRESSED_ABOVE_BYTES = 1024
_HEX_LINE_BYTES = 36


class MalformedTextError(Exception):
    """A text chunk that cannot be read; its argument says why."""


@dataclass(frozen=True)
class RawProfile:
    """Binary metadata that was stored as text."""

    kind: str
    """exif, app1, iptc, 8bim, xmp, icc or another word."""
    data: bytes


def parse_text(kind: bytes, data: bytes, most: int) -> Text:
    """Parse a tEXt, zTXt or iTXt chunk, inflated to at most `most` bytes. Raises MalformedTextError."""
    raw_keyword, _, rest = data.partition(b"\x00")
    keyword = raw_keyword.decode("latin-1")
    if not _is_keyword(keyword):
        raise MalformedTextError("without a keyword" if not keyword.strip() else "with an invalid keyword")
    if kind == b"tEXt":
        return Text(keyword, rest.decode("latin-1"))
    if kind == b"zTXt":
        return Text(keyword, inflate(rest[1:], most).decode("latin-1"))
    packed = rest[:1] == b"\x01"
    language, _, rest = rest[2:].partition(b"\x00")
    translated, _, body = rest.partition(b"\x00")
    body = inflate(body, most) if packed else body
    try:
        return Text(keyword, body.decode("utf-8"), language.decode("latin-1"), translated.decode("utf-8"))
    except UnicodeDecodeError:
        return Text(keyword, body.decode("latin-1"), language.decode("latin-1"))


def inflate(data: bytes, most: int) -> bytes:
    """Decompress a zlib stream of at most `most` bytes. Raises MalformedTextError."""
    unpacker = zlib.decompressobj()
    try:
        result = unpacker.decompress(data, most + 1)
    except zlib.error:
        raise MalformedTextError("that is damaged") from None
    if len(result) > most:
        raise MalformedTextError("that is too large")
    if not unpacker.eof:
        raise MalformedTextError("that is damaged")
    return result


def parse_raw_profile(text: Text) -> RawProfile | None:
    """Decode a text of ImageMagick's; None if it is another text, or damaged."""
    if not text.keyword.startswith(_RAW_PROFILE):
        return None
    parts = text.text.split("\n", 3)  # an empty line, the name, the number of bytes, the digits
    if len(parts) != 4 or not parts[2].strip().isdecimal() or len(parts[2].strip()) > 9:
        return None
    try:
        data = bytes.fromhex(parts[3])
    except ValueError:
        return None
    size = int(parts[2])
    return RawProfile(text.keyword.removeprefix(_RAW_PROFILE).lower(), data[:size]) if len(data) >= size else None


def encode_text(text: Text) -> bytes:
    """Build the chunk of a text: tEXt for short Latin-1, zTXt for long, else iTXt."""
    keyword = text.keyword.encode("latin-1") + b"\x00"
    latin = _encode_latin(text.text)
    if latin is None or text.language or text.translated_keyword:
        body = text.text.encode("utf-8", "replace")
        packed = len(body) > _COMPRESSED_ABOVE_BYTES
        head = bytes((packed, 0)) + text.language.encode("latin-1", "replace") + b"\x00"
        head += text.translated_keyword.encode("utf-8", "replace") + b"\x00"
        return encode_chunk(b"iTXt", keyword + head + (zlib.compress(body) if packed else body))
    if len(latin) > _COMPRESSED_ABOVE_BYTES:
        return encode_chunk(b"zTXt", keyword + b"\x00" + zlib.compress(latin))
    return encode_chunk(b"tEXt", keyword + latin)


def encode_xmp(packet: bytes) -> bytes:
    """Build the chunk of an XMP packet, not compressed (Adobe, "XMP Specification Part 3", 1.1.5)."""
    return encode_chunk(b"iTXt", XMP_KEYWORD.encode() + b"\x00\x00\x00\x00\x00" + packet)


def encode_iptc(resources: bytes) -> bytes:
    """Build the chunk of IPTC in Photoshop's resources, as ImageMagick and ExifTool write and read it."""
    digits = resources.hex()
    step = 2 * _HEX_LINE_BYTES
    lines = "\n".join(digits[at : at + step] for at in range(0, len(digits), step))
    return encode_text(Text(_IPTC_KEYWORD, f"\niptc\n{len(resources):8}\n{lines}\n"))


def _is_keyword(keyword: str) -> bool:
    """Whether PNG allows a keyword: 1 to 79 printable Latin-1 letters, single blanks inside."""
    return (
        0 < len(keyword) <= _MOST_KEYWORD_BYTES
        and keyword == keyword.strip(" ")
        and all(" " <= letter <= "~" or letter >= "\xa0" for letter in keyword)
    )


def _encode_latin(text: str) -> bytes | None:
    """Encode a text for tEXt and zTXt, which have no NUL; None if it has other letters."""
    if "\x00" in text:
        return None
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return None
