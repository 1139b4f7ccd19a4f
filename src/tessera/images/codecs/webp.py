"""WebP: read and written by libvips, still or animated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tessera.images.codecs.exif_cleanup import choose_kept, remove_invented_tags
from tessera.images.codecs.libvips_loader import LibvipsLoader, count_decoded_bytes
from tessera.images.picture_format import PictureFormat, SaveOptions


def _matches(start: bytes) -> bool:
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def _hold_frames(head: Any, frames: int) -> int:
    decoded = count_decoded_bytes(head)
    return 3 * decoded + (decoded * frames if frames > 1 else 0)


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    keep = choose_kept(image, options.metadata, density_in_exif=True)
    image.webpsave(
        os.fsencode(path),
        Q=options.quality,
        smart_subsample=True,
        alpha_q=100,
        exact=True,  # colors under transparent pixels stay
        effort=4,
        keep=keep,
    )
    remove_invented_tags(path, options.metadata)


WEBP = PictureFormat(
    name="WebP",
    extensions=(".webp",),
    matches=_matches,
    open=LibvipsLoader(format_name="WebP", animated=True, held_bytes=_hold_frames),
    save=_save,
    quality=95,
    gray=False,
    longest_side=16_383,
    animated=True,
    metadata=frozenset(("EXIF", "XMP", "ICC profile")),
    whole_in_memory=True,
    bytes_per_sample=0.4,
)
