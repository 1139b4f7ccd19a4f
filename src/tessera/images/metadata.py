"""Metadata of a picture file: EXIF, XMP, IPTC, ICC profile, texts and density, as libvips' header fields."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from tessera.images.exif_tables import read_density, remove_thumbnail

_PIXEL_FIELDS = frozenset(
    (
        *("width", "height", "bands", "format", "coding", "interpretation", "xoffset", "yoffset", "xres", "yres"),
        *("filename", "vips-loader", "vips-sequential", "bits-per-sample", "palette", "interlaced", "orientation"),
        *("n-pages", "page-height", "n-subifds", "subifd-pages", "background", "concurrency"),
        *("heif-bitdepth", "heif-compression", "heif-primary"),
        *("jpeg-multiscan", "jpeg-chroma-subsample", "jpeg-thumbnail-data", "photoshop-data"),
        *("loop", "delay", "gif-delay", "gif-loop", "gif-palette"),
    )
)
_ANIMATION_FIELDS = frozenset({"loop", "delay"})
_SIZES_AND_THUMBNAIL = re.compile(r"exif-ifd1-|exif-ifd0-Orientation$|exif-ifd0-Image(Width|Length)$")

Density = tuple[float, float]
"""Horizontal and vertical pixels per millimeter."""


@dataclass(frozen=True)
class MetadataField:
    """One header field of libvips: name, GType and value."""

    name: str
    gtype: int
    value: Any


@dataclass(frozen=True)
class Metadata:
    """Everything that a picture file carries besides pixels."""

    fields: tuple[MetadataField, ...] = ()
    animation: tuple[MetadataField, ...] = ()
    density: Density | None = None
    """None if the file declares no physical density."""

    def value(self, name: str) -> Any:
        """Return the value of a field, or None."""
        return next((field.value for field in self.fields if field.name == name), None)

    @property
    def icc_profile(self) -> bytes | None:
        """The embedded ICC profile."""
        return self.value("icc-profile-data")

    def without_icc(self) -> Metadata:
        """Return a copy without the ICC profile, for pixels that were converted to sRGB."""
        return replace(self, fields=tuple(field for field in self.fields if field.name != "icc-profile-data"))


def read_metadata(image: Any, *, density: Density | None = None) -> Metadata:
    """Take the metadata of a libvips image, without the fields that only describe its pixels.

    `density` is that of a format in which libvips does not report whether the file declares one (PNG).
    """
    fields: list[MetadataField] = []
    animation: list[MetadataField] = []
    for name in image.get_fields():
        if name in _PIXEL_FIELDS and name not in _ANIMATION_FIELDS:
            continue
        value = image.get(name)
        if name == "exif-data":
            value = remove_thumbnail(bytes(value))
        field = MetadataField(name, image.get_typeof(name), value)
        if name in _ANIMATION_FIELDS:
            animation.append(field)
        elif not _SIZES_AND_THUMBNAIL.match(name):
            fields.append(field)
    return Metadata(tuple(fields), tuple(animation), density or _find_density(image))


def _find_density(image: Any) -> Density | None:
    """Read the declared density; libvips fills in 1 pixel per mm or 72 per inch where a file declares none.

    It sets "resolution-unit" only for a declared density, but in WebP and AVIF it leaves the value in EXIF.
    """
    if not image.get_typeof("resolution-unit"):
        return None
    found = (image.xres, image.yres)
    if found == (1.0, 1.0) and image.get_typeof("exif-data"):
        found = read_density(bytes(image.get("exif-data"))) or found
    return found if min(found) > 0 else None
