"""Rows of a picture -> a file that appears whole or not at all.

Finished rows are handed to libvips' encoders as an uncompressed PNG stream (a format it can read from a pipe, in gray
or RGB, 8 or 16 bits, with alpha), so that JPEG, PNG and TIFF are written while later rows are still being made. WebP,
AVIF and GIF encoders hold the whole picture themselves. Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import struct
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt

from tessera.errors import LimitError, PictureError, UsageError
from tessera.images import netpbm
from tessera.images.formats import Format, format_of_name
from tessera.images.metadata import Metadata, corrected
from tessera.images.picture import Picture, Pixels, vips
from tessera.images.resample import Resampler
from tessera.images.tiff_exif import add_exif
from tessera.storage.atomic import PART_MARK as PART_MARK
from tessera.storage.atomic import put_in_place, temporary_name

_PNG_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_RESOLUTION_IN_EXIF = ("JPEG", "WebP", "AVIF")  # libvips writes it there only, also into JPEG
_BYTES_A_PIECE = 2**20
_WAIT_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class PictureShape:
    """What the rows handed to a writer are, and the size that the file shall have."""

    height: int
    width: int
    channels: int
    dtype: np.dtype[np.unsignedinteger]
    frames: int = 1
    """`height` counts the rows of all frames."""
    file_height: int | None = None
    file_width: int | None = None
    """Size of one frame in the file when it differs from that of the rows (Lanczos in between, frame by frame)."""
    file_depth: int | None = None
    wrapped_rows: int = 0
    """Of a texture that repeats: rows of the other end before and after those of each frame, for resampling."""

    @property
    def frame_height(self) -> int:
        """Rows of one frame, without those that are wrapped around it."""
        return self.height // self.frames

    @property
    def rows_in_all(self) -> int:
        """Rows that will come."""
        return self.height + 2 * self.wrapped_rows * self.frames

    @property
    def size_in_file(self) -> tuple[int, int]:
        """(H, W) of one frame in the file."""
        return self.file_height or self.frame_height, self.file_width or self.width

    @property
    def dtype_in_file(self) -> np.dtype[np.unsignedinteger]:
        """The type of the pixels in the file."""
        return np.dtype(np.uint16 if (self.file_depth or self.dtype.itemsize * 8) == 16 else np.uint8)

    @property
    def resized(self) -> bool:
        """Whether rows are resampled on their way."""
        return self.size_in_file != (self.frame_height, self.width)


class PictureWriter:
    """Takes rows from the top down and leaves a whole file; a context manager that drops everything on an exception.

    The file is written beside its place under a temporary name, flushed to the disk, and renamed by `finish`.
    Raises PictureError when it cannot be written, LimitError when the format cannot hold such a size.
    """

    def __init__(
        self, path: Path, shape: PictureShape, *, metadata: Metadata | None = None, quality: int | None = None
    ) -> None:
        form = format_of_name(path)
        if form is None:
            raise PictureError(f"{path}: {path.suffix or 'a name without extension'} is no format that can be written.")
        check_size(path, form, shape)
        self.path = path
        self._form = form
        self._shape = shape
        self._metadata = metadata or Metadata()
        self._quality = quality
        self._temporary = temporary_name(path)
        self._rows_taken = 0
        self._resampler: Resampler | None = None
        self._error: BaseException | None = None
        self._pieces: queue.Queue[bytes | None] = queue.Queue(maxsize=2)
        self._dropped = threading.Event()
        self._piece = memoryview(b"")
        self._compressor = zlib.compressobj(0)
        self._plain_file: BinaryIO | None = None
        self._thread: threading.Thread | None = None
        try:  # never a file that is there already
            if form.name == "PPM":
                self._plain_file = self._temporary.open("xb")
                header = netpbm.header_bytes(*shape.size_in_file, shape.channels, shape.dtype_in_file)
                self._plain_file.write(header)
            else:
                self._temporary.touch(exist_ok=False)
        except OSError as error:
            raise PictureError(f"{path}: cannot be written: {error.strerror}.") from None
        if self._plain_file is None or leaves_its_profile(form, self._metadata, shape.channels):
            self._thread = threading.Thread(target=self._encode, name=f"write {path.name}", daemon=True)
            self._thread.start()
            self._put(self._png_header())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()

    def write_rows(self, rows: Pixels) -> None:
        """Take the next rows (h, W, C)."""
        shape = self._shape
        if rows.shape[1:] != (shape.width, shape.channels) or rows.dtype != shape.dtype:
            raise ValueError(f"rows are {rows.shape} {rows.dtype}, expected (h, {shape.width}, {shape.channels})")
        if self._rows_taken + len(rows) > shape.rows_in_all:
            raise ValueError(f"too many rows: {self._rows_taken + len(rows)} of {shape.rows_in_all}")
        if not shape.resized:
            self._rows_taken += len(rows)
            self._pass_on(_rounded(rows, shape.dtype_in_file))
            return
        while len(rows):  # each frame for itself, so that none bleeds into the next
            frame_rows = shape.frame_height + 2 * shape.wrapped_rows
            row = self._rows_taken % frame_rows
            if row == 0:
                self._resampler = Resampler(
                    size=(shape.frame_height, shape.width),
                    target=shape.size_in_file,
                    channels=shape.channels,
                    dtype=shape.dtype_in_file,
                    wrapped_rows=shape.wrapped_rows,
                )
            assert self._resampler is not None
            here = rows[: frame_rows - row]
            rows = rows[len(here) :]
            self._rows_taken += len(here)
            self._pass_on(self._resampler.take(here))

    def finish(self) -> None:
        """Complete the file and put it in its place."""
        if self._rows_taken != self._shape.rows_in_all:
            raise ValueError(f"{self._rows_taken} rows were written of {self._shape.rows_in_all}")
        if self._thread is not None:
            self._put(_chunk(b"IDAT", self._compressor.flush()) + _chunk(b"IEND", b""))
            self._put(None)
            self._thread.join()
            self._thread = None
            if self._error is not None:
                raise self._failure()
        try:
            if self._plain_file is not None:
                self._plain_file.close()
            put_in_place(self._temporary, self.path)
        except OSError as error:
            raise PictureError(f"{self.path}: cannot be written: {error.strerror}.") from None

    def drop(self) -> None:
        """Stop and leave nothing behind (nothing to do after `finish`)."""
        self._dropped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._plain_file is not None:
            self._plain_file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def _pass_on(self, rows: Pixels) -> None:
        """Rows as they will be in the file -> the encoder (or the file itself)."""
        if self._thread is None:
            self._write_plain(rows)
            return
        row_bytes = rows.shape[1] * rows.shape[2] * rows.dtype.itemsize
        step = max(1, _BYTES_A_PIECE // (row_bytes + 1))
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            filtered = np.zeros((len(part), 1 + row_bytes), np.uint8)  # the leading 0 is PNG's filter "none"
            stored = part.astype(part.dtype.newbyteorder(">"), copy=False)
            filtered[:, 1:] = np.ascontiguousarray(stored).view(np.uint8).reshape(len(part), row_bytes)
            self._put(_chunk(b"IDAT", self._compressor.compress(filtered.tobytes())))

    def _png_header(self) -> bytes:
        shape = self._shape
        height, width = shape.size_in_file
        depth = shape.dtype_in_file.itemsize * 8
        color_type = _PNG_COLOR_TYPES[shape.channels]
        header = struct.pack(">IIBBBBB", width, height * shape.frames, depth, color_type, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)

    def _put(self, piece: bytes | None) -> None:
        while True:
            if self._error is not None:
                raise self._failure()
            try:
                self._pieces.put(piece, timeout=_WAIT_SECONDS)
                return
            except queue.Full:
                continue

    def _failure(self) -> BaseException:
        """What the caller is told: a sentence, unless it was a mistake of ours."""
        assert self._error is not None
        if not isinstance(self._error, (vips().Error, OSError, PictureError)):
            return self._error
        lines = [line.strip().rstrip(".") for line in str(self._error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(self._error).__name__
        if _disk_is_full(self.path.parent):
            reason = "the disk is full"
        return PictureError(f"{self.path}: cannot be written: {reason}.")

    def _read(self, count: int) -> bytes:
        """What libvips calls for the next bytes of the stream."""
        while not self._piece:
            if self._dropped.is_set():
                return b""
            try:
                piece = self._pieces.get(timeout=_WAIT_SECONDS)
            except queue.Empty:
                continue
            if piece is None:
                return b""
            self._piece = memoryview(piece)
        taken, self._piece = self._piece[:count], self._piece[count:]
        return bytes(taken)

    def _encode(self) -> None:
        try:
            source = vips().SourceCustom()
            source.on_read(self._read)
            image = vips().Image.new_from_source(source, "", access="sequential", fail_on="error")
            if leaves_its_profile(self._form, self._metadata, self._shape.channels):
                image = _in_srgb(image, self._metadata, self._form)
                self._metadata = self._metadata.without_icc()
            if self._plain_file is not None:
                self._encode_plain(image)
                return
            self._save(_with_metadata(image, self._metadata, self._shape, self._form))
        except (vips().Error, OSError, PictureError) as error:
            self._error = error.with_traceback(None)  # which would keep the file open, and the disk full
        except BaseException as error:  # carried to the caller's thread by _put and finish
            self._error = error

    def _encode_plain(self, image: Any) -> None:
        region = vips().Region.new(image)
        dtype = np.dtype(np.uint16 if image.format == "ushort" else np.uint8)
        for first in range(0, image.height, 64):
            count = min(64, image.height - first)
            data = region.fetch(0, first, image.width, count)
            self._write_plain(np.frombuffer(data, dtype).reshape(count, image.width, image.bands))

    def _write_plain(self, rows: Pixels) -> None:
        assert self._plain_file is not None
        try:
            self._plain_file.write(netpbm.pixel_bytes(rows))
        except OSError as error:
            raise PictureError(f"{self.path}: cannot be written: {error.strerror}.") from None

    def _save(self, image: Any) -> None:
        name = os.fsencode(self._temporary)
        keep = "icc|xmp|iptc|other|gainmap"
        if image.get_typeof("exif-data") or (self._metadata.has_resolution and self._form.name in _RESOLUTION_IN_EXIF):
            keep += "|exif"
        quality = self._quality
        deep = image.format == "ushort"
        match self._form.name:
            case "JPEG":
                image.jpegsave(name, Q=quality or 95, subsample_mode="off", keep=keep)
            case "PNG":
                image.pngsave(name, compression=6, keep=keep)
            case "WebP":
                image.webpsave(
                    name, Q=quality or 95, smart_subsample=True, alpha_q=100, exact=True, effort=4, keep=keep
                )
            case "TIFF":
                predicted = image.width * image.height * image.bands * (2 if deep else 1)
                exif, iptc = _blob(image, "exif-data"), _blob(image, "iptc-data")
                if iptc:
                    image = image.copy()
                    image.remove("iptc-data")
                image.tiffsave(
                    name, compression="deflate", predictor="horizontal", bigtiff=predicted > 3.5 * 2**30, keep=keep
                )
                add_exif(self._temporary, exif, height=image.height, width=image.width, iptc=iptc)
            case "AVIF":
                if deep:  # round to 12 bits here, because the encoder would truncate
                    image = ((image * (4095 / 65_535)).rint() * 16).cast("ushort").copy(interpretation="rgb16")
                image.heifsave(
                    name,
                    compression="av1",
                    Q=quality or 90,
                    bitdepth=12 if deep else 8,
                    subsample_mode="off",
                    effort=4,
                    keep=keep,
                )
            case "GIF":
                image.gifsave(name, keep=keep)
            case name_of_form:
                raise AssertionError(f"no encoder for {name_of_form}")


def write_picture(
    picture: Picture | npt.NDArray[Any], path: str | os.PathLike[str], *, quality: int | None = None
) -> None:
    """Write a picture with its metadata, or an array; the file appears whole or not at all.

    An array is (H, W) or (H, W, 1 to 4) in uint8, uint16 or float in [0, 1]; floats are rounded to 16 bits where the
    format holds them, else to 8. The extension chooses the format; what a format cannot hold (16 bits or alpha in JPEG)
    is rounded or laid on white. `quality` 1 to 100 is for JPEG, WebP and AVIF (95, 95, 90 unless given). Raises
    UsageError for what is no picture, PictureError, LimitError.
    """
    path = Path(path)
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"A quality of {quality} cannot be written: expected 1 to 100.")
    given, metadata = (picture.pixels, picture.metadata) if isinstance(picture, Picture) else (picture, Metadata())
    form = format_of_name(path)
    laid = form is not None and not form.alpha
    deep = laid or form is None or form.deepest > 8
    pixels = pixels_of(given, floats_as=np.dtype(np.uint16 if deep else np.uint8))
    if laid and pixels.shape[2] in (2, 4):
        pixels = laid_on_white(pixels)
    height, width, channels = pixels.shape
    depth = 8 if form is not None and form.deepest == 8 else None
    shape = PictureShape(height=height, width=width, channels=channels, dtype=pixels.dtype, file_depth=depth)
    with PictureWriter(path, shape, metadata=metadata, quality=quality) as writer:
        writer.write_rows(pixels)
        writer.finish()


def pixels_of(array: object, *, floats_as: np.dtype[np.unsignedinteger]) -> Pixels:
    """An array that shows a picture -> (H, W, C) in uint8 or uint16; floats in [0, 1] become `floats_as`.

    Raises UsageError that says what was given and what is expected.
    """
    if not isinstance(array, np.ndarray):
        raise UsageError(f"A {type(array).__name__} is no picture: expected a Picture or a NumPy array.")
    given = cast(npt.NDArray[Any], array)
    if given.ndim not in (2, 3) or (given.ndim == 3 and not 1 <= given.shape[2] <= 4) or 0 in given.shape:
        raise UsageError(
            f"An array of shape {given.shape} is no picture: expected (H, W) or (H, W, 1 to 4), not empty."
        )
    if given.dtype.kind == "f":
        least, greatest = float(given.min()), float(given.max())
        if not (np.isfinite(least) and np.isfinite(greatest)):
            raise UsageError("The array holds values that are not finite: expected floats from 0 to 1.")
        if least < 0 or greatest > 1:
            raise UsageError(f"The array holds values from {least:g} to {greatest:g}: expected floats from 0 to 1.")
        wide = given.astype(np.float64 if given.dtype.itemsize > 4 else np.float32, copy=False)
        given = np.rint(wide * wide.dtype.type(np.iinfo(floats_as).max)).astype(floats_as)
    if given.dtype.kind != "u" or given.dtype.itemsize > 2:
        raise UsageError(f"An array of {given.dtype} is no picture: expected uint8, uint16 or float in [0, 1].")
    native = given.astype(given.dtype.newbyteorder("="), copy=False)
    return native[:, :, None] if native.ndim == 2 else native


def laid_on_white(pixels: Pixels) -> Pixels:
    """(H, W, 2 or 4) with straight alpha -> (H, W, 1 or 3), over white, for formats without alpha."""
    full = float(np.iinfo(pixels.dtype).max)
    alpha = pixels[..., -1:] / full
    return np.rint(pixels[..., :-1] * alpha + full * (1 - alpha)).astype(pixels.dtype)


def check_size(path: Path, form: Format, shape: PictureShape) -> None:
    """Raise LimitError when the format cannot hold a picture of this size."""
    height, width = shape.size_in_file
    if max(height, width) > form.longest_side:
        raise LimitError(
            f"{path}: would be {width}x{height}, and {form.name} holds at most {form.longest_side:,} pixels on a side;"
            " --ext png or --ext tif can hold it."
        )


def leaves_its_profile(form: Format, metadata: Metadata, channels: int) -> bool:
    """Whether pixels must go through their ICC profile to sRGB because the format cannot carry it (or gray with it)."""
    profile = metadata.icc_profile
    if profile is None:
        return False
    if form.name == "PNG":
        return not _png_takes(bytes(profile), gray=channels < 3)
    return form.name in ("PPM", "GIF") or (channels < 3 and form.name in ("WebP", "AVIF"))


@functools.lru_cache(maxsize=8)
def _png_takes(profile: bytes, *, gray: bool) -> bool:
    """Whether libpng accepts a profile; one that it does not (for instance of an odd length) would fail the picture."""
    image = vips().Image.black(1, 1, bands=1 if gray else 3).copy(interpretation="b-w" if gray else "srgb")
    image.set_type(vips().GValue.blob_type, "icc-profile-data", profile)
    try:
        image.pngsave_buffer(keep="icc")
    except vips().Error:
        return False
    return True


def _rounded(rows: Pixels, dtype: np.dtype[np.unsignedinteger]) -> Pixels:
    """Rows in the depth of the file."""
    if rows.dtype == dtype:
        return rows
    return np.rint(rows / 257.0).astype(dtype) if dtype.itemsize == 1 else rows.astype(dtype) * dtype.type(257)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _disk_is_full(folder: Path) -> bool:
    with contextlib.suppress(OSError, AttributeError):
        space = os.statvfs(folder)
        return space.f_bavail * space.f_frsize < 2**20
    return False


def _blob(image: Any, name: str) -> bytes:
    return bytes(image.get(name)) if image.get_typeof(name) else b""


def _in_srgb(image: Any, metadata: Metadata, form: Format) -> Any:
    image = image.copy()
    image.set_type(vips().GValue.blob_type, "icc-profile-data", metadata.icc_profile)
    deep, gray = image.format == "ushort", image.bands < 3
    try:
        image = image.icc_transform("srgb", embedded=True, depth=16 if deep else 8, intent="relative")
    except vips().Error:
        raise PictureError(
            f"its ICC profile is damaged and {form.name} cannot carry it; write PNG or TIFF, or leave the profile out"
        ) from None
    if gray:
        alpha = image[-1] if image.bands in (2, 4) else None
        image = image[1] if alpha is None else image[1].bandjoin(alpha)
        image = image.copy(interpretation="grey16" if deep else "b-w")
    image = image.copy()
    image.remove("icc-profile-data")
    return image


def _with_metadata(image: Any, metadata: Metadata, shape: PictureShape, form: Format) -> Any:
    height, width = shape.size_in_file
    image = image.copy(xres=metadata.pixels_per_mm[0], yres=metadata.pixels_per_mm[1])
    for name in image.get_fields():
        if name.startswith(("exif-", "png-")) or name in ("exif-data", "orientation"):
            image.remove(name)
    for entry in corrected(metadata, height=height, width=width, format_name=form.name):
        image.set_type(entry.gtype, entry.name, entry.value)
    image.set_type(vips().GValue.gint_type, "orientation", 1)  # last: setting EXIF sets the old one again
    if shape.frames > 1:
        image.set_type(vips().GValue.gint_type, "page-height", height)
        for entry in metadata.animation:
            image.set_type(entry.gtype, entry.name, entry.value)
    return image
