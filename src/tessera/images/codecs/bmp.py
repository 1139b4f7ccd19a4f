"""BMP, read here because the libvips package leaves it out, and test sets and scans are often stored in it.

Uncompressed pictures of 1, 4, 8, 16, 24 and 32 bits ("Windows GDI": BITMAPINFOHEADER, BITMAPV4HEADER for masks).
Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import PictureError
from tessera.images.metadata import Density, Metadata
from tessera.images.picture_format import OpenPicture, PictureFormat, PictureInfo, ReadOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FILE_HEADER_BYTES = 14
_LARGEST_HEADER_BYTES = 124
_UNCOMPRESSED, _MASKED, _MASKED_WITH_ALPHA = 0, 3, 6
_COMPRESSIONS = {1: "RLE", 2: "RLE", 4: "JPEG", 5: "PNG"}
_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_MASKS_OF_16_BITS = (0x7C00, 0x03E0, 0x001F, 0)
_MASKS_OF_32_BITS = (0xFF0000, 0x00FF00, 0x0000FF, 0)


@dataclass(frozen=True, kw_only=True)
class BmpHeader:
    """The header: layout of the pixels and where they start."""

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
    density: Density | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in the file, which end at a multiple of four."""
        return (self.width * self.bits + 31) // 32 * 4


def _matches(start: bytes) -> bool:
    return start[:2] == b"BM" and len(start) >= 18 and struct.unpack_from("<I", start, 14)[0] in _HEADER_SIZES


def _open(path: Path, options: ReadOptions) -> OpenPicture:
    header = read_header(path)
    options.limits.check_input(path, header.height, header.width)
    expanded = (
        f"Its palette of {len(header.palette)} colors was expanded to {'gray' if header.channels == 1 else 'RGB'}."
    )
    info = PictureInfo(
        name=path.name,
        format_name="BMP",
        height=header.height,
        width=header.width,
        channels=header.channels,
        depth=8,
        color_space="gray" if header.channels < 3 else "sRGB (assumed: the file has no profile)",
        notes=(expanded,) if len(header.palette) else (),
    )
    return OpenPicture(
        info=info,
        metadata=Metadata(density=header.density),
        read_rows=lambda first, count: read_rows(path, header, first, count),
    )


def read_header(path: Path) -> BmpHeader:
    """Read the header of a BMP file. Raises PictureError if it is malformed, compressed or cut short."""
    with path.open("rb") as file:
        start = file.read(_FILE_HEADER_BYTES + _LARGEST_HEADER_BYTES + 16 + 4 * 256)
    try:
        header = _parse_header(path, start)
    except struct.error:
        raise PictureError(f"{path}: is cut short or damaged; the rest of the picture is missing.") from None
    found = path.stat().st_size - header.offset_bytes
    if found < header.row_bytes * header.height:
        raise PictureError(
            f"{path}: is cut short: {header.width}x{header.height} needs {header.row_bytes * header.height} bytes of"
            f" pixels, the file has {max(found, 0)}."
        )
    return header


def _parse_header(path: Path, start: bytes) -> BmpHeader:
    import numpy as np

    (offset,) = struct.unpack_from("<I", start, 10)
    (size,) = struct.unpack_from("<I", start, _FILE_HEADER_BYTES)
    compression = colors = across = down = 0
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", start, 18)
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", start, 18)
        across, down, colors = struct.unpack_from("<iiI", start, 38)
    if compression not in (_UNCOMPRESSED, _MASKED, _MASKED_WITH_ALPHA):
        kind = _COMPRESSIONS.get(compression, f"method {compression}")
        raise PictureError(f"{path}: is a BMP file compressed with {kind}, which is not supported: convert it to PNG.")
    if width < 1 or height == 0 or bits not in (1, 4, 8, 16, 24, 32):
        raise PictureError(f"{path}: its BMP header claims {width}x{height} pixels of {bits} bits.")
    masks = _MASKS_OF_16_BITS if bits == 16 else _MASKS_OF_32_BITS
    if compression != _UNCOMPRESSED and bits in (16, 32):
        masks = _parse_masks(path, start, has_alpha=compression == _MASKED_WITH_ALPHA or size >= 56)
    palette = np.empty((0, 3), np.uint8)
    if bits <= 8:
        most = min(2**bits, colors or 2**bits)  # pixels cannot use more
        palette = _parse_palette(path, start[:offset], _FILE_HEADER_BYTES + size, 3 if size == 12 else 4, most)
    gray = len(palette) > 0 and bool((palette == palette[:, :1]).all())
    return BmpHeader(
        width=width,
        height=abs(height),
        channels=1 if gray else 4 if masks[3] and bits in (16, 32) else 3,
        bits=bits,
        offset_bytes=offset,
        top_down=height < 0,
        palette=palette,
        masks=masks,
        density=(across / 1000, down / 1000) if min(across, down) > 0 else None,
    )


def _parse_masks(path: Path, start: bytes, *, has_alpha: bool) -> tuple[int, int, int, int]:
    red, green, blue = struct.unpack_from("<III", start, 54)
    alpha = struct.unpack_from("<I", start, 66)[0] if has_alpha else 0
    if not (red and green and blue) or any(_count_bits(mask) > 8 for mask in (red, green, blue, alpha)):
        raise PictureError(f"{path}: its BMP header has color masks that are empty or wider than 8 bits.")
    return red, green, blue, alpha


def _parse_palette(path: Path, start: bytes, at: int, entry_bytes: int, most: int) -> npt.NDArray[np.uint8]:
    import numpy as np

    count = min(most, max(0, (len(start) - at) // entry_bytes))
    if count < 1:
        raise PictureError(f"{path}: its BMP header has no palette.")
    table = start[at : at + count * entry_bytes]
    return np.frombuffer(table, np.uint8).reshape(count, entry_bytes)[:, 2::-1].copy()


def read_rows(path: Path, header: BmpHeader, first: int, count: int) -> npt.NDArray[np.uint8]:
    """Read rows `first` to `first + count` from the top -> (count, W, C)."""
    import numpy as np

    row = first if header.top_down else header.height - first - count
    with path.open("rb") as file:
        file.seek(header.offset_bytes + row * header.row_bytes)
        data = file.read(count * header.row_bytes)
    if len(data) != count * header.row_bytes:
        raise PictureError(f"{path}: is cut short or damaged; the rest of the picture is missing.")
    rows = np.frombuffer(data, np.uint8).reshape(count, header.row_bytes)
    pixels = _expand(rows if header.top_down else rows[::-1], header)
    return np.ascontiguousarray(pixels)


def _expand(rows: npt.NDArray[np.uint8], header: BmpHeader) -> npt.NDArray[np.uint8]:
    import numpy as np

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
    planes = [_apply_mask(values, mask) for mask in header.masks[: header.channels]]
    return np.stack(planes, axis=-1)


def _apply_mask(values: npt.NDArray[np.uint32], mask: int) -> npt.NDArray[np.uint8]:
    """Scale the bits under a mask to 0..255."""
    import numpy as np

    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    return (((values & mask) >> shift) * 255.0 / most).round().astype(np.uint8)


def _count_bits(mask: int) -> int:
    return mask.bit_length() - ((mask & -mask).bit_length() - 1) if mask else 0


BMP = PictureFormat(name="BMP", extensions=(".bmp",), matches=_matches, open=_open)
