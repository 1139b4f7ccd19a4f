"""Pictures for a page: 8-bit RGB, whole in a bounded size, or the same region of each.

Pictures of one subject may differ in size: all are shown at the size of the largest, `full`. A picture that is smaller
by an integer factor is upscaled by repeating pixels; one that lacks a few rows or columns (cropped to a multiple of the
scale) is aligned at the top left; others are resampled by Lanczos. Files are read row by row, so the memory depends on
the size shown only. Shapes: H height, W width; sizes are (H, W).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tessera.errors import PictureError
from tessera.images.libvips import vips
from tessera.images.metadata import Metadata
from tessera.images.picture_format import Limits
from tessera.images.pixels import Pixels, flatten_on_white
from tessera.images.reader import PictureReader
from tessera.images.resample import Resampler

Size = tuple[int, int]
Shown = npt.NDArray[np.uint8]
"""(H, W, 3), sRGB."""

_SAMPLES_AT_A_TIME = 2**22
_LEAST_ACROSS = 8
"""Rows or columns that may be missing from a picture that was cropped to a multiple of its scale."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A rectangle in pixels of the largest picture."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width}x{self.height}"

    def inside(self, full: Size) -> Region:
        """Move this rectangle (and crop it, if necessary) into a picture of this size."""
        width, height = min(self.width, full[1]), min(self.height, full[0])
        return Region(x=min(self.x, full[1] - width), y=min(self.y, full[0] - height), width=width, height=height)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a picture of one size is aligned with the largest; `factor` None means resampled by Lanczos."""

    size: Size
    full: Size
    factor: int | None

    @property
    def how(self) -> str:
        """The scaling in words.

        >>> fit((64, 64), (256, 256)).how, fit((256, 256), (256, 256)).how, fit((252, 256), (256, 256)).how
        ('4x nearest', 'as it is', 'top left, 4 rows short')
        >>> fit((100, 50), (256, 256)).how
        'Lanczos, stretched unequally'
        """
        down, across = (full - (self.factor or 0) * own for full, own in zip(self.full, self.size, strict=True))
        if self.factor is None:
            ratios = self.full[0] / self.size[0], self.full[1] / self.size[1]
            uneven = max(ratios) > 1.02 * min(ratios)
            return "Lanczos, stretched unequally" if uneven else "Lanczos"
        if self.factor > 1:
            return f"{self.factor}x nearest"
        missing = [f"{count} {what}{'s' * (count > 1)}" for count, what in ((down, "row"), (across, "column")) if count]
        return f"top left, {' and '.join(missing)} short" if missing else "as it is"

    def indices(self, positions: npt.NDArray[np.int64], axis: int) -> npt.NDArray[np.int64]:
        """Map positions in the largest picture to rows (axis 0) or columns of this one."""
        assert self.factor is not None
        return np.minimum(positions // self.factor, self.size[axis] - 1)


def fit(size: Size, full: Size) -> Fit:
    """Choose the alignment of a picture of `size` with the largest picture, `full`."""
    factor = max(1, round(full[0] / size[0]))
    short = [full[axis] - factor * size[axis] for axis in (0, 1)]
    if factor == 1:
        near = all(0 <= each < _LEAST_ACROSS for each in short)
        near = near and all(missing * 8 <= side for missing, side in zip(short, full, strict=True))
    else:
        near = all(-factor < each < factor for each in short)
    return Fit(size=size, full=full, factor=factor if near else None)


def shrink_size(size: Size, side: int) -> Size:
    """Shrink a size so that no side is longer than `side`.

    >>> shrink_size((100, 4000), 1000), shrink_size((100, 400), 1000)
    ((25, 1000), (100, 400))
    """
    shrunk = min(1.0, side / max(size))
    return max(1, round(size[0] * shrunk)), max(1, round(size[1] * shrunk))


def read_size(path: Path, limits: Limits) -> Size:
    """Read (H, W) of a picture file, upright. Raises PictureError, LimitError."""
    with PictureReader(path, limits=limits) as reader:
        return reader.height, reader.width


def read_whole(path: Path, placed: Fit, target: Size, limits: Limits) -> Shown:
    """Read a whole picture at `target`: `placed.full`, or smaller in the same proportion. Raises PictureError."""
    nearest = placed.factor is not None and (target == placed.full or min(np.subtract(target, placed.size)) > 0)
    with PictureReader(path, limits=limits) as reader:
        if nearest:
            down, across = (
                placed.indices(
                    ((np.arange(target[axis]) + 0.5) * placed.full[axis] / target[axis]).astype(np.int64), axis
                )
                for axis in (0, 1)
            )
            pixels = _read_rows(reader, 0, reader.height)[down][:, across]
        else:
            pixels = _resample_rows(reader, target, 0, target[0])
        return to_srgb(pixels, reader.metadata)


def read_region(path: Path, placed: Fit, region: Region, limits: Limits) -> Shown:
    """Read the part of a picture in a region of the largest, (region.height, region.width, 3). Raises PictureError."""
    columns = slice(region.x, region.x + region.width)
    with PictureReader(path, limits=limits) as reader:
        if placed.factor is not None:
            down = placed.indices(np.arange(region.y, region.y + region.height), 0)
            across = placed.indices(np.arange(region.x, region.x + region.width), 1)
            rows = _read_rows(reader, int(down[0]), int(down[-1]) + 1, slice(int(across[0]), int(across[-1]) + 1))
            pixels = rows[down - down[0]][:, across - across[0]]
        else:
            pixels = _resample_rows(reader, placed.full, region.y, region.y + region.height)[:, columns]
        return to_srgb(pixels, reader.metadata)


def find_difference(pictures: Sequence[Shown], full: Size, *, side: int, unit: int = 8) -> Region:
    """Find the square of `side` pixels of the largest picture where pictures of one subject differ most.

    `pictures` have one size, `full` or smaller. For a single picture, the square with the most detail. x and y are
    multiples of `unit`, so that the square contains complete pixels of a smaller picture.
    """
    side = max(unit, side // unit * unit) if min(full) >= unit else side
    height, width = min(side, full[0]), min(side, full[1])
    stacked = [picture.astype(np.int16) for picture in pictures]
    if len(stacked) > 1:
        spread = (np.maximum.reduce(stacked) - np.minimum.reduce(stacked)).sum(axis=2, dtype=np.int64)
    else:
        spread = np.abs(np.diff(stacked[0], axis=1, append=stacked[0][:, -1:])).sum(axis=2, dtype=np.int64)
    sums = np.zeros((spread.shape[0] + 1, spread.shape[1] + 1), np.int64)
    sums[1:, 1:] = spread.cumsum(axis=0).cumsum(axis=1)
    ys, xs = np.arange(0, full[0] - height + 1, unit), np.arange(0, full[1] - width + 1, unit)
    top, bottom = (each * spread.shape[0] // full[0] for each in (ys, ys + height))
    left, right = (each * spread.shape[1] // full[1] for each in (xs, xs + width))
    found = (
        sums[np.ix_(bottom, right)] - sums[np.ix_(top, right)] - sums[np.ix_(bottom, left)] + sums[np.ix_(top, left)]
    )
    best = divmod(int(found.argmax()), len(xs)) if found.max() > 0 else (len(ys) // 2, len(xs) // 2)
    return Region(x=int(xs[best[1]]), y=int(ys[best[0]]), width=width, height=height)


def to_srgb(pixels: Pixels, metadata: Metadata) -> Shown:
    """Convert pixels (H, W, C) of 8 or 16 bits to 8-bit sRGB (H, W, 3) by their ICC profile, on white."""
    if pixels.shape[2] in (2, 4):
        pixels = flatten_on_white(pixels)
    deep, gray = pixels.dtype == np.uint16, pixels.shape[2] == 1
    if metadata.icc_profile is not None:
        image = vips().Image.new_from_array(np.ascontiguousarray(pixels))
        image = image.copy(interpretation=("grey16" if deep else "b-w") if gray else ("rgb16" if deep else "srgb"))
        image.set_type(vips().GValue.blob_type, "icc-profile-data", bytes(metadata.icc_profile))
        try:
            image = image.icc_transform("srgb", embedded=True, depth=8, intent="relative")
            return np.asarray(image.numpy(), np.uint8).reshape(*pixels.shape[:2], -1)[..., :3]
        except vips().Error:
            pass  # a damaged profile: show the values unconverted
    if deep:
        pixels = np.rint(pixels / 257.0)
    return np.broadcast_to(pixels.astype(np.uint8), (*pixels.shape[:2], 3))


def encode_data_uri(picture: Shown, *, exact: bool = True) -> str:
    """Encode a picture for a page: PNG, or WebP at quality 90 if it need not be exact."""
    image = vips().Image.new_from_array(np.ascontiguousarray(picture)).copy(interpretation="srgb")
    if exact:
        kind, data = "png", image.pngsave_buffer(compression=9, keep="none")
    else:
        kind, data = "webp", image.webpsave_buffer(Q=90, smart_subsample=True, effort=4, keep="none")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _rows_at_a_time(reader: PictureReader) -> int:
    return max(1, _SAMPLES_AT_A_TIME // (reader.width * reader.info.channels))


def _read_rows(reader: PictureReader, first: int, last: int, columns: slice = slice(None)) -> Pixels:
    """Read rows `first` to `last` of a reader at its start, skipping those above."""
    parts: list[Pixels] = []
    step = _rows_at_a_time(reader)
    for at in range(0, last, step):
        rows = reader.read_rows(at, min(step, last - at))
        if at + len(rows) > first:
            parts.append(rows[max(0, first - at) :, columns].copy())
    return np.concatenate(parts)


def _resample_rows(reader: PictureReader, target: Size, first: int, last: int) -> Pixels:
    """Read rows `first` to `last` of the picture resampled to the size `target`."""
    info = reader.info
    resampler = Resampler(size=(reader.height, reader.width), target=target, channels=info.channels, dtype=info.dtype)
    parts: list[Pixels] = []
    made, step = 0, _rows_at_a_time(reader)
    for at in range(0, reader.height, step):
        rows = resampler.take(reader.read_rows(at, min(step, reader.height - at)))
        parts.append(rows[max(0, first - made) : max(0, last - made)])
        made += len(rows)
    if made < last:
        raise PictureError(f"{reader.path}: expected {last} rows after resampling, found {made}.")
    return np.concatenate(parts)
