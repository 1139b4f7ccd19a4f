"""PPM, PGM, PBM and PAM: the formats that the libvips wheel leaves out (netpbm's ppm(5), pgm(5), pbm(5), pam(5)).

Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tessera.errors import PictureError

_MAGIC_CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3, b"P7": 0}
_LONGEST_HEADER_BYTES = 4096
_PIECE_BYTES = 2**20
_MOST_DIGITS = 18
_SPACES = b" \t\n\v\f\r"
_COMMENT = re.compile(rb"#[^\n]*")


@dataclass(frozen=True, kw_only=True)
class NetpbmHeader:
    """The header: what the pixels are and where they begin."""

    magic: bytes
    width: int
    height: int
    channels: int
    maximum: int
    offset_bytes: int

    @property
    def plain(self) -> bool:
        """Whether the pixels are written as decimal text."""
        return self.magic in (b"P1", b"P2", b"P3")

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The type in which the pixels are handed on."""
        return np.dtype(np.uint16 if self.maximum > 255 else np.uint8)


def is_netpbm(start: bytes) -> bool:
    """Whether a file that begins so is netpbm's.

    >>> is_netpbm(b"P6\\n2 2\\n255\\n")
    True
    """
    return start[:2] in _MAGIC_CHANNELS and start[2:3] in (b" ", b"\t", b"\n", b"\r", b"#")


def read_header(path: Path) -> NetpbmHeader:
    """Read the header of a netpbm file.

    Raises PictureError when it is malformed or declares more pixels than the file holds.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER_BYTES)
    header = _parse_pam(path, start) if start[:2] == b"P7" else _parse_pnm(path, start)
    if header.width < 1 or header.height < 1 or not 1 <= header.maximum <= 65_535:
        raise PictureError(f"{path}: its netpbm header gives {header.width}x{header.height}, maximum {header.maximum}.")
    held = path.stat().st_size - header.offset_bytes
    if held < _row_bytes(header) * header.height:
        raise PictureError(
            f"{path}: cut short: {header.width}x{header.height} needs {_row_bytes(header) * header.height} bytes of"
            f" pixels and the file holds {max(held, 0)}."
        )
    return header


def _row_bytes(header: NetpbmHeader) -> int:
    """The fewest bytes that one row can take."""
    if header.magic == b"P4":
        return (header.width + 7) // 8
    if header.magic == b"P1":
        return header.width
    if header.plain:
        return 2 * header.width * header.channels - 1
    return header.width * header.channels * header.dtype.itemsize


def _parse_pnm(path: Path, start: bytes) -> NetpbmHeader:
    magic = start[:2]
    numbers: list[int] = []
    wanted = 2 if magic in (b"P1", b"P4") else 3
    position = 2
    while len(numbers) < wanted:
        while position < len(start) and start[position : position + 1].isspace():
            position += 1
        if start[position : position + 1] == b"#":
            end = start.find(b"\n", position)
            position = len(start) if end < 0 else end + 1
            continue
        end = position
        while end < len(start) and 48 <= start[end] <= 57:
            end += 1
        if end == position or end - position > 10:
            raise PictureError(f"{path}: its netpbm header is malformed at byte {position}.")
        numbers.append(int(start[position:end]))
        position = end
    return NetpbmHeader(
        magic=magic,
        width=numbers[0],
        height=numbers[1],
        channels=_MAGIC_CHANNELS[magic],
        maximum=numbers[2] if wanted == 3 else 1,
        offset_bytes=position + 1,
    )


def _parse_pam(path: Path, start: bytes) -> NetpbmHeader:
    head, found, _ = start.partition(b"ENDHDR\n")
    values: dict[bytes, bytes] = {}
    for line in head.splitlines()[1:]:
        key, _, value = line.strip().partition(b" ")
        values[key] = value.strip()
    try:
        width, height, depth, maximum = (int(values[key]) for key in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    except (KeyError, ValueError):
        found = b""
        width = height = depth = maximum = 0
    if not found or not 1 <= depth <= 4:
        raise PictureError(f"{path}: its PAM header is malformed; expected WIDTH, HEIGHT, DEPTH 1 to 4 and MAXVAL.")
    return NetpbmHeader(
        magic=b"P7",
        width=width,
        height=height,
        channels=depth,
        maximum=maximum,
        offset_bytes=len(head) + len(found),
    )


def read_rows(path: Path, header: NetpbmHeader, first: int, count: int) -> npt.NDArray[np.unsignedinteger]:
    """Read `count` rows from row `first` on, stretched to the whole range of 8 or 16 bits -> (count, W, C)."""
    shape = (count, header.width, header.channels)
    if header.plain:
        values = _plain_values(path, header)[first * header.width * header.channels :][
            : count * header.width * header.channels
        ]
    else:
        row_bytes = _row_bytes(header)
        with path.open("rb") as file:
            file.seek(header.offset_bytes + first * row_bytes)
            data = file.read(count * row_bytes)
        if len(data) != count * row_bytes:
            raise PictureError(f"{path}: cut short at row {first + len(data) // row_bytes} of {header.height}.")
        if header.magic == b"P4":
            bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(count, row_bytes), axis=1)[:, : header.width]
            values = (1 - bits).reshape(-1)
        else:
            stored = np.dtype(">u2") if header.maximum > 255 else np.dtype(np.uint8)
            values = np.frombuffer(data, stored)
    full = int(np.iinfo(header.dtype).max)
    if header.maximum != full:  # rounded to the nearest; 65,535 squared and a half still fits 32 bits
        held = np.minimum(values, header.maximum).astype(np.uint32)
        return ((held * full + header.maximum // 2) // header.maximum).astype(header.dtype).reshape(shape)
    return values.astype(header.dtype).reshape(shape)


def _plain_values(path: Path, header: NetpbmHeader) -> npt.NDArray[np.uint16]:
    """Every sample of a file that holds them as text (whole in memory, at two bytes each)."""
    needed = header.width * header.height * header.channels
    values = np.empty(needed, np.uint16)
    held = 0
    for piece in _text_pieces(path, header.offset_bytes - 1):
        text = piece.translate(None, _SPACES) if header.magic == b"P1" else piece
        words = [text[at : at + 1] for at in range(len(text))] if header.magic == b"P1" else text.split()
        words = words[: needed - held]
        if not all(word.isdigit() and len(word) <= _MOST_DIGITS for word in words):
            raise PictureError(f"{path}: holds something other than numbers among its pixels.")
        numbers = np.array([int(word) for word in words], np.int64)
        if header.magic == b"P1":
            if (numbers > 1).any():
                raise PictureError(f"{path}: holds something other than numbers 0 and 1 among its pixels.")
            numbers = 1 - numbers
        values[held : held + len(words)] = np.minimum(numbers, header.maximum)
        held += len(words)
        if held == needed:
            return values
    raise PictureError(f"{path}: holds {held} samples where {needed} are needed.")


def _text_pieces(path: Path, offset_bytes: int) -> Iterator[bytes]:
    """The text from here on in pieces that end between words, without comments."""
    rest = b""
    with path.open("rb") as file:
        file.seek(offset_bytes)
        while piece := file.read(_PIECE_BYTES):
            rest += piece
            ends = b"\n" if b"#" in rest else _SPACES
            cut = max(rest.rfind(bytes((end,))) for end in ends)
            if cut < 0 and len(rest) > 4 * _PIECE_BYTES:
                raise PictureError(f"{path}: holds something other than numbers among its pixels.")
            if cut >= 0:
                yield _COMMENT.sub(b"", rest[:cut])
                rest = rest[cut:]
    yield _COMMENT.sub(b"", rest)


def header_bytes(height: int, width: int, channels: int, dtype: np.dtype[np.unsignedinteger]) -> bytes:
    """The header for writing: PGM for one channel, PPM for three, PAM with alpha.

    >>> header_bytes(4, 6, 3, np.dtype(np.uint8))
    b'P6\\n6 4\\n255\\n'
    """
    maximum = int(np.iinfo(dtype).max)
    if channels in (1, 3):
        return b"P%d\n%d %d\n%d\n" % (5 if channels == 1 else 6, width, height, maximum)
    kind = b"GRAYSCALE_ALPHA" if channels == 2 else b"RGB_ALPHA"
    return b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH %d\nMAXVAL %d\nTUPLTYPE %s\nENDHDR\n" % (
        width,
        height,
        channels,
        maximum,
        kind,
    )


def pixel_bytes(pixels: npt.NDArray[np.unsignedinteger]) -> bytes:
    """(H, W, C) -> the bytes as netpbm stores them (16 bits big-endian)."""
    return pixels.astype(pixels.dtype.newbyteorder(">"), copy=False).tobytes()
