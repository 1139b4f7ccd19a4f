"""What each picture format can hold: the one table that reading, naming and writing consult.

Figures are of the formats themselves and of libvips' writers for them (libvips documentation, "VipsForeignSave").
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Format:
    """One file format, as far as writing it is concerned."""

    name: str
    extensions: tuple[str, ...]
    deepest: int = 8
    """Bits per channel that it keeps; a deeper picture is rounded to it."""
    alpha: bool = True
    alpha_levels: int | None = None
    """How many degrees of transparency it knows, where they are fewer than its depth would give."""
    colors: int | None = None
    """How many colors one frame can have, where they are limited."""
    longest_side: int = 2**31 - 1
    """The limit on width and height in pixels, of the format or of its encoder (libjpeg: 65,500)."""
    animated: bool = False
    whole_in_memory: bool = False
    """Whether its encoder must hold the whole picture (so memory is not bounded by the tile)."""
    bytes_per_sample: float = 1.0
    """Generous estimate of the file size, per channel and pixel of a photograph at 8 bits."""


FORMATS: tuple[Format, ...] = (
    Format(
        name="JPEG",
        extensions=(".jpg", ".jpeg", ".jpe", ".jfif"),
        alpha=False,
        longest_side=65_500,
        bytes_per_sample=0.4,
    ),
    Format(name="PNG", extensions=(".png",), deepest=16),
    Format(
        name="WebP",
        extensions=(".webp",),
        longest_side=16_383,
        animated=True,
        whole_in_memory=True,
        bytes_per_sample=0.4,
    ),
    Format(name="TIFF", extensions=(".tif", ".tiff"), deepest=16, longest_side=2**31 - 1),
    Format(
        name="AVIF",
        extensions=(".avif", ".heif"),
        deepest=12,
        longest_side=16_384,
        whole_in_memory=True,
        bytes_per_sample=0.3,
    ),
    Format(
        name="GIF",
        extensions=(".gif",),
        alpha_levels=2,
        colors=256,
        longest_side=65_535,
        animated=True,
        whole_in_memory=True,
        bytes_per_sample=0.5,
    ),
    Format(name="PPM", extensions=(".ppm", ".pgm", ".pnm", ".pam"), deepest=16),
)

READABLE_EXTENSIONS: frozenset[str] = frozenset(
    extension for form in FORMATS for extension in form.extensions
) | frozenset({".heic", ".pbm", ".bmp", ".jxl", ".jp2", ".hdr", ".exr"})
"""What a folder is searched for. A name in this list that this libvips cannot read gets its own sentence."""


def format_of_name(path: Path) -> Format | None:
    """The format that a file name asks for, or None when its extension is not one that can be written.

    >>> format_of_name(Path("a/holiday.JPG")).name
    'JPEG'
    >>> format_of_name(Path("scan.bmp")) is None
    True
    """
    extension = path.suffix.lower()
    return next((form for form in FORMATS if extension in form.extensions), None)


def looks_like_a_picture(path: Path) -> bool:
    """Whether a folder walk should take this name for a picture."""
    return path.suffix.lower() in READABLE_EXTENSIONS and not path.name.startswith(".")
