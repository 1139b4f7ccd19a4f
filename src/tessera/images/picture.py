"""File <-> picture: pixels, depth, alpha, ICC, EXIF, orientation; row by row, so that no picture need fit in memory.

Pixels are uint8 or uint16 in RGB or gray, with straight alpha last. Shapes: H height, W width, C channels (1 gray,
2 gray and alpha, 3 RGB, 4 RGB and alpha).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tessera.errors import LimitError, PictureError
from tessera.images import bmp, netpbm
from tessera.images.damage import sentence
from tessera.images.formats import FORMATS, format_of_name
from tessera.images.metadata import Metadata, gather, profile_name, sound_profile
from tessera.images.png_color import color_notes
from tessera.images.tiff_exif import read_exif, read_iptc

Pixels = npt.NDArray[np.unsignedinteger]

_LOADERS = {"jpeg": "JPEG", "png": "PNG", "webp": "WebP", "tiff": "TIFF", "heif": "AVIF", "gif": "GIF"}
_ANIMATED_LOADERS = ("gif", "webp")
_ROWS_AT_A_TIME = 128
_LARGEST_COPY_IN_MEMORY_BYTES = 100 * 2**20
"""Above this size libvips puts a decoded copy on the disk (VIPS_DISC_THRESHOLD)."""
_SAMPLES = {
    **dict.fromkeys(("lab", "lch", "xyz", "yxy"), ("float",)),
    "labs": ("short",),
    "labq": ("uchar",),
}
"""The types that pixels have in spaces that are neither gray nor RGB nor CMYK; everywhere else 8 or 16 bits."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large a picture may be, and what may come out of it; None lifts a limit."""

    input_pixels: int | None = 2**28
    output_pixels: int | None = 2**32


@dataclass(frozen=True, kw_only=True)
class PictureInfo:
    """What a picture is, as it will be handed on: upright, gray or RGB, 8 or 16 bits."""

    name: str
    format_name: str
    height: int
    width: int
    channels: int
    depth: int
    color_space: str
    frames: int = 1
    frames_in_file: int = 1
    decoder_bytes: int = 0
    """A generous estimate of what reading it holds in memory besides a few rows."""
    notes: tuple[str, ...] = ()

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.channels in (2, 4)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The type of its pixels."""
        return np.dtype(np.uint16 if self.depth == 16 else np.uint8)


@functools.cache
def vips() -> Any:
    """The pyvips module, set up on first use: no operation cache, no untrusted loaders, its warnings not printed."""
    logging.getLogger("pyvips").addHandler(logging.NullHandler())
    logging.getLogger("pyvips").propagate = False
    import pyvips

    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    return pyvips


class PictureReader:
    """Rows of a picture file, upright, from the top down; a context manager.

    `random` allows rows in any order, at the price of a decoded copy (on disk when it is large). `frames` takes all
    frames of an animation, one below the other.

    Raises PictureError when the file cannot be read, LimitError when it has more pixels than `limits` allow.
    """

    def __init__(self, path: Path, *, frames: bool = False, random: bool = False, limits: Limits | None = None) -> None:
        self.path = path
        self._random = random
        self._frames = frames
        self._limits = limits or Limits()
        self._next_row = 0
        _refuse_what_is_no_file(path)
        self._plain: Pixels | None = None
        self._region: Any = None
        self._image: Any = None
        with _in_a_sentence(path):
            with path.open("rb") as file:
                start = file.read(64)
            self._netpbm = netpbm.read_header(path) if netpbm.is_netpbm(start) else None
            self._bmp = bmp.read_header(path) if bmp.is_bmp(start) else None
        if self._netpbm is not None or self._bmp is not None:
            self.metadata = Metadata()
            self.info = self._netpbm_info(self._netpbm) if self._netpbm is not None else self._bmp_info(self._bmp)
            self._check_size(self.info.height, self.info.width)
        else:
            self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._region = self._image = self._plain = None

    @property
    def height(self) -> int:
        """Rows in all (of all frames)."""
        return self.info.height * self.info.frames

    @property
    def width(self) -> int:
        """Pixels in a row."""
        return self.info.width

    def rewind(self) -> None:
        """Begin again at the first row."""
        if self._next_row and self._region is not None and not self._random:
            self._open()
        self._next_row = 0

    def read_rows(self, first: int, count: int) -> Pixels:
        """Rows `first` to `first + count` -> (count, W, C). Without `random`, each row can be asked for once, in order.

        Raises PictureError when the file turns out to be damaged.
        """
        if self._netpbm is not None:
            with _in_a_sentence(self.path):
                if not self._netpbm.plain:
                    return netpbm.read_rows(self.path, self._netpbm, first, count)
                if self._plain is None:
                    self._plain = netpbm.read_rows(self.path, self._netpbm, 0, self._netpbm.height)
                return self._plain[first : first + count]
        if self._bmp is not None:
            with _in_a_sentence(self.path):
                return bmp.read_rows(self.path, self._bmp, first, count)
        self._next_row = first + count
        try:
            data = self._region.fetch(0, first, self.width, count)
        except vips().Error as error:
            raise PictureError(sentence(self.path, error)) from None
        return np.frombuffer(data, self.info.dtype).reshape(count, self.width, self.info.channels)

    def survey(self) -> tuple[Pixels, Pixels]:
        """Decode all of it once -> the least and the greatest value of each channel (C,); finds damage early."""
        least = np.full(self.info.channels, np.iinfo(self.info.dtype).max, self.info.dtype)
        greatest = np.zeros(self.info.channels, self.info.dtype)
        for first in range(0, self.height, _ROWS_AT_A_TIME):
            rows = self.read_rows(first, min(_ROWS_AT_A_TIME, self.height - first))
            flat = rows.reshape(-1, self.info.channels)
            np.minimum(least, flat.min(axis=0), out=least)
            np.maximum(greatest, flat.max(axis=0), out=greatest)
        self.rewind()
        return least, greatest

    def _check_size(self, height: int, width: int) -> None:
        limit = self._limits.input_pixels
        if limit is not None and height * width > limit:
            raise LimitError(
                f"{self.path}: {width}x{height} is {_amount(height * width, beside=limit)}, and at most"
                f" {_amount(limit, beside=height * width)} are read; --max-pixels {height * width} allows it."
            )

    def _netpbm_info(self, header: netpbm.NetpbmHeader) -> PictureInfo:
        expanded = ("Its 1-bit pixels were expanded to 8 bits.",) if header.magic in (b"P1", b"P4") else ()
        return PictureInfo(
            name=self.path.name,
            format_name="PPM",
            height=header.height,
            width=header.width,
            channels=header.channels,
            decoder_bytes=6 * header.height * header.width * header.channels if header.plain else 0,
            depth=header.dtype.itemsize * 8,
            color_space="gray" if header.channels < 3 else "sRGB (assumed: the format cannot say)",
            notes=(*_notes_on_name(self.path, "PPM"), *expanded),
        )

    def _bmp_info(self, header: bmp.BmpHeader | None) -> PictureInfo:
        assert header is not None
        expanded = (
            f"Its palette of {len(header.palette)} colors was expanded to {'gray' if header.channels == 1 else 'RGB'}."
        )
        return PictureInfo(
            name=self.path.name,
            format_name="BMP",
            height=header.height,
            width=header.width,
            channels=header.channels,
            depth=8,
            color_space="gray" if header.channels < 3 else "sRGB (assumed: the file names no profile)",
            notes=(*_notes_on_name(self.path, "BMP"), *((expanded,) if len(header.palette) else ())),
        )

    def _open(self) -> None:
        with _in_a_sentence(self.path):
            self._open_with_vips()

    def _open_with_vips(self) -> None:
        try:
            with _descriptor(self.path) as descriptor:
                source = vips().Source.new_from_descriptor(descriptor)
                head = vips().Image.new_from_source(source, "", access="sequential", fail_on="error")
            self._check_size(head.height, head.width)
            loader = str(head.get("vips-loader")).removesuffix("load_source").removesuffix("load")
            in_file = int(head.get("n-pages")) if head.get_typeof("n-pages") else 1
            upright = _orientation(head) == 1
            options: dict[str, Any] = {"access": "sequential" if upright and not self._random else "random"}
            if self._frames and in_file > 1 and loader in _ANIMATED_LOADERS:
                self._check_size(head.height * in_file, head.width)
                options["n"] = -1
            with _descriptor(self.path) as descriptor:
                source = vips().Source.new_from_descriptor(descriptor)
                image = vips().Image.new_from_source(source, "", fail_on="error", **options)
            frames = in_file if "n" in options else 1
            image, space, notes = _normalized(self.path, image if upright else image.autorot())
            if loader == "tiff":
                image = image.copy()
                for name, block in (("exif-data", read_exif(self.path)), ("iptc-data", read_iptc(self.path))):
                    if block:
                        image.set_type(vips().GValue.blob_type, name, block)
        except vips().Error as error:
            raise PictureError(sentence(self.path, error)) from None
        self.metadata = gather(image)
        format_name = _LOADERS.get(loader, loader.upper())
        self.info = PictureInfo(
            name=self.path.name,
            format_name=format_name,
            height=image.height // frames,
            width=image.width,
            channels=image.bands,
            depth=16 if image.format == "ushort" else 8,
            color_space=space,
            frames=frames,
            frames_in_file=in_file,
            decoder_bytes=_decoder_bytes(loader, head, frames, copied=options["access"] == "random"),
            notes=(*_notes_on_file(self.path, format_name, head, in_file, frames), *notes),
        )
        self._image = image
        self._region = vips().Region.new(image)


@dataclass(frozen=True)
class Picture:
    """A picture in memory: pixels (H, W) or (H, W, C) in uint8 or uint16, and what came with them."""

    pixels: Pixels
    metadata: Metadata = field(default_factory=Metadata)
    info: PictureInfo | None = None

    def with_pixels(self, pixels: Pixels) -> Picture:
        """The same picture with other pixels."""
        info = self.info
        if info is not None:
            height, width = pixels.shape[:2]
            channels = 1 if pixels.ndim == 2 else pixels.shape[2]
            info = replace(info, height=height, width=width, channels=channels, depth=pixels.dtype.itemsize * 8)
        return Picture(pixels, self.metadata, info)


def read_picture(path: str | os.PathLike[str], *, limits: Limits | None = None) -> Picture:
    """Read a picture file whole -> Picture with pixels (H, W) for gray, (H, W, C) otherwise, uint8 or uint16.

    It comes upright (EXIF orientation applied) and gray or RGB; a CMYK picture goes through its profile to sRGB.
    Raises PictureError when the file cannot be read, LimitError when it is larger than `limits` allow.
    """
    with PictureReader(Path(path), limits=limits) as reader:
        rows = [
            reader.read_rows(first, min(_ROWS_AT_A_TIME, reader.height - first))
            for first in range(0, reader.height, _ROWS_AT_A_TIME)
        ]
        pixels = np.concatenate(rows)
        return Picture(pixels[..., 0] if pixels.shape[2] == 1 else pixels, reader.metadata, reader.info)


@contextlib.contextmanager
def _in_a_sentence(path: Path) -> Generator[None]:
    """Turn what the operating system says about a file into a sentence."""
    try:
        yield
    except FileNotFoundError:
        where = "leads to a file that is not there (a dangling link)" if path.is_symlink() else "there is no such file"
        raise PictureError(f"{path}: {where}.") from None
    except PermissionError:
        raise PictureError(f"{path}: may not be read by this user.") from None
    except (OSError, ValueError) as error:
        raise PictureError(f"{path}: cannot be opened: {getattr(error, 'strerror', None) or error}.") from None


@contextlib.contextmanager
def _descriptor(path: Path) -> Generator[int]:
    """An open file descriptor: libvips gets no name, so no name can be misread as options or fail to be UTF-8."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _refuse_what_is_no_file(path: Path) -> None:
    with _in_a_sentence(path):
        status = path.stat()  # before any open, because opening a pipe waits for a writer
    if stat.S_ISDIR(status.st_mode):
        raise PictureError(f"{path}: is a folder, not a picture.")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(f"{path}: is a pipe, a device or the like, not an ordinary file.")
    if status.st_size == 0:
        raise PictureError(f"{path}: is empty (0 bytes).")


def _orientation(image: Any) -> int:
    value = int(image.get("orientation")) if image.get_typeof("orientation") else 1
    return value if 1 <= value <= 8 else 1


def _normalized(path: Path, image: Any) -> tuple[Any, str, list[str]]:
    """Bring an image to gray or RGB in 8 or 16 bits -> it, the name of its color space, notes for the user."""
    notes: list[str] = []
    kind, sample = image.interpretation, image.format
    if sample not in _SAMPLES.get(kind, ("uchar", "ushort")) or not 1 <= image.bands - (kind == "cmyk") <= 4:
        raise PictureError(
            f"{path}: holds {image.bands} channels of type {sample}; gray or RGB in 8 or 16 bits, with or without"
            " alpha, can be upscaled. Convert it first."
        )
    image, profile = _with_sound_profile(image, notes)
    if kind == "cmyk":
        depth = 16 if sample == "ushort" else 8
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth, intent="relative")
        through = f"its profile ({profile_name(profile)})" if profile else "a general CMYK profile, as it has none"
        notes.append(f"CMYK was converted through {through} to sRGB.")
        return image, "sRGB (from CMYK)", notes
    if kind in _SAMPLES or kind == "hsv":
        deep = sample != "uchar"
        image = image.colourspace("rgb16" if deep else "srgb")
        notes.append(f"{kind.upper()} ({sample}) was converted to {16 if deep else 8}-bit sRGB.")
        return image.copy(), "sRGB (converted)", notes
    if image.get_typeof("heif-bitdepth") and sample == "ushort":
        # libheif's 10 and 12 bits arrive shifted up, so that white would be 65,472 or 65,520 of 65,535.
        bits = int(image.get("heif-bitdepth"))
        if 8 < bits < 16:
            image = (image * (65_535 / (65_535 - 2 ** (16 - bits) + 1))).rint().cast("ushort")
    gray = image.bands < 3
    if profile:
        return image, f"{profile_name(profile)} (kept)", notes
    return image, "gray" if gray else "sRGB (assumed: the file names no profile)", notes


def _with_sound_profile(image: Any, notes: list[str]) -> tuple[Any, bytes | None]:
    """The image with its profile if that works, and the profile; one that does not is left out with a note."""
    if not image.get_typeof("icc-profile-data"):
        return image, None
    kind, gray = image.interpretation, image.bands < 3
    space = b"CMYK" if kind == "cmyk" else b"GRAY" if gray else b"RGB "
    profile = sound_profile(bytes(image.get("icc-profile-data")), space)
    image = image.copy()
    if profile is not None:
        image.set_type(vips().GValue.blob_type, "icc-profile-data", profile)
        try:
            # a pixel of it goes through, because damage deeper inside shows only then
            pixel = vips().Image.black(1, 1, bands=image.bands).cast(image.format).copy(interpretation=kind)
            pixel.set_type(vips().GValue.blob_type, "icc-profile-data", profile)
            pixel.icc_transform("srgb", embedded=True).avg()
        except vips().Error:
            profile = None
    if profile is None:
        image.remove("icc-profile-data")
        what = "CMYK" if kind == "cmyk" else "gray" if gray else "RGB"
        instead = "" if kind == "cmyk" else ": its numbers are taken as sRGB"
        notes.append(f"Its ICC profile is damaged or not one for {what} and was left out{instead}.")
    return image, profile


def _decoder_bytes(loader: str, head: Any, frames: int, *, copied: bool) -> int:
    """What libvips and the codec hold of a picture beyond rows; the factors were measured on 6 and 24 megapixels."""
    samples = head.height * head.width * head.bands
    decoded = samples * (2 if head.format == "ushort" else 1)
    held = 0
    match loader:
        case "jpeg" if head.get_typeof("jpeg-multiscan") and head.get("jpeg-multiscan"):
            held = 2 * samples  # libjpeg keeps the coefficients of all scans, 16 bits each
        case "png" if head.get_typeof("interlaced") and head.get("interlaced"):
            held = decoded
        case "webp":
            held = 3 * decoded + (decoded * frames if frames > 1 else 0)
        case "gif":
            held = 8 * head.height * head.width  # this frame and the one before, in RGBA
        case "heif":
            held = 4 * decoded  # planes of the decoder, of libheif, and RGB
        case _:
            pass
    return held + (min(decoded * frames, _LARGEST_COPY_IN_MEMORY_BYTES) if copied else 0)


def _amount(pixels: int, *, beside: int) -> str:
    """Pixels in words, in full where they are few or would look the same as the number `beside` them.

    >>> _amount(1200, beside=100), _amount(300_000_000, beside=2**28)
    ('1,200 pixels', '300 megapixels')
    """
    if min(pixels, beside) < 1_000_000 or round(pixels / 1e6) == round(beside / 1e6):
        return f"{pixels:,} pixels"
    return f"{pixels / 1e6:,.0f} megapixels"


def _notes_on_name(path: Path, format_name: str) -> Iterator[str]:
    named = format_of_name(path)
    known = {form.name for form in FORMATS}
    if named is not None and named.name != format_name and format_name in {*known, "BMP"}:
        yield f"Its name says {named.name} but it is a {format_name} file."


def _notes_on_file(path: Path, format_name: str, head: Any, in_file: int, frames: int) -> Iterator[str]:
    yield from _notes_on_name(path, format_name)
    if format_name == "PNG":
        yield from color_notes(path)
    if in_file > 1 and frames == 1:
        what = "frames" if format_name in ("GIF", "WebP") else "pages"
        how = "; --frames takes all" if what == "frames" else ""
        yield f"Only the first of its {in_file} {what} was taken{how}."
    bits = int(head.get("bits-per-sample")) if head.get_typeof("bits-per-sample") else 8
    if head.get_typeof("palette") and format_name != "GIF":
        yield f"Its palette was expanded to {'gray' if head.bands < 3 else 'RGB'}."
    elif bits < 8 and format_name in ("PNG", "TIFF"):
        yield f"Its {bits}-bit pixels were expanded to 8 bits."
