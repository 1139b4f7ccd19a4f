"""ICC profiles: which are usable, what they are called, and pixels converted through them to sRGB."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

from tessera.errors import PictureError
from tessera.images.libvips import set_blob, vips
from tessera.images.metadata import ColorCoding, Metadata
from tessera.images.picture_format import PictureFormat

_UNNAMED = "an unnamed profile"
_DISPLAY_P3 = ColorCoding(12, 13)


def trim_profile(profile: bytes, space: bytes) -> bytes | None:
    """Cut off what follows the profile's end; None if its header is damaged or it is for another color space.

    `space` is b"RGB ", b"GRAY" or b"CMYK" (ICC.1:2022, section 7.2).
    """
    if len(profile) < 132 or profile[36:40] != b"acsp" or profile[16:20] != space:
        return None
    (size,) = struct.unpack_from(">I", profile)
    return profile[:size] if 132 <= size <= len(profile) else None


def read_profile_name(profile: bytes) -> str:
    """Read the description in an ICC profile (ICC.1:2022, section 9.2.41; ICC.1:2001, textDescriptionType)."""
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        for index in range(min(count, 100)):
            tag, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
            if tag == b"desc":
                return _parse_description(profile[offset : offset + size]) or _UNNAMED
    except (struct.error, UnicodeDecodeError, ValueError):
        pass
    return _UNNAMED


def attach_usable_profile(image: Any) -> tuple[Any, bytes | None, str]:
    """Test the profile of a libvips image -> the image with it or without, the profile, a note if it was dropped."""
    if not image.get_typeof("icc-profile-data"):
        return image, None, ""
    kind, gray = image.interpretation, image.bands < 3
    space = b"CMYK" if kind == "cmyk" else b"GRAY" if gray else b"RGB "
    profile = trim_profile(bytes(image.get("icc-profile-data")), space)
    image = image.copy()
    if profile is not None:
        set_blob(image, "icc-profile-data", profile)
        try:
            # convert one pixel, because damage deeper inside shows only then
            pixel = vips().Image.black(1, 1, bands=image.bands).cast(image.format).copy(interpretation=kind)
            set_blob(pixel, "icc-profile-data", profile)
            pixel.icc_transform("srgb", embedded=True).avg()
            return image, profile, ""
        except vips().Error:
            pass
    image.remove("icc-profile-data")
    what = "CMYK" if kind == "cmyk" else "gray" if gray else "RGB"
    instead = "" if kind == "cmyk" else ": its values are taken as sRGB"
    return image, None, f"Its ICC profile is damaged or not for {what} and was ignored{instead}."


def attach_profile_of_coding(metadata: Metadata, form: PictureFormat) -> Metadata:
    """Replace a color coding that a format cannot store by an ICC profile of the same colors, if there is one."""
    coding = metadata.color_coding
    if coding != _DISPLAY_P3 or metadata.icc_profile is not None or "color coding" in form.metadata:
        return metadata
    return replace(metadata, color_coding=None, icc_profile=bytes(vips().Operation.call("profile_load", "p3")))


def convert_to_srgb(image: Any, profile: bytes, *, format_name: str) -> Any:
    """Convert a libvips image, gray or RGB, through its profile to sRGB and drop the profile.

    Raises PictureError (without the file's name) if the profile is damaged.
    """
    image = image.copy()
    set_blob(image, "icc-profile-data", profile)
    deep, gray = image.format == "ushort", image.bands < 3
    try:
        image = image.icc_transform("srgb", embedded=True, depth=16 if deep else 8, intent="relative")
    except vips().Error:
        raise PictureError(
            f"its ICC profile is damaged and {format_name} cannot carry it; write PNG or TIFF, or remove the profile"
        ) from None
    if gray:
        alpha = image[-1] if image.bands in (2, 4) else None
        image = image[1] if alpha is None else image[1].bandjoin(alpha)
        image = image.copy(interpretation="grey16" if deep else "b-w")
    image = image.copy()
    image.remove("icc-profile-data")
    return image


def _parse_description(data: bytes) -> str:
    if data[:4] == b"mluc":
        size, start = struct.unpack_from(">II", data, 20)
        return data[start : start + size].decode("utf-16-be").strip("\x00 ")
    (size,) = struct.unpack_from(">I", data, 8)
    return data[12 : 12 + size].split(b"\x00")[0].decode("ascii", "replace").strip()
