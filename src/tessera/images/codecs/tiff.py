"""TIFF and BigTIFF: read and written by libvips, EXIF and IPTC by `exif_tables` because libvips drops them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tessera.images.codecs.camera_raw import has_raw_name, refuse_raw
from tessera.images.codecs.libvips_loader import LibvipsLoader, Selection
from tessera.images.codecs.tiff_directories import choose_main, read_directories
from tessera.images.codecs.tiff_samples import plan_samples
from tessera.images.exif_tables import edit_tiff, find_faulty_entries, read_tiff_metadata
from tessera.images.libvips import set_blob
from tessera.images.metadata import Container, Metadata, list_names
from tessera.images.photoshop import split_resources
from tessera.images.picture_format import EMBEDDED_KINDS, PictureFormat, SaveOptions

_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_LARGEST_CLASSIC_BYTES = 3.5 * 2**30
"""Of pixels; a classic TIFF ends at 4 GiB."""


def _matches(start: bytes) -> bool:
    return start.startswith(_STARTS)


def _read_container(path: Path) -> Container:
    found = read_tiff_metadata(path)
    iptc, resources = split_resources(found.iptc)
    _, photoshop = split_resources(found.photoshop)
    return Container(
        metadata=Metadata(
            exif=found.exif, iptc=iptc, photoshop=photoshop or resources, georeference=found.georeference
        ),
        notes=(f"Its {list_names(found.others)} {'were' if len(found.others) > 1 else 'was'} not kept.",)
        if found.others
        else (),
    )


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    metadata = options.metadata
    pixel_bytes = image.width * image.height * image.bands * (2 if image.format == "ushort" else 1)
    if metadata.xmp:
        image = image.copy()
        set_blob(image, "xmp-data", metadata.xmp)
    image.tiffsave(
        os.fsencode(path),
        compression="deflate",
        predictor="horizontal",
        bigtiff=pixel_bytes > _LARGEST_CLASSIC_BYTES,
        keep="icc|xmp",
    )
    edit_tiff(
        path,
        metadata.exif,
        iptc=metadata.iptc,
        photoshop=metadata.photoshop,
        georeference=metadata.georeference,
        has_density=metadata.density is not None,
    )


def _select(path: Path) -> Selection:
    """Choose the main image, and describe how its samples become gray or RGB. Raises PictureError for camera raw."""
    directories = read_directories(path)
    main = choose_main(directories)
    if has_raw_name(path) or any(each.is_raw for each in directories):
        refuse_raw(path)
    faulty = find_faulty_entries(path)
    if main is None:
        return Selection(patches=faulty)
    options = {"page": main.page, **({} if main.sub_image is None else {"subifd": main.sub_image})}
    pages = sum(each.is_picture and each.sub_image is None for each in directories)
    samples = plan_samples(path, main)
    return Selection(
        options=options,
        patches={**faulty, **samples.patches},
        pages=max(pages, 1),
        convert=samples.convert,
        notes=samples.notes,
    )


TIFF = PictureFormat(
    name="TIFF",
    extensions=(".tif", ".tiff"),
    matches=_matches,
    open=LibvipsLoader(format_name="TIFF", select=_select, container=_read_container, notes_expansion=True),
    save=_save,
    deepest=16,
    metadata=frozenset((*EMBEDDED_KINDS, "georeference")),
)
