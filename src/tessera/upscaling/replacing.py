"""Which existing files an output may replace: proven outputs of the same picture and setup.

A line of the journal counts only if the file's bytes are those that it states (`Journal.find_origin`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tessera.errors import PictureError
from tessera.upscaling.journal import Job, Journal, JournalEntry

Existing = Literal["keep", "refresh", "overwrite"]
"""Existing files: "keep" replaces only earlier outputs of the same picture and setup whose input has changed; "refresh"
all earlier outputs; "overwrite" every file, and finished ones are processed again."""


def check_replaceable(journal: Journal, source: Path, output: Path, job: Job, existing: Existing) -> None:
    """Raise PictureError unless this output may be written; empty files may always be replaced."""
    if output.is_dir():
        raise PictureError(f"{output}: is a folder; a picture cannot be written to this name.")
    if output.exists() and not output.is_file():
        raise PictureError(f"{output}: is a pipe or a device, which a picture may not replace.")
    if existing == "overwrite" or not output.exists() or not output.stat().st_size:
        return
    origin = journal.find_origin(output)
    if origin is None:
        raise PictureError(
            f"{output}: exists and is not an output of Tessera as its journal states it, or was changed since;"
            " `overwrite` replaces it."
        )
    if existing == "refresh":
        return
    if origin.source != journal.path_from_here(source):
        raise PictureError(
            f"{output}: is the output of another picture, {journal.folder / origin.source}; choose another `output`"
            " folder or `suffix`, or let `overwrite` replace it."
        )
    if origin.setup != job.setup:
        raise PictureError(_describe_difference(output, origin, job))


def _describe_difference(output: Path, origin: JournalEntry, job: Job) -> str:
    made = f"was made with {origin.description}" if origin.description else "was made with other settings"
    return (
        f"{output}: {made}; this run uses {job.description}. Choose another `output` folder or `suffix`, or let"
        " `overwrite` replace it."
    )
