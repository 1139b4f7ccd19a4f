"""BMP, which the libvips wheel leaves out and in which test sets and scans are often kept.

Uncompressed pictures of 1, 4, 8, 16, 24 and 32 bits ("Windows GDI": BITMAPINFOHEADER, BITMAPV4HEADER for masks).
Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tessera.errors import PictureError

_FILE_HEADER_BYTES = 14
_LARGEST_HEADER_BYTES = 124
_UNCOMPRESSED, _MASKED, _MASKED_WITH_ALPHA = 0, 3, 6
_COMPRESSIONS = {1: "RLE", 2: "RLE", 4: "JPEG", 5: "PNG"}
_MASKS_OF_16_BITS = (0x7C00, 0x03E0, 0x001F, 0)
_MASKS_OF_32_BITS = (0xFF0000, 0x00FF00, 0x0000FF, 0)


@dataclass(frozen=True, kw_only=True)
class BmpHeader:
    """The header: what the pixels are and where they begin."""

    width: int
    height: int
    channels: int
    bits: int
    offset_bytes: int
    top_down: bool
    palette: npt.NDArray[np.uint8]
    """(colors, 3); empty above 8 bits."""
    masks: tuple[int, int, int, int]
    """Of red, green, blue and alpha, for 16 and 32 bits."""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in the file, which end at a multiple of four."""
        return (self.width * self.bits + 31) // 32 * 4


def is_bmp(start: bytes) -> bool:
    """Whether a file that begins so is BMP (the size of its second header is one of those that there are).

    >>> is_bmp(b"BM" + bytes(12) + bytes((40, 0, 0, 0)))
    True
    """
    sizes = (12, 40, 52, 56, 64, 108, 124)
    return start[:2] == b"BM" and len(start) >= 18 and struct.unpack_from("<I", start, 14)[0] in sizes


def read_header(path: Path) -> BmpHeader:
    """Read the header of a BMP file. Raises PictureError when it is malformed, compressed or cut short."""
    with path.open("rb") as file:
        start = file.read(_FILE_HEADER_BYTES + _LARGEST_HEADER_BYTES + 16 + 4 * 256)
    try:
        return _parsed(path, start)
    except struct.error:
        raise PictureError(f"{path}: is cut short or damaged; the rest of the picture is missing.") from None


def _parsed(path: Path, start: bytes) -> BmpHeader:
    (offset,) = struct.unpack_from("<I", start, 10)
    (size,) = struct.unpack_from("<I", start, _FILE_HEADER_BYTES)
    compression = colors = 0
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", start, 18)
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", start, 18)
        (colors,) = struct.unpack_from("<I", start, 46)
    if compression not in (_UNCOMPRESSED, _MASKED, _MASKED_WITH_ALPHA):
        kind = _COMPRESSIONS.get(compression, f"method {compression}")
        raise PictureError(f"{path}: is a BMP file compressed by {kind}, which is not read here: convert it to PNG.")
    if width < 1 or height == 0 or bits not in (1, 4, 8, 16, 24, 32):
        raise PictureError(f"{path}: its BMP header gives {width}x{height} in {bits} bits.")
    masks = _MASKS_OF_16_BITS if bits == 16 else _MASKS_OF_32_BITS
    if compression != _UNCOMPRESSED and bits in (16, 32):
        red, green, blue = struct.unpack_from("<III", start, 54)
        has_alpha = compression == _MASKED_WITH_ALPHA or size >= 56
        masks = (red, green, blue, struct.unpack_from("<I", start, 66)[0] if has_alpha else 0)
        if not all(masks[:3]) or any(_width_of(mask) > 8 for mask in masks):
            raise PictureError(f"{path}: its BMP header has masks that are no colors of up to 8 bits.")
    palette = np.empty((0, 3), np.uint8)
    if bits <= 8:
        entry = 3 if size == 12 else 4
        # of more colors than fit the pixels nothing could use the rest
        count = min(colors or 2**bits, 2**bits, max(0, (offset - _FILE_HEADER_BYTES - size) // entry))
        table = start[_FILE_HEADER_BYTES + size :][: count * entry]
        if count < 1 or len(table) < count * entry:
            raise PictureError(f"{path}: its BMP header has no palette.")
        palette = np.frombuffer(table, np.uint8).reshape(count, entry)[:, 2::-1].copy()
    gray = len(palette) > 0 and bool((palette == palette[:, :1]).all())
    header = BmpHeader(
        width=width,
        height=abs(height),
        channels=1 if gray else 4 if masks[3] and bits in (16, 32) else 3,
        bits=bits,
        offset_bytes=offset,
        top_down=height < 0,
        palette=palette,
        masks=masks,
    )
    held = path.stat().st_size - offset
    if held < header.row_bytes * header.height:
        raise PictureError(
            f"{path}: is cut short: {width}x{header.height} needs {header.row_bytes * header.height} bytes of pixels"
            f" and the file holds {max(held, 0)}."
        )
    return header


def read_rows(path: Path, header: BmpHeader, first: int, count: int) -> npt.NDArray[np.uint8]:
    """Rows `first` to `first + count` from the top -> (count, W, C); only they are read."""
    row = first if header.top_down else header.height - first - count
    with path.open("rb") as file:
        file.seek(header.offset_bytes + row * header.row_bytes)
        data = file.read(count * header.row_bytes)
    if len(data) != count * header.row_bytes:
        raise PictureError(f"{path}: is cut short or damaged; the rest of the picture is missing.")
    rows = np.frombuffer(data, np.uint8).reshape(count, header.row_bytes)
    pixels = _expanded(rows if header.top_down else rows[::-1], header)
    return np.ascontiguousarray(pixels)


def _expanded(rows: npt.NDArray[np.uint8], header: BmpHeader) -> npt.NDArray[np.uint8]:
    width, bits = header.width, header.bits
    if bits == 24:
        return rows[:, : width * 3].reshape(len(rows), width, 3)[..., ::-1]
    if bits <= 8:
        if bits < 8:
            steps = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
            rows = ((rows[:, :, None] >> steps) & (2**bits - 1)).reshape(len(rows), -1)
        index = np.minimum(rows[:, :width], len(header.palette) - 1)
        return header.palette[index][..., : header.channels]
    values = rows.reshape(len(rows), -1).view("<u2" if bits == 16 else "<u4")[:, :width].astype(np.uint32)
    planes = [_of_mask(values, mask) for mask in header.masks[: header.channels]]
    return np.stack(planes, axis=-1)


def _of_mask(values: npt.NDArray[np.uint32], mask: int) -> npt.NDArray[np.uint8]:
    """The bits of a mask, spread over 0..255."""
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    return (((values & mask) >> shift) * 255.0 / most).round().astype(np.uint8)


def _width_of(mask: int) -> int:
    return mask.bit_length() - ((mask & -mask).bit_length() - 1) if mask else 0
