"""The declaration of a picture format, and the facts that its reader reports about a file.

Each format is one value of `PictureFormat` next to its code in `codecs/`, listed in `formats.FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tessera.errors import LimitError
from tessera.images.metadata import Metadata
from tessera.images.pixels import Pixels

if TYPE_CHECKING:
    import numpy as np

MetadataKind = Literal[
    "EXIF",
    "XMP",
    "IPTC",
    "Photoshop resources",
    "ICC profile",
    "ICC profile of gray",
    "color coding",
    "comments",
    "texts with keywords",
    "gain map",
    "georeference",
]
EMBEDDED_KINDS: frozenset[MetadataKind] = frozenset(
    ("EXIF", "XMP", "IPTC", "Photoshop resources", "ICC profile", "ICC profile of gray")
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Largest number of pixels in a picture and in its result; None means no limit."""

    max_pixels: int | None = 2**28
    max_output_pixels: int | None = 2**32

    def check_input(self, path: Path, height: int, width: int) -> None:
        """Raise LimitError if a picture of this size is too large to be read."""
        most, found = self.max_pixels, height * width
        if most is not None and found > most:
            raise LimitError(
                f"{path}: {width}x{height} has {format_pixels(found, compared_with=most)}, more than the limit of"
                f" {format_pixels(most, compared_with=found)}; set `max_pixels` to {found} to allow it."
            )


def format_pixels(pixels: int, *, compared_with: int) -> str:
    """Format a pixel count: exact if small or if megapixels would read the same as those of `compared_with`.

    >>> format_pixels(1200, compared_with=100), format_pixels(300_000_000, compared_with=2**28)
    ('1,200 pixels', '300 megapixels')
    """
    if min(pixels, compared_with) < 1_000_000 or round(pixels / 1e6) == round(compared_with / 1e6):
        return f"{pixels:,} pixels"
    return f"{pixels / 1e6:,.0f} megapixels"


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a file is opened."""

    frames: bool = False
    """All frames of an animation, one below the other."""
    random: bool = False
    """Rows in any order, at the cost of a decoded copy (on disk if it is large)."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class PictureInfo:
    """Facts about a picture as its pixels are delivered: upright, gray or RGB, 8 or 16 bits."""

    name: str
    format_name: str
    height: int
    """Of one frame."""
    width: int
    channels: int
    depth: int
    color_space: str
    frames: int = 1
    frames_in_file: int = 1
    decoder_bytes: int = 0
    """Upper estimate of what the decoder holds in memory besides a few rows."""
    notes: tuple[str, ...] = ()

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.channels in (2, 4)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """uint8 or uint16."""
        import numpy as np

        return np.dtype(np.uint16 if self.depth == 16 else np.uint8)


@dataclass(frozen=True, kw_only=True)
class OpenPicture:
    """A file opened for reading."""

    info: PictureInfo
    metadata: Metadata
    read_rows: Callable[[int, int], Pixels]
    """(first row, count) -> (count, W, C)."""
    rereads: bool = True
    """Whether rows can be read again and in any order; otherwise once, from the top down."""


@dataclass(frozen=True, kw_only=True)
class SaveOptions:
    """How a file is written."""

    quality: int | None
    """1 to 100, for formats that have one."""
    metadata: Metadata
    """What goes into the file, corrected for its size; the ICC profile and the density are attached to the image."""
    height: int
    """Of one frame."""
    width: int
    frames: int = 1


Open = Callable[[Path, ReadOptions], OpenPicture]
"""Reads the header and returns a source of rows; raises PictureError, OSError or libvips' error."""
Save = Callable[[Any, Path, SaveOptions], None]
"""Writes a libvips image (sequential: rows from the top down) to an empty file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureFormat:
    """What a file format holds and how it is read and written.

    Limits are those of the format or of libvips' encoder for it (libvips documentation, "VipsForeignSave").
    """

    name: str
    extensions: tuple[str, ...]
    """Lower case, with the dot; the first is the usual one."""
    more_extensions: tuple[str, ...] = ()
    """Extensions that are read but not written."""
    matches: Callable[[bytes], bool]
    """Whether a file that starts with these (up to 64) bytes has this format."""
    open: Open
    save: Save | None = None
    """None if the format is only read."""
    quality: int | None = None
    """Default of the encoder's quality setting from 1 to 100; None if it has none."""
    deepest: int = 8
    """Most bits per channel; deeper pictures are rounded."""
    alpha: bool = True
    alpha_levels: int | None = None
    """Number of alpha values, if fewer than the depth allows."""
    colors: int | None = None
    """Most colors in one frame, if limited."""
    gray: bool = True
    """Whether gray stays one channel."""
    longest_side: int = 2**31 - 1
    """Limit on width and height in pixels."""
    animated: bool = False
    metadata: frozenset[MetadataKind] = frozenset()
    """Kinds of metadata that a written file carries."""
    metadata_bytes: Mapping[MetadataKind, int] = field(default_factory=dict[MetadataKind, int])
    """Largest metadata block of each kind, if limited."""
    accepts_profile: Callable[[bytes, bool], bool] | None = None
    """(ICC profile, gray) -> whether the encoder accepts it; None: all sound profiles."""
    accepts_xmp: Callable[[bytes], bool] | None = None
    """Whether the format can store this XMP packet; None: all of the size that it allows."""
    whole_in_memory: bool = False
    """Whether the encoder holds the whole picture (memory then grows with the picture)."""
    encoder_bytes_per_sample: float = 0.0
    """What the encoder holds in memory per channel and pixel of the picture; measured on 16 megapixels."""
    bytes_per_sample: float = 1.0
    """Upper estimate of the file size per channel and pixel of an 8-bit photograph."""
    hint: str = ""
    """Why such a file may be unreadable here, and what to do: ends the error message."""

    def check_size(self, path: Path, height: int, width: int) -> None:
        """Raise LimitError if the format cannot hold a frame of this size."""
        if max(height, width) > self.longest_side:
            raise LimitError(
                f"{path}: the result would be {width}x{height}, but {self.name} allows at most {self.longest_side:,}"
                " pixels per side; write PNG or TIFF instead."
            )

    def carries_profile(self, profile: bytes, *, gray: bool) -> bool:
        """Whether a file of this format can carry this ICC profile."""
        kind: MetadataKind = "ICC profile of gray" if gray else "ICC profile"
        return kind in self.metadata and (self.accepts_profile is None or self.accepts_profile(profile, gray))
