"""Output files of commands that measure: checked before the work begins, written atomically after it."""

from __future__ import annotations

import os
from pathlib import Path

from tessera.cli import make_printable
from tessera.errors import UsageError


def make_lines_printable(text: str) -> str:
    """Text of several lines, each safe to print and ended."""
    return "".join(f"{make_printable(line)}\n" for line in text.splitlines())


def check_reports(reports: dict[str, Path | None]) -> None:
    """Raise UsageError for a file, by its option, that cannot be written."""
    for option, path in reports.items():
        if path is None:
            continue
        folder = path.absolute().parent
        if not folder.is_dir():
            raise UsageError(f"{option} {path}: folder {folder} does not exist. Create it first, or choose another.")
        if path.is_dir():
            raise UsageError(f"{option} {path}: is a folder; name a file.")
        if not os.access(folder, os.W_OK):
            raise UsageError(f"{option} {path}: the folder {folder} is not writable.")


def write_report(path: Path | None, text: str) -> None:
    """Write a report atomically, unless `path` is None. Raises PictureError where it cannot be written."""
    from tessera.report.page import write_page

    if path is not None:
        write_page(path, [text])
