"""Pairs that a teacher made: inputs, and what a trained network gives for them, kept in a folder.

`STORE/lq` and `STORE/gt` are LMDB stores of PNG files with 8 bits, under the same numbers. `STORE/teaching.json` names
the teacher with the SHA-256 of its file, and how the inputs were made.

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

from tessera.dataset.store import imported_lmdb
from tessera.errors import PictureError, UsageError
from tessera.images.picture import vips
from tessera.storage.atomic import put_in_place, temporary_name

Pixels = npt.NDArray[np.uint8]
Pair = tuple[Pixels, Pixels]
"""An input (h, w, 3) and the teacher's output (s*h, s*w, 3)."""

RECORD_NAME = "teaching.json"
INPUTS = "lq"
OUTPUTS = "gt"
_COMPRESSION = 3
_PAGE = 4096
_BYTES_BESIDE = 2**24
"""What a store takes beside its pictures, generously."""


class Teaching(BaseModel, frozen=True, extra="forbid"):
    """Who made the pairs of a store, and of what."""

    teacher: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the teacher's file."""
    license: str | None
    """Of the teacher's weights; what learns from its outputs carries it on."""
    scale: Annotated[int, Field(ge=1, le=16)]
    side: Annotated[int, Field(ge=1, le=4096)]
    """Of the inputs, in pixels."""
    inputs: dict[str, JsonValue]
    """How they were made."""


def is_taught(path: Path) -> bool:
    """Whether a folder is a store that a teacher made."""
    return (path / RECORD_NAME).is_file()


def read_teaching(folder: Path) -> Teaching:
    """Read who made the pairs of a store. Raises PictureError when its record cannot be read."""
    path = folder / RECORD_NAME
    try:
        return Teaching.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a record that Tessera wrote"
        raise PictureError(f"{path}: cannot be read: {reason}.") from None


def key_of_pair(number: int) -> str:
    """The name that the two pictures of a pair have in their stores.

    >>> key_of_pair(7)
    '00000007'
    """
    return f"{number:08d}"


class TaughtStore:
    """A store that is open for adding; `count` pairs are in it, numbered from 0 without gaps.

    An input is written before its output, so a pair counts once its output is there, whenever the process is killed.
    """

    def __init__(self, folder: Path, teaching: Teaching, *, pairs: int) -> None:
        """Open the two stores, with room for so many pairs. Raises PictureError."""
        self._folder = folder
        lmdb = imported_lmdb(folder)
        sides = {INPUTS: teaching.side, OUTPUTS: teaching.side * teaching.scale}
        self._errors: Any = lmdb.Error
        self._stores: dict[str, Any] = {}
        try:
            for name, side in sides.items():
                pages = 3 * side**2 // _PAGE + 2  # a PNG file of noise is as large as its pixels
                size = pairs * pages * _PAGE + _BYTES_BESIDE
                self._stores[name] = lmdb.open(str(folder / name), map_size=size, max_readers=8)
        except (lmdb.Error, OSError) as error:
            self.close()
            raise PictureError(f"{folder}: cannot be opened for adding pairs: {error}.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        for store in self._stores.values():
            store.close()

    @property
    def count(self) -> int:
        """How many pairs are whole."""
        return int(self._stores[OUTPUTS].stat()["entries"])

    def add(self, pairs: Sequence[Pair]) -> None:
        """Add pairs behind those that are there, all of them or none. Raises PictureError when the disk is full."""
        first = self.count
        try:
            for name, index in ((INPUTS, 0), (OUTPUTS, 1)):
                with self._stores[name].begin(write=True) as transaction:
                    for number, pair in enumerate(pairs, first):
                        transaction.put(key_of_pair(number).encode(), _png(pair[index]))
        except (self._errors, OSError) as error:
            raise PictureError(
                f"{self._folder}: pairs cannot be added ({error}). What is there stays; make room and resume."
            ) from None


@contextlib.contextmanager
def open_taught(folder: Path, teaching: Teaching, *, pairs: int, resume: bool) -> Generator[TaughtStore]:
    """Make a store, or open one that was begun by the same teacher in the same way.

    Raises UsageError, before anything is written, when the folder holds something else; PictureError when it cannot be
    written or another process is adding to it.
    """
    _begin(folder, teaching, resume=resume)
    with _only_one(folder), TaughtStore(folder, teaching, pairs=pairs) as store:
        yield store


def _begin(folder: Path, teaching: Teaching, *, resume: bool) -> None:
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"-o {folder}: is a file; pairs go to a folder, so name another one.")
    if folder.is_dir() and any(folder.iterdir()):
        if not resume:
            raise UsageError(f"-o {folder}: is a folder with something in it. Name another, or resume it by --resume.")
        if not is_taught(folder):
            raise UsageError(f"--resume: {folder} is not a store of pairs: it has no {RECORD_NAME}.")
        before = read_teaching(folder)
        different = [name for name in Teaching.model_fields if getattr(before, name) != getattr(teaching, name)]
        if different:
            raise UsageError(
                f"--resume: the pairs in {folder} were made with another {' and '.join(different)}. Use the same, or"
                " another folder."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = temporary_name(folder / RECORD_NAME)
        part.write_text(json.dumps(teaching.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
        put_in_place(part, folder / RECORD_NAME)
    except OSError as error:
        raise UsageError(f"-o {folder}: cannot be made: {error.strerror}.") from None


@contextlib.contextmanager
def _only_one(folder: Path) -> Generator[None]:
    """Hold the store's lock. Raises PictureError where another process does."""
    try:
        import fcntl
    except ModuleNotFoundError:  # on Windows
        yield
        return
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PictureError(f"{folder}: another process is adding pairs to this store.") from None
        except OSError:
            pass  # a file system without locks
        yield


def _png(pixels: Pixels) -> bytes:
    image = vips().Image.new_from_array(np.ascontiguousarray(pixels)).copy(interpretation="srgb")
    return bytes(image.pngsave_buffer(compression=_COMPRESSION, filter="sub"))
