"""Output files of a model: checked before the work starts, moved into place after it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Sequence
from pathlib import Path

from tessera.errors import ExportError, UsageError
from tessera.storage.atomic import choose_temporary_name, flush_folder, put_in_place
from tessera.storage.leftovers import remove_leftovers


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


@contextlib.contextmanager
def write_in_place(output: Path, paths: Sequence[Path]) -> Generator[Path]:
    """Yield a temporary name for `output`; when the block ends, its files (of the endings of `paths`) get their names.

    They are removed if the block fails. Raises ExportError where a file cannot be written.
    """
    remove_leftovers(output.parent)
    temporary = choose_temporary_name(output)
    temporaries = tuple(temporary.with_suffix(path.suffix) for path in paths)
    try:
        yield temporary
        put_all_in_place(temporaries, paths)
    except OSError as error:
        raise ExportError(
            f"{output}: cannot write this file ({error.strerror or error}). Check the folder and its free space."
        ) from error
    finally:
        for path in temporaries:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def put_all_in_place(temporaries: Sequence[Path], paths: Sequence[Path]) -> None:
    """Rename the files of one model, the last path last: an interruption never mixes files of two models."""
    if len(paths) > 1:
        paths[-1].unlink(missing_ok=True)
        flush_folder(paths[-1].parent)
    for here, there in zip(temporaries, paths, strict=True):
        put_in_place(here, there)
