"""The libvips library: set up once, files opened by descriptor, rows taken from an image."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from tessera.images.pixels import Pixels, choose_row_count


@functools.cache
def vips() -> Any:
    """Return the pyvips module, set up on first use: no operation cache, no untrusted loaders, warnings not printed."""
    logging.getLogger("pyvips").addHandler(logging.NullHandler())
    logging.getLogger("pyvips").propagate = False
    import pyvips

    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    return pyvips


def open_image(path: Path, *, loader: str = "", patches: Mapping[int, bytes] | None = None, **options: Any) -> Any:
    """Open a file with this loader, or the one that libvips finds for its bytes. Raises OSError and libvips' error.

    `patches` are bytes that libvips reads in place of those at an offset of the file. libvips gets a descriptor instead
    of a name, so that no name can be misread as options or fail to be UTF-8.
    """
    if patches:
        source = _PatchedFile(path, patches).as_source()
        return vips().Image.new_from_source(source, "", fail_on="error", **options)
    with _descriptor(path) as descriptor:
        source = vips().Source.new_from_descriptor(descriptor)
        if loader:
            return getattr(vips().Image, f"{loader}_source")(source, fail_on="error", **options)
        return vips().Image.new_from_source(source, "", fail_on="error", **options)


def read_image_rows(image: Any) -> Iterator[Pixels]:
    """Yield the rows of an 8-bit or 16-bit image from the top down, (h, W, C) each."""
    import numpy as np

    region = vips().Region.new(image)
    dtype = np.dtype(np.uint16 if image.format == "ushort" else np.uint8)
    step = choose_row_count(image.width * image.bands * dtype.itemsize)
    for first in range(0, image.height, step):
        count = min(step, image.height - first)
        data = region.fetch(0, first, image.width, count)
        yield np.frombuffer(data, dtype).reshape(count, image.width, image.bands)


def get_blob(image: Any, name: str) -> bytes:
    """Return a binary header field, empty if there is none."""
    return bytes(image.get(name)) if image.get_typeof(name) else b""


def set_blob(image: Any, name: str, value: bytes) -> None:
    """Set a binary header field (on a copy that no other code holds)."""
    image.set_type(vips().GValue.blob_type, name, value)


class _PatchedFile:
    """A file of which some bytes are replaced while it is read."""

    def __init__(self, path: Path, patches: Mapping[int, bytes]) -> None:
        self._file = path.open("rb")
        self._patches = patches

    def __del__(self) -> None:  # when the source is gone, which nothing else announces
        self._file.close()

    def as_source(self) -> Any:
        """A libvips source, which holds the file open as long as it lives."""
        source = vips().SourceCustom()
        source.on_read(self._read)
        source.on_seek(self._seek)
        return source

    def _seek(self, offset: int, whence: int) -> int:
        """Move like `seek`; -1, which is libvips' sign of an error, for a place that a damaged file names."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1

    def _read(self, count: int) -> bytes:
        try:
            at = self._file.tell()
            data = bytearray(self._file.read(count))
        except OSError:  # as if the file ended here
            return b""
        for offset, patch in self._patches.items():
            for index, value in enumerate(patch, offset - at):
                if 0 <= index < len(data):
                    data[index] = value
        return bytes(data)


@contextlib.contextmanager
def _descriptor(path: Path) -> Generator[int]:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)
