"""Rows of a picture -> a file that appears whole or not at all.

Rows go to libvips' encoders as an uncompressed PNG stream, so that JPEG, PNG and TIFF are written while later rows are
still being computed. WebP, AVIF and GIF encoders hold the whole picture themselves.

Shapes: h rows at a time, H height, W width, C channels.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tessera.errors import PictureError, UsageError
from tessera.images.correction import prepare_metadata
from tessera.images.encoder import EncoderThread
from tessera.images.formats import find_format, list_writable_extensions
from tessera.images.frames import FrameResizer, PictureShape
from tessera.images.icc import attach_profile_of_coding, convert_to_srgb
from tessera.images.libvips import set_blob, vips
from tessera.images.metadata import Metadata
from tessera.images.picture import Picture
from tessera.images.picture_format import PictureFormat, SaveOptions
from tessera.images.pixels import Pixels, flatten_on_white, validate_pixels
from tessera.images.png_stream import PngStream
from tessera.storage.atomic import choose_temporary_name, put_in_place


class PictureWriter:
    """Takes rows from the top down and leaves a whole file; a context manager that discards everything on an exception.

    The file is written next to its place under a temporary name, flushed to the disk, and renamed by `finish`.

    Args:
        path: The file; its extension chooses the format.
        shape: The rows, and the size of the file.
        metadata: What goes into the file besides pixels, as far as the format holds it.
        quality: 1 to 100 for formats that have one; None for the format's default.

    Raises:
        PictureError: The file cannot be written.
        LimitError: The format cannot hold a picture of this size.
    """

    def __init__(
        self, path: Path, shape: PictureShape, *, metadata: Metadata | None = None, quality: int | None = None
    ) -> None:
        self.path = path
        self._shape = shape
        self._form = require_format(path)
        self._form.check_size(path, *shape.size_in_file)
        self._metadata = attach_profile_of_coding(metadata or Metadata(), self._form)
        self._quality = quality or self._form.quality
        self._resizer = FrameResizer(shape)
        self._temporary = choose_temporary_name(path)
        try:
            self._temporary.touch(exist_ok=False)  # never write into an existing file
        except OSError as error:
            raise PictureError(f"{path}: cannot be written: {error.strerror}.") from None
        height, width = shape.size_in_file
        self._stream = PngStream(
            height=height * shape.frames, width=width, channels=shape.channels, dtype=shape.dtype_in_file
        )
        self._encoder: EncoderThread | None = EncoderThread(path, self._save)
        self._encoder.put(self._stream.header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def write_rows(self, rows: Pixels) -> None:
        """Take the next rows (h, W, C). Raises PictureError, and ValueError for rows of another shape."""
        for converted in self._resizer.convert(rows):
            for piece in self._stream.encode(converted):
                self._put(piece)

    def finish(self, *, times: tuple[int, int] | None = None, on_written: Callable[[Path], None] | None = None) -> None:
        """Complete the file and rename it to its place. Raises PictureError, and ValueError if rows are missing.

        Args:
            times: Access and modification time of the file in nanoseconds; None for now.
            on_written: Called with the temporary name of the complete file, before it is renamed.
        """
        self._resizer.check_complete()
        self._put(self._stream.finish())
        if self._encoder is not None:
            self._encoder.finish()
            self._encoder = None
        if times is not None:
            with contextlib.suppress(OSError):  # a file system that stores no times
                os.utime(self._temporary, ns=times)
        if on_written is not None:
            on_written(self._temporary)
        try:
            put_in_place(self._temporary, self.path)
        except OSError as error:
            raise PictureError(f"{self.path}: cannot be written: {error.strerror}.") from None

    def discard(self) -> None:
        """Stop and leave nothing behind; does nothing after `finish`."""
        if self._encoder is not None:
            self._encoder.stop()
            self._encoder = None
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def _put(self, piece: bytes) -> None:
        if self._encoder is not None:
            self._encoder.put(piece)

    def _save(self, image: Any) -> None:
        """Write a libvips image to the temporary file; runs in the encoder's thread."""
        form, metadata, shape = self._form, self._metadata, self._shape
        if must_convert_to_srgb(form, metadata, shape.channels):
            image = convert_to_srgb(image, bytes(metadata.icc_profile or b""), format_name=form.name)
            metadata = metadata.without_icc()
        height, width = shape.size_in_file
        metadata = prepare_metadata(metadata, form, height=height, width=width).metadata
        options = SaveOptions(quality=self._quality, metadata=metadata, height=height, width=width, frames=shape.frames)
        assert form.save is not None
        form.save(_attach_metadata(image, options), self._temporary, options)


def write_picture(
    picture: Picture | npt.NDArray[Any], path: str | os.PathLike[str], *, quality: int | None = None
) -> None:
    """Write a picture with its metadata, or an array; the file appears whole or not at all.

    Args:
        picture: A picture, or an array (H, W) or (H, W, C) with 1 to 4 channels in uint8, uint16 or float in [0, 1].
            Floats are rounded to 16 bits if the format holds them, else to 8.
        path: The file; its extension chooses the format. What the format cannot hold is rounded (16 bits) or composited
            over white (alpha); metadata that it cannot hold is left out.
        quality: 1 to 100 for JPEG, WebP and AVIF; None for their defaults (95, 95, 90).

    Raises:
        UsageError: The array has another shape, type or range, or the quality is out of range.
        PictureError: The file cannot be written.
        LimitError: The format cannot hold a picture of this size.
    """
    path = Path(path)
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"expected 1 to 100, found {quality}.", field="quality")
    form = require_format(path)
    given, metadata = (picture.pixels, picture.metadata) if isinstance(picture, Picture) else (picture, Metadata())
    deep = not form.alpha or form.deepest > 8  # alpha is composited before rounding
    pixels = validate_pixels(given, floats_as=np.dtype(np.uint16 if deep else np.uint8))
    if not form.alpha and pixels.shape[2] in (2, 4):
        pixels = flatten_on_white(pixels)
    height, width, channels = pixels.shape
    shape = PictureShape(
        height=height,
        width=width,
        channels=channels,
        dtype=pixels.dtype,
        file_depth=8 if form.deepest == 8 else None,
    )
    with PictureWriter(path, shape, metadata=metadata, quality=quality) as writer:
        writer.write_rows(pixels)
        writer.finish()


def require_format(path: Path) -> PictureFormat:
    """Return the format that a file name asks for. Raises PictureError if its extension is not that of one."""
    form = find_format(path)
    if form is None:
        found = f"the extension {path.suffix}" if path.suffix else "no extension"
        raise PictureError(f"{path}: expected one of {', '.join(list_writable_extensions())}, found {found}.")
    return form


def must_convert_to_srgb(form: PictureFormat, metadata: Metadata, channels: int) -> bool:
    """Whether pixels are converted through their ICC profile because the format cannot carry it."""
    profile = metadata.icc_profile
    return profile is not None and not form.carries_profile(bytes(profile), gray=channels < 3)


def _attach_metadata(image: Any, options: SaveOptions) -> Any:
    """Attach what libvips writes itself: density, ICC profile, and the times of an animation."""
    metadata = options.metadata
    across, down = metadata.density or (1.0, 1.0)
    image = image.copy(xres=across, yres=down)
    for name in image.get_fields():
        if name.startswith(("exif-", "png-")) or name in ("exif-data", "orientation"):
            image.remove(name)
    if metadata.icc_profile is not None:
        set_blob(image, "icc-profile-data", metadata.icc_profile)
    if options.frames > 1:
        image.set_type(vips().GValue.gint_type, "page-height", options.height)
        for field in metadata.animation:
            image.set_type(field.gtype, field.name, field.value)
    return image
