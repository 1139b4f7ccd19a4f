"""Metadata in the header fields of a libvips image, under what the format's own reader found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tessera.images.exif import PREFIX, read_density
from tessera.images.libvips import get_blob
from tessera.images.metadata import Container, Density, Metadata, MetadataField
from tessera.images.photoshop import split_resources

_ANIMATION_FIELDS = ("loop", "delay")


def read_metadata(image: Any, container: Container, *, density: Density | None = None) -> Metadata:
    """Take the metadata of a libvips image where the container has none of that kind.

    `density` is that of a format in which libvips does not report whether the file declares one (PNG).
    """
    found = container.metadata
    iptc, photoshop = split_resources(get_blob(image, "iptc-data"))
    exif = found.exif or get_blob(image, "exif-data").removeprefix(PREFIX)
    return replace(
        found,
        exif=exif,
        xmp=found.xmp or get_blob(image, "xmp-data").rstrip(b"\x00"),
        iptc=found.iptc or iptc,
        photoshop=found.photoshop or photoshop,
        icc_profile=get_blob(image, "icc-profile-data") or None,
        animation=tuple(
            MetadataField(name, image.get_typeof(name), image.get(name))
            for name in _ANIMATION_FIELDS
            if image.get_typeof(name)
        ),
        density=density or _find_density(image, exif),
    )


def _find_density(image: Any, exif: bytes) -> Density | None:
    """Read the declared density; libvips fills in 1 pixel per mm or 72 per inch where a file declares none.

    It sets "resolution-unit" only for a declared density, but in WebP and AVIF it leaves the value in EXIF.
    """
    if not image.get_typeof("resolution-unit"):
        return None
    found = (image.xres, image.yres)
    if found == (1.0, 1.0) and exif:
        found = read_density(exif) or found
    return found if min(found) > 0 else None
