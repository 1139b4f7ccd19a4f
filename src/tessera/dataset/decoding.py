"""Decode pictures to RGB pixels: upright, gray repeated over three channels, without alpha, 16 bits preserved.

Shapes: H height, W width.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tessera.dataset.sources import PictureRef
from tessera.dataset.store import read_encoded
from tessera.errors import PictureError
from tessera.images.libvips import vips
from tessera.images.reader import PictureReader
from tessera.storage.files import write_bytes

Pixels = npt.NDArray[np.unsignedinteger]

ALPHA_NOTE = "Some pictures have an alpha channel: it is ignored, and the colors under it are used unchanged."


@dataclass(frozen=True)
class Decoded:
    """Pixels (H, W, 3) in uint8 or uint16, and whether an alpha channel was dropped."""

    pixels: Pixels
    had_alpha: bool = False


@contextlib.contextmanager
def open_ref(ref: PictureRef) -> Generator[PictureReader]:
    """Open a picture of a file or store. Raises PictureError with the picture's own name."""
    if not ref.key:
        with PictureReader(Path(ref.place)) as reader:
            yield reader
        return
    data = read_encoded(ref.place, ref.key)
    with _provide_file(data) as path:
        try:
            with PictureReader(path) as reader:
                yield reader
        except PictureError as error:
            raise PictureError(str(error).replace(str(path), str(ref))) from None


def read_rgb(ref: PictureRef) -> Decoded:
    """Read a whole picture, (H, W, 3). Raises PictureError if it is unreadable."""
    with open_ref(ref) as reader:
        return Decoded(_to_rgb(reader.read_rows(0, reader.height)), reader.info.has_alpha)


def read_rgb_rows(reader: PictureReader, first: int, count: int) -> Decoded:
    """Read rows of an open picture, (count, W, 3). Raises PictureError if they are damaged."""
    return Decoded(_to_rgb(reader.read_rows(first, count)), reader.info.has_alpha)


def to_chw(pixels: Pixels) -> Tensor:
    """Convert pixels to planes, (H, W, 3) -> (3, H, W): uint8 unchanged, uint16 to float32 in [0, 1]."""
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if planes.dtype == np.uint8:
        return torch.from_numpy(planes)
    return torch.from_numpy(planes.astype(np.float32) / np.float32(65_535))


def read_in_one_thread() -> None:
    """Decode with one thread in this process, because there are several worker processes."""
    vips().concurrency_set(1)


def _to_rgb(pixels: Pixels) -> Pixels:
    color = pixels[..., :1] if pixels.shape[2] < 3 else pixels[..., :3]
    return np.broadcast_to(color, (*color.shape[:2], 3)) if color.shape[2] == 1 else color


@contextlib.contextmanager
def _provide_file(data: bytes) -> Generator[Path]:
    """Provide bytes under a path for readers that need a file; in memory where the system supports it."""
    if _has_memory_files():
        descriptor = os.memfd_create("picture")
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(data)
            yield Path(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture")
        write_bytes(path, data)
        yield path


@functools.cache
def _has_memory_files() -> bool:
    return hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()
