"""GIF: read and written by libvips, still or animated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tessera.images.codecs.exif_cleanup import choose_kept
from tessera.images.codecs.libvips_loader import LibvipsLoader
from tessera.images.picture_format import PictureFormat, SaveOptions


def _matches(start: bytes) -> bool:
    return start.startswith((b"GIF87a", b"GIF89a"))


def _hold_two_frames(head: Any, frames: int) -> int:
    return 8 * head.height * head.width  # this frame and the one before, in RGBA


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    image.gifsave(os.fsencode(path), keep=choose_kept(image, options.metadata))


GIF = PictureFormat(
    name="GIF",
    extensions=(".gif",),
    matches=_matches,
    open=LibvipsLoader(format_name="GIF", animated=True, held_bytes=_hold_two_frames),
    save=_save,
    alpha_levels=2,
    colors=256,
    gray=False,
    longest_side=65_535,
    animated=True,
    # XMP would fit, but libvips writes none
    whole_in_memory=True,
    bytes_per_sample=0.5,
)
