"""Text files that list pictures, read with bounds: a line is at most as long as the paths in it can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tessera.errors import UsageError

_LONGEST_LINE = 16_384
"""Characters: two paths of 4,096 characters with their sizes, generously."""


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a list that are not blank, with their numbers; bytes that are not UTF-8 are kept as in paths.

    Raises UsageError if the file cannot be read or a line is longer than 16,384 characters.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(line) > _LONGEST_LINE:
                    raise UsageError(f"{path}, line {number}: expected at most {_LONGEST_LINE:,} characters.")
                if line.strip():
                    yield number, line
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from None
