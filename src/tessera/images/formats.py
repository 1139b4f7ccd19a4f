"""The picture formats, and questions that their declarations answer.

To add a format, declare it in a module of `codecs/` and add it to `FORMATS`; reading, writing, file search, help texts
and the table in the documentation follow.
"""

from __future__ import annotations

import functools
from pathlib import Path

from tessera.images.codecs.avif import AVIF
from tessera.images.codecs.bmp import BMP
from tessera.images.codecs.camera_raw import CAMERA_RAW
from tessera.images.codecs.gif import GIF
from tessera.images.codecs.jpeg import JPEG
from tessera.images.codecs.libvips_loader import LibvipsLoader
from tessera.images.codecs.netpbm import NETPBM
from tessera.images.codecs.png import PNG
from tessera.images.codecs.tiff import TIFF
from tessera.images.codecs.unreadable import HEIC, JPEG_2000, JPEG_XL, OPENEXR, RADIANCE
from tessera.images.codecs.webp import WEBP
from tessera.images.picture_format import Open, PictureFormat

FORMATS: tuple[PictureFormat, ...] = (
    CAMERA_RAW,  # before TIFF, whose first bytes some raw formats share
    *(JPEG, PNG, WEBP, TIFF, AVIF, GIF, NETPBM, BMP),
    *(HEIC, JPEG_XL, JPEG_2000, RADIANCE, OPENEXR),
)
"""In the order of help texts and tables; the first that matches a file's first bytes is its format."""

_open_unknown = LibvipsLoader()


def list_writable_formats() -> tuple[PictureFormat, ...]:
    """Return the formats that can be written."""
    return tuple(form for form in FORMATS if form.save is not None)


def list_writable_extensions() -> tuple[str, ...]:
    """Return the extensions of output files without the dot, the usual one of each format first.

    >>> list_writable_extensions()[:7]
    ('jpg', 'png', 'webp', 'tif', 'avif', 'gif', 'ppm')
    """
    formats = list_writable_formats()
    usual = [form.extensions[0] for form in formats]
    more = [extension for form in formats for extension in form.extensions[1:]]
    return tuple(extension.removeprefix(".") for extension in (*usual, *more))


def describe_extensions() -> str:
    """List the usual extensions of output files for a help text.

    >>> describe_extensions()
    'jpg, png, webp, tif, avif, gif or ppm'
    """
    *first, last = (form.extensions[0].removeprefix(".") for form in list_writable_formats())
    return f"{', '.join(first)} or {last}"


def describe_qualities() -> str:
    """List the formats that have a quality setting, with its default, for a help text.

    >>> describe_qualities()
    'JPEG (95), WebP (95) and AVIF (90)'
    """
    *first, last = (f"{form.name} ({form.quality})" for form in FORMATS if form.quality is not None)
    return f"{', '.join(first)} and {last}"


def describe_formats() -> str:
    """List the formats that can be read, for messages.

    >>> describe_formats().split(", ")[:3]
    ['JPEG', 'PNG', 'WebP']
    """
    return ", ".join(form.name for form in FORMATS if form.extensions and not form.hint)


def list_readable_extensions() -> frozenset[str]:
    """Return the extensions that a folder is searched for; a file that cannot be decoded gets its own error."""
    return _collect_extensions(FORMATS)


def find_format(path: Path) -> PictureFormat | None:
    """Find the format that a file name asks for; None if its extension is not that of a writable format.

    >>> find_format(Path("a/holiday.JPG")).name
    'JPEG'
    >>> find_format(Path("scan.bmp")) is None
    True
    """
    extension = path.suffix.lower()
    return next((form for form in list_writable_formats() if extension in form.extensions), None)


def recognize_format(start: bytes) -> PictureFormat | None:
    """Recognize a format by a file's first 64 bytes; None if no format matches."""
    return next((form for form in FORMATS if form.matches(start)), None)


def choose_opener(start: bytes) -> Open:
    """Return what opens a file with these first bytes; libvips if no format matches."""
    form = recognize_format(start)
    return form.open if form is not None else _open_unknown


def is_picture_name(path: Path) -> bool:
    """Whether a search of a folder takes this file name for a picture."""
    return path.suffix.lower() in list_readable_extensions() and not path.name.startswith(".")


@functools.lru_cache(maxsize=2)
def _collect_extensions(formats: tuple[PictureFormat, ...]) -> frozenset[str]:
    return frozenset(extension for form in formats for extension in (*form.extensions, *form.more_extensions))
