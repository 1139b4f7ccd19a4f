"""Where a file that is made may go, decided before the work begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tessera.errors import UsageError


def check_places(output: Path, paths: Sequence[Path], *, overwrite: bool) -> None:
    """Raise UsageError where `output`, whose files are `paths`, cannot be written or would replace something."""
    if not output.parent.is_dir():
        raise UsageError(f"{output}: there is no folder {output.parent}. Make it first, or choose another.")
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path}: this is a folder. Choose another name.")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists already. Choose another name, or replace it with --overwrite.")
    if not os.access(output.parent, os.W_OK):
        raise UsageError(f"{output}: nothing may be written to {output.parent}. Choose another folder.")
