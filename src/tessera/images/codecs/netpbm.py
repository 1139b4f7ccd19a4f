"""PPM, PGM, PBM and PAM, read and written here because the libvips package leaves them out.

Format: netpbm's manual pages ppm(5), pgm(5), pbm(5), pam(5).

Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.errors import PictureError
from tessera.images.libvips import read_image_rows
from tessera.images.metadata import COMMENT, Metadata, Text
from tessera.images.picture_format import OpenPicture, PictureFormat, PictureInfo, ReadOptions, SaveOptions
from tessera.images.pixels import Pixels

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MAGIC_CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3, b"P7": 0}
_LONGEST_HEADER_BYTES = 4096
_PIECE_BYTES = 2**20
_MOST_DIGITS = 18
_SPACES = b" \t\n\v\f\r"
_COMMENT = re.compile(rb"#[^\n]*")


@dataclass(frozen=True, kw_only=True)
class NetpbmHeader:
    """The header: layout of the pixels and where they start."""

    magic: bytes
    width: int
    height: int
    channels: int
    maximum: int
    offset_bytes: int

    @property
    def plain(self) -> bool:
        """Whether the pixels are stored as decimal text."""
        return self.magic in (b"P1", b"P2", b"P3")

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """uint8 or uint16, as the pixels are delivered."""
        import numpy as np

        return np.dtype(np.uint16 if self.maximum > 255 else np.uint8)


def _matches(start: bytes) -> bool:
    return start[:2] in _MAGIC_CHANNELS and start[2:3] in (b" ", b"\t", b"\n", b"\r", b"#")


def _open(path: Path, options: ReadOptions) -> OpenPicture:
    header = read_header(path)
    options.limits.check_input(path, header.height, header.width)
    info = PictureInfo(
        name=path.name,
        format_name="PPM",
        height=header.height,
        width=header.width,
        channels=header.channels,
        depth=header.dtype.itemsize * 8,
        color_space="gray" if header.channels < 3 else "sRGB (assumed: the format has no profile)",
        decoder_bytes=6 * header.height * header.width * header.channels if header.plain else 0,
        notes=(
            *(("Its 1-bit pixels were expanded to 8 bits.",) if header.magic in (b"P1", b"P4") else ()),
            *_describe_rest(path, header),
        ),
    )
    read = _PlainRows(path, header).read if header.plain else _binary_reader(path, header)
    return OpenPicture(info=info, metadata=Metadata(texts=_read_comments(path, header)), read_rows=read)


def _describe_rest(path: Path, header: NetpbmHeader) -> Iterator[str]:
    """Name what follows the pixels: a netpbm file may hold several pictures, one after the other."""
    if header.plain:
        return
    with path.open("rb") as file:
        file.seek(header.offset_bytes + _count_row_bytes(header) * header.height)
        rest = file.read(64).lstrip(_SPACES)
    if rest[:2] in _MAGIC_CHANNELS:
        yield "Only the first of its pictures was used."
    elif rest:
        yield "The data after its pixels was not kept."


def _read_comments(path: Path, header: NetpbmHeader) -> tuple[Text, ...]:
    with path.open("rb") as file:
        head = file.read(header.offset_bytes)
    lines = [line[1:].strip() for line in _COMMENT.findall(head) if line[1:].strip()]
    return (Text(COMMENT, b"\n".join(lines).decode("utf-8", "replace")),) if lines else ()


def _save(image: Any, path: Path, options: SaveOptions) -> None:
    import numpy as np

    with path.open("wb") as file:
        dtype = np.dtype(np.uint16 if image.format == "ushort" else np.uint8)
        file.write(encode_header(image.height, image.width, image.bands, dtype))
        for rows in read_image_rows(image):
            file.write(encode_pixels(rows))


def read_header(path: Path) -> NetpbmHeader:
    """Read the header of a netpbm file.

    Raises PictureError if it is malformed or declares more pixels than the file has.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER_BYTES)
    header = _parse_pam(path, start) if start[:2] == b"P7" else _parse_pnm(path, start)
    if header.width < 1 or header.height < 1 or not 1 <= header.maximum <= 65_535:
        raise PictureError(
            f"{path}: its netpbm header claims {header.width}x{header.height}, maximum {header.maximum}."
        )
    found = path.stat().st_size - header.offset_bytes
    if found < _count_row_bytes(header) * header.height:
        raise PictureError(
            f"{path}: is cut short: {header.width}x{header.height} needs {_count_row_bytes(header) * header.height}"
            f" bytes of pixels, the file has {max(found, 0)}."
        )
    return header


def _count_row_bytes(header: NetpbmHeader) -> int:
    """Smallest possible size of one row in the file."""
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
    needed = 2 if magic in (b"P1", b"P4") else 3
    position = 2
    while len(numbers) < needed:
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
        maximum=numbers[2] if needed == 3 else 1,
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


def _binary_reader(path: Path, header: NetpbmHeader) -> Callable[[int, int], Pixels]:
    import numpy as np

    row_bytes = _count_row_bytes(header)

    def read_rows(first: int, count: int) -> Pixels:
        with path.open("rb") as file:
            file.seek(header.offset_bytes + first * row_bytes)
            data = file.read(count * row_bytes)
        if len(data) != count * row_bytes:
            raise PictureError(f"{path}: is cut short at row {first + len(data) // row_bytes} of {header.height}.")
        if header.magic == b"P4":
            bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(count, row_bytes), axis=1)[:, : header.width]
            return _stretch(1 - bits, header)
        stored = np.dtype(">u2") if header.maximum > 255 else np.dtype(np.uint8)
        return _stretch(np.frombuffer(data, stored), header)

    return read_rows


class _PlainRows:
    """Rows of a file that stores pixels as text, decoded whole on first use (two bytes per sample)."""

    def __init__(self, path: Path, header: NetpbmHeader) -> None:
        self._path, self._header = path, header
        self._pixels: Pixels | None = None

    def read(self, first: int, count: int) -> Pixels:
        if self._pixels is None:
            self._pixels = _stretch(_parse_samples(self._path, self._header), self._header)
        return self._pixels[first : first + count]


def _stretch(values: npt.NDArray[np.unsignedinteger], header: NetpbmHeader) -> Pixels:
    """Scale samples to the full range of 8 or 16 bits -> (h, W, C)."""
    import numpy as np

    full = int(np.iinfo(header.dtype).max)
    if header.maximum != full:  # rounded to the nearest; 65,535 squared and a half still fits 32 bits
        capped = np.minimum(values, header.maximum).astype(np.uint32)
        values = (capped * full + header.maximum // 2) // header.maximum
    return values.astype(header.dtype).reshape(-1, header.width, header.channels)


def _parse_samples(path: Path, header: NetpbmHeader) -> npt.NDArray[np.uint16]:
    """Parse all samples of a file that stores them as text."""
    import numpy as np

    needed = header.width * header.height * header.channels
    values = np.empty(needed, np.uint16)
    held = 0
    for piece in _read_text(path, header.offset_bytes - 1):
        text = piece.translate(None, _SPACES) if header.magic == b"P1" else piece
        words = [text[at : at + 1] for at in range(len(text))] if header.magic == b"P1" else text.split()
        words = words[: needed - held]
        if not all(word.isdigit() and len(word) <= _MOST_DIGITS for word in words):
            raise PictureError(f"{path}: holds text other than numbers among its pixels.")
        numbers = np.array([int(word) for word in words], np.int64)
        if header.magic == b"P1":
            if (numbers > 1).any():
                raise PictureError(f"{path}: holds numbers other than 0 and 1 among its pixels.")
            numbers = 1 - numbers
        values[held : held + len(words)] = np.minimum(numbers, header.maximum)
        held += len(words)
        if held == needed:
            return values
    raise PictureError(f"{path}: is cut short: {needed} samples expected, {held} found.")


def _read_text(path: Path, offset_bytes: int) -> Iterator[bytes]:
    """Yield the text from an offset in pieces that end between words, without comments."""
    rest = b""
    with path.open("rb") as file:
        file.seek(offset_bytes)
        while piece := file.read(_PIECE_BYTES):
            rest += piece
            ends = b"\n" if b"#" in rest else _SPACES
            cut = max(rest.rfind(bytes((end,))) for end in ends)
            if cut < 0 and len(rest) > 4 * _PIECE_BYTES:
                raise PictureError(f"{path}: holds text other than numbers among its pixels.")
            if cut >= 0:
                yield _COMMENT.sub(b"", rest[:cut])
                rest = rest[cut:]
    yield _COMMENT.sub(b"", rest)


def encode_header(height: int, width: int, channels: int, dtype: np.dtype[np.unsignedinteger]) -> bytes:
    """Build a header: PGM for one channel, PPM for three, PAM with alpha.

    >>> import numpy as np
    >>> encode_header(4, 6, 3, np.dtype(np.uint8))
    b'P6\\n6 4\\n255\\n'
    """
    import numpy as np

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


def encode_pixels(pixels: npt.NDArray[np.unsignedinteger]) -> bytes:
    """Convert (H, W, C) to bytes as netpbm stores them (16 bits big-endian)."""
    return pixels.astype(pixels.dtype.newbyteorder(">"), copy=False).tobytes()


NETPBM = PictureFormat(
    name="PPM",
    extensions=(".ppm", ".pgm", ".pnm", ".pam"),
    more_extensions=(".pbm",),
    matches=_matches,
    open=_open,
    save=_save,
    deepest=16,
)
