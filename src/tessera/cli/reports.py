"""Files in which a command says what it has found: refused before the work begins, written whole after it."""

from __future__ import annotations

import os
from pathlib import Path

from tessera.errors import UsageError


def check_reports(reports: dict[str, Path | None]) -> None:
    """Raise UsageError for a file, by the option that names it, that cannot be written where it is."""
    for option, path in reports.items():
        if path is None:
            continue
        folder = path.absolute().parent
        if not folder.is_dir():
            raise UsageError(f"{option} {path}: there is no folder {folder}; make it first.")
        if path.is_dir():
            raise UsageError(f"{option} {path}: this is a folder; name a file.")
        if not os.access(folder, os.W_OK):
            raise UsageError(f"{option} {path}: nothing may be written to {folder}.")


def write_report(path: Path | None, text: str) -> None:
    """Write a report where one is wanted; it appears whole or not at all. Raises PictureError when it cannot."""
    from tessera.report.page import write_page

    if path is not None:
        write_page(path, [text])
