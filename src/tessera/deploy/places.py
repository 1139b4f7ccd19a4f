"""Output files of a model: checked before the work starts, moved into place after it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tessera.errors import UsageError
from tessera.storage.atomic import flush_folder, put_in_place


def check_places(output: Path, paths: Sequence[Path], *, overwrite: bool) -> None:
    """Raise UsageError where `output`, whose files are `paths`, cannot be written or would replace a file."""
    if not output.parent.is_dir():
        raise UsageError(f"{output}: folder {output.parent} does not exist. Create it first, or choose another.")
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path} is a folder. Choose another name.")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} already exists. Choose another name, or set `overwrite` to replace it.")
    if not os.access(output.parent, os.W_OK):
        raise UsageError(f"{output}: no permission to write to {output.parent}. Choose another folder.")


def put_all_in_place(temporaries: Sequence[Path], paths: Sequence[Path]) -> None:
    """Rename the files of one model, the last path last: an interruption never mixes files of two models."""
    if len(paths) > 1:
        paths[-1].unlink(missing_ok=True)
        flush_folder(paths[-1].parent)
    for here, there in zip(temporaries, paths, strict=True):
        put_in_place(here, there)
