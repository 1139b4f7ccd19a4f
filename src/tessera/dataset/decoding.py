"""A picture of the listing -> RGB pixels: upright, gray spread over three channels, alpha left out, 16 bits kept.

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
from tessera.dataset.store import stored_bytes
from tessera.errors import PictureError
from tessera.images.libvips import vips
from tessera.images.reader import PictureReader

Pixels = npt.NDArray[np.unsignedinteger]

ALPHA_NOTE = "Some pictures have an alpha channel: it is left out, and the colors under it are taken as they are."


@dataclass(frozen=True)
class Decoded:
    """Pixels (H, W, 3) in uint8 or uint16, and whether alpha was left out."""

    pixels: Pixels
    had_alpha: bool = False


@contextlib.contextmanager
def open_ref(ref: PictureRef) -> Generator[PictureReader]:
    """A reader for a picture, wherever it is. Raises PictureError, in which the picture has its own name."""
    if not ref.key:
        with PictureReader(Path(ref.place)) as reader:
            yield reader
        return
    data = stored_bytes(ref.place, ref.key)
    with _as_file(data) as path:
        try:
            with PictureReader(path) as reader:
                yield reader
        except PictureError as error:
            raise PictureError(str(error).replace(str(path), str(ref))) from None


def read_rgb(ref: PictureRef) -> Decoded:
    """A whole picture, (H, W, 3). Raises PictureError when it cannot be read."""
    with open_ref(ref) as reader:
        return Decoded(_rgb(reader.read_rows(0, reader.height)), reader.info.has_alpha)


def rgb_rows(reader: PictureReader, first: int, count: int) -> Decoded:
    """Some rows of an open picture, (count, W, 3). Raises PictureError when they are damaged."""
    return Decoded(_rgb(reader.read_rows(first, count)), reader.info.has_alpha)


def to_chw(pixels: Pixels) -> Tensor:
    """(H, W, 3) -> (3, H, W): uint8 as it is, uint16 as float32 in [0, 1]."""
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if planes.dtype == np.uint8:
        return torch.from_numpy(planes)
    return torch.from_numpy(planes.astype(np.float32) / np.float32(65_535))


def read_in_one_thread() -> None:
    """Let this process decode with one thread: workers share the processor by being several."""
    vips().concurrency_set(1)


def _rgb(pixels: Pixels) -> Pixels:
    color = pixels[..., :1] if pixels.shape[2] < 3 else pixels[..., :3]
    return np.broadcast_to(color, (*color.shape[:2], 3)) if color.shape[2] == 1 else color


@contextlib.contextmanager
def _as_file(data: bytes) -> Generator[Path]:
    """Bytes under a path, in memory where the system can, for readers that want a file."""
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
        path.write_bytes(data)
        yield path


@functools.cache
def _has_memory_files() -> bool:
    return hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()
