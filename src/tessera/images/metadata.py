"""Metadata of a picture file, each kind as its standard stores it, independent of the file format.

EXIF is a TIFF structure without the "Exif" prefix, XMP one packet, IPTC bare records (IIM), Photoshop's image resources
a sequence of "8BIM" blocks without IPTC and thumbnails. All of it describes the upright picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tessera.images.georeference import Georeference

COMMENT = "Comment"
"""The keyword of a text in formats that have comments without keywords."""

Density = tuple[float, float]
"""Horizontal and vertical pixels per millimeter."""


@dataclass(frozen=True)
class MetadataField:
    """One header field of libvips: name, GType and value."""

    name: str
    gtype: int
    value: Any


@dataclass(frozen=True)
class Text:
    """A text with its keyword, as PNG stores them (PNG, third edition, 11.3.3)."""

    keyword: str
    text: str
    language: str = ""
    translated_keyword: str = ""
    raw: bytes = b""
    """The bytes of a comment that is not UTF-8, as its file has them."""

    @staticmethod
    def decode_comment(data: bytes) -> Text:
        """Decode a comment of JPEG or GIF, which declare no encoding: as UTF-8, else as Latin-1."""
        try:
            return Text(COMMENT, data.decode("utf-8"))
        except UnicodeDecodeError:
            return Text(COMMENT, data.decode("latin-1"), raw=data)

    def encode(self) -> bytes:
        """Encode the text for formats whose comments declare no encoding: UTF-8, or the bytes that it came from."""
        return self.raw or self.text.encode("utf-8", "replace")


_PRIMARIES = {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TRANSFERS = {1: "BT.709", 4: "gamma 2.2", 5: "gamma 2.8", 8: "linear", 13: "sRGB", 14: "BT.2020", 15: "BT.2020"}
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_LIKE_SRGB = ((1, 2), (1, 2, 6, 13))


@dataclass(frozen=True)
class ColorCoding:
    """What the values of RGB mean, by the code points of ITU-T H.273 (CICP): full range, without a matrix."""

    primaries: int
    transfer: int

    @property
    def is_like_srgb(self) -> bool:
        """Whether viewers show it as sRGB: BT.709 or unspecified primaries and curve."""
        return self.primaries in _LIKE_SRGB[0] and self.transfer in _LIKE_SRGB[1]

    def __str__(self) -> str:
        primaries = f" ({_PRIMARIES[self.primaries]})" if self.primaries in _PRIMARIES else ""
        curve = {**_TRANSFERS, **_HDR_TRANSFERS}.get(self.transfer)
        return f"primaries {self.primaries}{primaries}, transfer {self.transfer}{f' ({curve})' if curve else ''}"


@dataclass(frozen=True)
class GainMap:
    """The second picture of an Ultra HDR file: how much brighter an HDR screen shows each place (ISO 21496-1)."""

    jpeg: bytes
    """A whole JPEG file, upright, with the parameters in its own segments."""
    version: bytes = b""
    """The ISO 21496-1 segment of the main picture, empty if it has none."""


@dataclass(frozen=True)
class Metadata:
    """Everything that a picture file carries besides pixels."""

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    photoshop: bytes = b""
    icc_profile: bytes | None = None
    color_coding: ColorCoding | None = None
    """For formats that store code points; an ICC profile, where there is one, says more."""
    texts: tuple[Text, ...] = ()
    gain_map: GainMap | None = None
    georeference: Georeference | None = None
    animation: tuple[MetadataField, ...] = ()
    density: Density | None = None
    """None if the file declares no physical density."""

    def without_icc(self) -> Metadata:
        """Return a copy without the ICC profile, for pixels that were converted to sRGB."""
        return replace(self, icc_profile=None)


@dataclass(frozen=True, kw_only=True)
class Container:
    """What the reader of a format finds in a file where libvips finds less."""

    metadata: Metadata = Metadata()
    orientation: int | None = None
    """EXIF orientation, 1 to 8; None leaves it to libvips."""
    has_profile: bool = False
    """Whether the file holds an ICC profile, sound or not."""
    notes: tuple[str, ...] = ()


def list_names(names: Iterable[str], *, most: int = 8) -> str:
    """List names in a note, shortened and free of control characters.

    >>> list_names(["Title", "Author"])
    'Title, Author'
    >>> list_names("abcde", most=3)
    'a, b, c and 2 more'
    """
    unique = list(dict.fromkeys(names))
    shown = ["".join(letter if letter.isprintable() else "?" for letter in name[:79]) for name in unique[:most]]
    more = f" and {len(unique) - most:,} more" if len(unique) > most else ""
    return ", ".join(shown) + more
