"""Metadata for a picture of a new size in another format: what is written, and what the format loses.

One function decides both, so that whatever is not written is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tessera.images.exif import MalformedExifError, correct_exif
from tessera.images.metadata import COMMENT, Density, Metadata, Text, list_names
from tessera.images.picture_format import MetadataKind, PictureFormat
from tessera.images.xmp import MalformedXmpError, correct_xmp

_SPARSEST, _DENSEST = 1e-3, 1e5
"""Pixels per millimeter; anything else is damage."""


@dataclass(frozen=True)
class PreparedMetadata:
    """Metadata as a format stores it, and what of it the format does not hold, as words for a note."""

    metadata: Metadata
    losses: tuple[str, ...]


def prepare_metadata(metadata: Metadata, form: PictureFormat, *, height: int, width: int) -> PreparedMetadata:
    """Fit metadata to a picture of this size in this format.

    Orientation becomes 1 and sizes become those of the picture, in EXIF and XMP; thumbnails of the old picture are
    dropped. Blocks that the format cannot hold, or that are damaged, are left out and named.
    """
    losses: list[str] = []
    gain_map = metadata.gain_map if "gain map" in form.metadata else None
    if metadata.gain_map is not None and gain_map is None:
        losses.append("the gain map (HDR)")
    result = replace(
        metadata,
        exif=_prepare_exif(metadata.exif, losses, height=height, width=width),
        density=metadata.density if _is_plausible(metadata.density) else None,
        xmp=_prepare_xmp(
            metadata.xmp, losses, height=height, width=width, gain_map_bytes=len(gain_map.jpeg) if gain_map else 0
        ),
        gain_map=gain_map,
        georeference=metadata.georeference and metadata.georeference.fit(height=height, width=width),
    )
    if result.georeference is not None and "georeference" not in form.metadata:
        losses.append("the georeference (GeoTIFF)")
        result = replace(result, georeference=None)
    for kind, name in _BLOCKS:
        block: bytes = getattr(result, name)
        if block and (loss := _find_loss(kind, block, form)):
            losses.append(loss)
            result = replace(result, **{name: b""})
    if result.icc_profile is not None and (loss := _find_loss("ICC profile", result.icc_profile, form)):
        losses.append(loss)
        result = result.without_icc()
    if result.color_coding is not None and "color coding" not in form.metadata:
        if not result.color_coding.is_like_srgb:
            losses.append(f"the color coding ({result.color_coding})")
        result = replace(result, color_coding=None)
    losses += _name_lost_texts([text for text in result.texts if not _holds_text(text, form)])
    texts = tuple(text for text in result.texts if _holds_text(text, form))
    return PreparedMetadata(replace(result, texts=texts), tuple(losses))


_BLOCKS: tuple[tuple[MetadataKind, str], ...] = (
    ("EXIF", "exif"),
    ("XMP", "xmp"),
    ("IPTC", "iptc"),
    ("Photoshop resources", "photoshop"),
)


def list_losses(metadata: Metadata, form: PictureFormat, *, height: int = 1, width: int = 1) -> tuple[str, ...]:
    """Name what the picture has and a file of this format will not have."""
    return prepare_metadata(metadata, form, height=height, width=width).losses


def _is_plausible(density: Density | None) -> bool:
    """Whether every format can store a density: libvips' limit is a million pixels per millimeter."""
    return density is not None and all(_SPARSEST <= value <= _DENSEST for value in density)


def _prepare_exif(block: bytes, losses: list[str], *, height: int, width: int) -> bytes:
    if not block:
        return b""
    try:
        return correct_exif(block, height=height, width=width)
    except MalformedExifError:
        losses.append("EXIF, which is damaged")
        return b""


def _prepare_xmp(packet: bytes, losses: list[str], *, height: int, width: int, gain_map_bytes: int) -> bytes:
    if not packet:
        return b""
    try:
        return correct_xmp(packet, height=height, width=width, gain_map_bytes=gain_map_bytes)
    except MalformedXmpError:
        losses.append("XMP, which is damaged")
        return b""


def _find_loss(kind: MetadataKind, block: bytes, form: PictureFormat) -> str:
    words = "the ICC profile" if kind == "ICC profile" else kind
    if kind not in form.metadata:
        return words
    fits = len(block) <= form.metadata_bytes.get(kind, len(block))
    if kind == "XMP" and form.accepts_xmp is not None:
        fits = fits and form.accepts_xmp(block)
    return "" if fits else f"{words} of {len(block):,} bytes"


def _holds_text(text: Text, form: PictureFormat) -> bool:
    if "texts with keywords" in form.metadata:
        return True
    size = len(text.encode())
    is_comment = text.keyword == COMMENT and not text.language
    return is_comment and "comments" in form.metadata and size <= form.metadata_bytes.get("comments", size)


def _name_lost_texts(lost: list[Text]) -> Iterator[str]:
    comments = sum(text.keyword == COMMENT for text in lost)
    named = [text.keyword for text in lost if text.keyword != COMMENT]
    if comments:
        yield "the comment" if comments == 1 else f"{comments} comments"
    if named:
        yield f"the text {named[0]}" if len(named) == 1 else f"the texts {list_names(named)}"
