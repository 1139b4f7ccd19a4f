"""Samples of a TIFF image that libvips (8.18) delivers as they are stored: YCbCr, CIE Lab, extra channels.

libvips images in, libvips images out (TIFF 6.0, sections 18, 21 and 23; Adobe Photoshop TIFF technical notes for
ICC Lab).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.errors import PictureError
from tessera.images.codecs.libvips_loader import make_alpha_straight
from tessera.images.codecs.tiff_directories import (
    BITS,
    COMPRESSION,
    EXTRA_SAMPLES,
    INK_SET,
    PHOTOMETRIC,
    REFERENCE_BLACK_WHITE,
    SAMPLES,
    YCBCR_COEFFICIENTS,
    TiffDirectory,
)

_RGB, _PALETTE, _SEPARATED, _YCBCR, _CIE_LAB, _ICC_LAB = 2, 3, 5, 6, 8, 9
_COLORS = {0: 1, 1: 1, _RGB: 3, _PALETTE: 1, _SEPARATED: 4, _YCBCR: 3, _CIE_LAB: 3, _ICC_LAB: 3}
"""Color channels of each photometric interpretation that can be read."""
_NAMES = {4: "a transparency mask", 10: "ITU Lab", 32844: "LogL", 32845: "LogLuv"}
_JPEG = 7
_UNSPECIFIED, _ASSOCIATED, _UNASSOCIATED = 0, 1, 2
_ALPHAS = (_ASSOCIATED, _UNASSOCIATED)
_BT601 = (0.299, 0.587, 0.114)
_FULL_RANGE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)


@dataclass(frozen=True, kw_only=True)
class SamplePlan:
    """What the samples of an image need."""

    patches: Mapping[int, bytes]
    convert: Callable[[Any], Any]
    notes: tuple[str, ...]


def plan_samples(path: Path, image: TiffDirectory) -> SamplePlan:
    """Plan the conversion of an image to gray, RGB or CMYK, with straight alpha if it has any.

    Raises PictureError for color spaces that cannot be converted.
    """
    kind = image.get_first(PHOTOMETRIC, _RGB)
    if kind not in _COLORS or (kind == _SEPARATED and image.get_first(INK_SET, 1) != 1):
        found = _NAMES.get(kind, "inks other than CMYK" if kind == _SEPARATED else f"photometric interpretation {kind}")
        raise PictureError(
            f"{path}: holds {found}; expected gray, RGB, a palette, CMYK, YCbCr or CIE Lab. Convert it first."
        )
    patches: dict[int, bytes] = {}
    steps: list[Callable[[Any], Any]] = []
    notes: list[str] = []
    colors = _count_colors(image, kind)
    alphas = [extra for extra in _list_extras(image, colors) if extra in _ALPHAS]
    # several channels of alpha are those of a multispectral picture: the reader refuses them by their number
    if kind != _PALETTE and len(alphas) < 2 and image.get_first(BITS, 1) <= 16:
        alpha = _find_alpha(image, colors)
        steps.append(functools.partial(_take_channels, colors=colors, alpha=alpha, samples=_count(image)))
        if alpha is not None and alphas == [_ASSOCIATED] and EXTRA_SAMPLES in image.places:
            # libvips would do this too, but cuts values off instead of rounding them
            patches[image.places[EXTRA_SAMPLES] + 2 * alpha] = _as_stored(path, _UNASSOCIATED)
            steps.append(make_alpha_straight)
        notes += _describe_extras(image, colors, alpha)
    if kind == _YCBCR and image.get_first(COMPRESSION, 1) != _JPEG:  # libtiff converts that of JPEG
        steps.insert(0, functools.partial(_convert_ycbcr, image_directory=image))
    bits = image.get_first(BITS, 1)
    if kind == _ICC_LAB or (kind == _CIE_LAB and bits == 8):
        if kind == _CIE_LAB and PHOTOMETRIC in image.places:  # libvips fails on these: read them as ICC Lab
            patches[image.places[PHOTOMETRIC]] = _as_stored(path, _ICC_LAB)
        steps.append(functools.partial(_convert_lab, is_signed=kind == _CIE_LAB))
        notes.append(f"CIE Lab was converted to {bits}-bit sRGB.")
    return SamplePlan(patches=patches, convert=functools.partial(_run, tuple(steps)), notes=tuple(notes))


def _run(steps: tuple[Callable[[Any], Any], ...], image: Any) -> Any:
    for step in steps:
        image = step(image)
    return image


def _as_stored(path: Path, value: int) -> bytes:
    with path.open("rb") as file:
        order = ">" if file.read(2) == b"MM" else "<"
    return struct.pack(order + "H", value)


# ------------------------------------------------------------------------------------------------------ extra channels


def _count(image: TiffDirectory) -> int:
    return image.get_first(SAMPLES, 1)


def _count_colors(image: TiffDirectory, kind: int) -> int:
    """Color channels; some programs (GDAL among them) declare RGB as gray with further channels."""
    colors = _COLORS[kind]
    declared = [extra for extra in _list_extras(image, colors) if extra in _ALPHAS]
    return 3 if colors == 1 and _count(image) > 2 and len(declared) != 1 else colors


def _list_extras(image: TiffDirectory, colors: int) -> list[int | None]:
    """The declared meaning of each channel after the colors; None if the file declares none."""
    count = max(_count(image) - colors, 0)
    declared = [int(value) for value in image.tags.get(EXTRA_SAMPLES, ())][-count:] if count else []
    return [declared[index] if index < len(declared) else None for index in range(count)]


def _find_alpha(image: TiffDirectory, colors: int) -> int | None:
    """The extra channel that is transparency: one that is declared so, or the only one if nothing is declared."""
    extras = _list_extras(image, colors)
    declared = [index for index, kind in enumerate(extras) if kind in _ALPHAS]
    if declared:
        return declared[0]
    return 0 if extras == [None] else None


def _describe_extras(image: TiffDirectory, colors: int, alpha: int | None) -> Iterator[str]:
    extras = _list_extras(image, colors)
    dropped = len(extras) - (alpha is not None)
    if alpha is not None and extras[alpha] is None:
        yield "Its extra channel, whose meaning the file does not declare, was taken for transparency."
    if dropped == 1:
        yield "Its extra channel is not declared as transparency (ExtraSamples) and was left out."
    elif dropped:
        yield f"{dropped} extra channels are not declared as transparency (ExtraSamples) and were left out."


def _take_channels(image: Any, *, colors: int, alpha: int | None, samples: int) -> Any:
    """Keep the colors and alpha."""
    if image.bands != samples:  # libtiff has converted the image to RGBA, opaque if it has no alpha
        colors, alpha = (colors if samples < 3 else 3), (0 if alpha is not None else None)
    wanted = colors + (alpha is not None)
    if image.bands == wanted and alpha in (None, 0):
        return image
    kept = image.extract_band(0, n=colors)
    kept = kept if alpha is None else kept.bandjoin(image[colors + alpha])
    return kept.copy(interpretation=image.interpretation)


# -------------------------------------------------------------------------------------------------------------- colors


def _convert_ycbcr(image: Any, *, image_directory: TiffDirectory) -> Any:
    """YCbCr of 8 bits -> RGB (TIFF 6.0, section 21); libtiff has already converted subsampled images."""
    samples = _count(image_directory)
    if image.bands != samples or image.format != "uchar":
        return image
    red, green, blue = _read_values(image_directory, YCBCR_COEFFICIENTS, _BT601)
    levels = _read_values(image_directory, REFERENCE_BLACK_WHITE, _FULL_RANGE)
    spans = [levels[index + 1] - levels[index] for index in (0, 2, 4)]
    if not green or not all(spans):
        red, green, blue = _BT601
        levels, spans = _FULL_RANGE, [255.0, 127.0, 127.0]
    gains = [full / span for full, span in zip((255.0, 127.0, 127.0), spans, strict=True)]
    planes = (image.extract_band(0, n=3) - [levels[0], levels[2], levels[4]]) * gains
    from_cr, from_cb = 2 - 2 * red, 2 - 2 * blue
    matrix = [
        [1, 0, from_cr],
        [1, -blue * from_cb / green, -red * from_cr / green],
        [1, from_cb, 0],
    ]
    rgb = planes.recomb(matrix).rint().cast("uchar")
    rgb = rgb if image.bands == 3 else rgb.bandjoin(image.extract_band(3, n=image.bands - 3))
    return rgb.copy(interpretation="srgb")


def _read_values(image: TiffDirectory, tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
    values = tuple(float(value) for value in image.tags.get(tag, ()))
    return values if len(values) == len(default) else default


def _convert_lab(image: Any, *, is_signed: bool) -> Any:
    """CIE Lab (a and b signed) or ICC Lab (offset by half) as stored -> sRGB of the same depth."""
    deep = image.format == "ushort"
    unit, white = (256, 65_280) if deep else (1, 255)
    alpha = image[3] if image.bands > 3 else None
    lightness = image[0] * (100 / white)
    axes = [image[index] / unit for index in (1, 2)]
    axes = [(axis > 127).ifthenelse(axis - 256, axis) if is_signed else axis - 128 for axis in axes]
    lab = lightness.bandjoin(axes).cast("float").copy(interpretation="lab")
    rgb = lab.colourspace("rgb16" if deep else "srgb")
    rgb = rgb if alpha is None else rgb.bandjoin(alpha)
    return rgb.copy(interpretation="rgb16" if deep else "srgb")
