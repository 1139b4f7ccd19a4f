"""Stores of pairs made by a teacher: degraded inputs and a trained network's outputs, in one folder.

`STORE/lq` and `STORE/gt` are LMDB stores of 8-bit PNG files under the same numbers. `STORE/teaching.json` records the
teacher with the SHA-256 of its file, and how the inputs were made.

Shapes: h and w the input, s the scale.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, JsonValue, ValidationError

from tessera.dataset.store import check_is_complete, import_lmdb, is_store
from tessera.errors import FileError, PictureError, UsageError
from tessera.images.libvips import vips
from tessera.storage.files import hold_lock, read_bytes, write_text

Pixels = npt.NDArray[np.uint8]
Pair = tuple[Pixels, Pixels]
"""An input (h, w, 3) and the teacher's output (s*h, s*w, 3)."""

RECORD_NAME = "teaching.json"
INPUTS = "lq"
OUTPUTS = "gt"
_COMPRESSION = 3
_PAGE = 4096
_OVERHEAD = 2**24
"""Bytes of a store besides its pictures, a generous bound."""
_MAX_RECORD_BYTES = 2**20


class Teaching(BaseModel, frozen=True, extra="forbid"):
    """The teacher and the inputs of a store."""

    teacher: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the teacher's file."""
    license: str | None
    """License of the teacher's weights, which holds for networks that learn from its outputs."""
    scale: Annotated[int, Field(ge=1, le=16)]
    side: Annotated[int, Field(ge=1, le=4096)]
    """Side of the inputs, in pixels."""
    inputs: dict[str, JsonValue]
    """How the inputs were made."""


def is_taught(path: Path) -> bool:
    """Whether a folder is a store made by a teacher."""
    return (path / RECORD_NAME).is_file()


def read_teaching(folder: Path) -> Teaching:
    """Read the record of a store. Raises PictureError if it is missing or damaged."""
    path = folder / RECORD_NAME
    try:
        return Teaching.model_validate_json(read_bytes(path, max_bytes=_MAX_RECORD_BYTES))
    except FileError as error:
        raise PictureError(str(error)) from None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "expected a record written by Tessera"
        raise PictureError(f"{path}: cannot be read: {reason}.") from None


def format_pair_key(number: int) -> str:
    """Format the key of both pictures of a pair.

    >>> format_pair_key(7)
    '00000007'
    """
    return f"{number:08d}"


class TaughtStore:
    """A store open for adding; it has `count` pairs, numbered from 0 without gaps.

    Inputs are committed before outputs, and a pair counts if its output is there, so the process may be killed at any
    time.
    """

    def __init__(self, folder: Path, teaching: Teaching, *, pairs: int) -> None:
        """Open the two LMDB stores, with room for `pairs` pairs. Raises PictureError."""
        self._folder = folder
        lmdb = import_lmdb(folder)
        sides = {INPUTS: teaching.side, OUTPUTS: teaching.side * teaching.scale}
        self._errors: Any = lmdb.Error
        self._stores: dict[str, Any] = {}
        try:
            for name, side in sides.items():
                pages = 3 * side**2 // _PAGE + 2  # a PNG file of noise is as large as its pixels
                size = pairs * pages * _PAGE + _OVERHEAD
                if is_store(folder / name):
                    check_is_complete(folder / name)
                self._stores[name] = lmdb.open(str(folder / name), map_size=size, max_readers=8)
        except PictureError:
            self.close()
            raise
        except (lmdb.Error, OSError) as error:
            self.close()
            raise PictureError(f"{folder}: cannot be opened to add pairs: {error}.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for store in self._stores.values():
            store.close()

    @property
    def count(self) -> int:
        """Number of complete pairs."""
        return int(self._stores[OUTPUTS].stat()["entries"])

    def add(self, pairs: Sequence[Pair]) -> None:
        """Append pairs, all of them or none. Raises PictureError if the disk is full."""
        first = self.count
        try:
            for name, index in ((INPUTS, 0), (OUTPUTS, 1)):
                with self._stores[name].begin(write=True) as transaction:
                    for number, pair in enumerate(pairs, first):
                        transaction.put(format_pair_key(number).encode(), _encode_png(pair[index]))
        except (self._errors, OSError) as error:
            raise PictureError(
                f"{self._folder}: pairs cannot be added ({error}). Existing pairs stay; free some space and resume."
            ) from None


@contextlib.contextmanager
def open_taught(folder: Path, teaching: Teaching, *, pairs: int, resume: bool) -> Generator[TaughtStore]:
    """Create a store, or resume one by the same teacher with the same settings.

    Raises UsageError, before anything is written, if the folder has other contents; PictureError if it is not writable
    or another process adds to it.
    """
    _prepare_folder(folder, teaching, resume=resume)
    with _lock(folder), TaughtStore(folder, teaching, pairs=pairs) as store:
        yield store


def _prepare_folder(folder: Path, teaching: Teaching, *, resume: bool) -> None:
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder.", field="output")
    if folder.is_dir() and any(folder.iterdir()):
        if not resume:
            raise UsageError(f"{folder} is not empty. Choose another, or continue in it with `resume`.", field="output")
        if not is_taught(folder):
            raise UsageError(f"{folder} is not a store of pairs: it has no {RECORD_NAME}.", field="resume")
        before = read_teaching(folder)
        different = [name for name in Teaching.model_fields if getattr(before, name) != getattr(teaching, name)]
        if different:
            raise UsageError(
                f"the pairs in {folder} were made with a different {' and '.join(different)}. Use the same settings,"
                " or another folder.",
                field="resume",
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / RECORD_NAME, json.dumps(teaching.model_dump(mode="json"), indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"cannot create the folder {folder} ({error.strerror}).", field="output") from None


@contextlib.contextmanager
def _lock(folder: Path) -> Generator[None]:
    """Hold the store's lock. Raises PictureError if another process holds it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(folder / ".lock"))
        except BlockingIOError:
            raise PictureError(f"{folder}: another process is adding pairs to this store.") from None
        except OSError as error:
            raise PictureError(f"{folder}: cannot be locked: {error.strerror}.") from None
        yield


def _encode_png(pixels: Pixels) -> bytes:
    image = vips().Image.new_from_array(np.ascontiguousarray(pixels)).copy(interpretation="srgb")
    return bytes(image.pngsave_buffer(compression=_COMPRESSION, filter="sub"))
