"""Rows -> an uncompressed PNG stream, which libvips reads from a pipe in gray or RGB, 8 or 16 bits, with alpha.

Shapes: h rows at a time, W width, C channels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from tessera.images.codecs.png_chunks import SIGNATURE, encode_chunk
from tessera.images.pixels import Pixels

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_PIECE_BYTES = 2**20


class PngStream:
    """Encodes rows piece by piece."""

    def __init__(self, *, height: int, width: int, channels: int, dtype: np.dtype[np.unsignedinteger]) -> None:
        self._compressor = zlib.compressobj(0)
        header = struct.pack(">IIBBBBB", width, height, dtype.itemsize * 8, _COLOR_TYPES[channels], 0, 0, 0)
        self.header = SIGNATURE + encode_chunk(b"IHDR", header)

    def encode(self, rows: Pixels) -> Iterator[bytes]:
        """Encode the next rows (h, W, C) in pieces of about 1 MiB."""
        row_bytes = rows.shape[1] * rows.shape[2] * rows.dtype.itemsize
        if row_bytes > _PIECE_BYTES:
            yield from self._encode_wide(rows)
            return
        step = max(1, _PIECE_BYTES // (row_bytes + 1))
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            filtered = np.zeros((len(part), 1 + row_bytes), np.uint8)  # the leading 0 is PNG's filter "none"
            stored = part.astype(part.dtype.newbyteorder(">"), copy=False)
            filtered[:, 1:] = np.ascontiguousarray(stored).view(np.uint8).reshape(len(part), row_bytes)
            yield encode_chunk(b"IDAT", self._compressor.compress(filtered.tobytes()))

    def _encode_wide(self, rows: Pixels) -> Iterator[bytes]:
        for row in rows:
            yield encode_chunk(b"IDAT", self._compressor.compress(b"\x00"))
            step = max(1, _PIECE_BYTES // (row.shape[1] * row.dtype.itemsize))
            for first in range(0, len(row), step):
                stored = row[first : first + step].astype(row.dtype.newbyteorder(">"), copy=False)
                yield encode_chunk(b"IDAT", self._compressor.compress(stored.tobytes()))

    def finish(self) -> bytes:
        """Return the end of the stream."""
        return encode_chunk(b"IDAT", self._compressor.flush()) + encode_chunk(b"IEND", b"")
