"""The JSON report of `tessera upscale`: it replaces an earlier report, and nothing else."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tessera.cli.options import show_options
from tessera.cli.streams import write_line
from tessera.errors import FileError, TesseraError, UsageError
from tessera.storage.files import open_for_reading, write_text, write_to_device
from tessera.upscaling.batch_report import BatchReport
from tessera.upscaling.finding import Task, fold_name
from tessera.upscaling.journal import JOURNAL_NAME, Journal

_HEAD = re.compile(rb'\s*\{\s*"tessera":')
"""How a report begins."""


def check_report(path: Path, tasks: Sequence[Task], journal: Journal, *, dry_run: bool) -> None:
    """Refuse a report file that could not be written after the work, or would replace something. Raises UsageError."""
    if dry_run:
        raise UsageError("--report with --dry-run: a dry run has nothing to report; leave one out.")
    if path.is_dir():
        raise UsageError(f"--report {path}: is a folder; name a file, as in --report {path / 'report.json'}.")
    if path.exists() and any(path.samefile(task.source) for task in tasks if task.source.exists()):
        raise UsageError(f"--report {path}: is one of the inputs; name another file.")
    outputs = {_resolve(place) for task in tasks for place in (task.output, task.output.with_suffix(".png"))}
    if _resolve(path) in outputs or _resolve(path) == _resolve(journal.folder / JOURNAL_NAME):
        raise UsageError(f"--report {path}: is the name of an output; name another file, such as report.json.")
    if _is_standard_output(path) or _is_special(path):
        return
    if os.path.lexists(path) and not _is_report(path):
        raise UsageError(f"--report {path}: exists and is not a report of Tessera; name another file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--report {path}: cannot be written there: {error.strerror}.") from None
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"--report {path}: cannot be written there: {path.parent} is not writable.")


def write_report(path: Path, result: BatchReport) -> None:
    """Write the report; a device or a pipe is written to, not replaced. Raises TesseraError."""
    text = json.dumps(_name_options(result.as_json()), indent=2)
    try:
        if _is_standard_output(path):
            write_line(text)
        elif _is_special(path):
            write_to_device(path, f"{text}\n".encode())
        else:
            if os.path.lexists(path) and not _is_report(path):
                raise TesseraError(f"{path}: was created meanwhile and is not a report; the report was not written.")
            write_text(path, f"{text}\n")
    except OSError as error:
        raise TesseraError(f"{path}: the report cannot be written: {error.strerror}.") from None


def _name_options(values: dict[str, Any]) -> dict[str, Any]:
    """The report with options in place of fields in its sentences."""
    files: list[dict[str, Any]] = [dict(each) for each in values["files"]]
    for each in files:
        if "message" in each:
            each["message"] = show_options(each["message"])
        if "notes" in each:
            each["notes"] = [show_options(note) for note in each["notes"]]
    return {**values, "files": files}


def _is_report(path: Path) -> bool:
    """Whether a file is empty or an earlier report."""
    try:
        with os.fdopen(open_for_reading(path, max_bytes=sys.maxsize), "rb") as file:
            head = file.read(64)
    except (FileError, OSError):
        return False
    return not head or _HEAD.match(head) is not None


def _is_standard_output(path: Path) -> bool:
    """Whether this is the same file as standard output, such as /dev/stdout."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False


def _is_special(path: Path) -> bool:
    """Whether this is a device or a pipe, which must not be replaced."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _resolve(path: Path) -> str:
    """One text for all spellings of a place, links in its folder resolved."""
    return fold_name(Path(os.path.realpath(path.parent)) / path.name)
