"""Facts of a picture file from its header: read once, then passed to whatever reads the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tessera.images.damage import check_regular_file, explain_errors
from tessera.images.formats import choose_opener, find_format
from tessera.images.metadata import Metadata
from tessera.images.picture_format import OpenPicture, PictureInfo, ReadOptions


@dataclass(frozen=True, kw_only=True)
class PictureSurvey:
    """Facts of a picture file, and how it was opened for them: `PictureReader(survey)` reads its pixels."""

    path: Path
    info: PictureInfo
    metadata: Metadata
    options: ReadOptions


def open_picture(path: Path, options: ReadOptions) -> OpenPicture:
    """Open a file with the code of its format. Raises PictureError and LimitError."""
    check_regular_file(path)
    with explain_errors(path):
        with path.open("rb") as file:
            start = file.read(64)
        opened = choose_opener(start)(path, options)
    notes = (*_compare_name(path, opened.info.format_name), *opened.info.notes)
    return replace(opened, info=replace(opened.info, notes=notes))


def _compare_name(path: Path, format_name: str) -> Iterator[str]:
    named = find_format(path)
    if named is not None and named.name != format_name:
        yield f"Its name says {named.name} but it is a {format_name} file."
