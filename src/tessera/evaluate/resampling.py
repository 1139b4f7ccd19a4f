"""Resampling in strips for evaluations: inputs from references, and the baselines' results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tessera.errors import PictureError
from tessera.evaluate.levels import count_rows_at_a_time
from tessera.images.filters import Kernel, compute_bands
from tessera.images.frames import PictureShape
from tessera.images.picture_format import Limits
from tessera.images.reader import PictureReader
from tessera.images.resample import Resampler, RowResizer
from tessera.images.writer import PictureWriter

UpsamplingKernel = Literal["nearest", "bicubic", "lanczos3"]
_NO_LIMITS = Limits(max_pixels=None, max_output_pixels=None)


def downsample(source: Path, target: Path, scale: int, kernel: Kernel) -> None:
    """Make an input from a reference as in published test sets: crop to a multiple of the scale and downsample.

    MATLAB's imresize on integer levels, which rounds after the height and again after the width, in a version that
    repeated edge pixels: it reproduces the published inputs of Set5 and Set14 in every pixel. Raises PictureError.
    """
    with PictureReader(source, limits=_NO_LIMITS) as reader:
        info = reader.info
        height, width = info.height // scale, info.width // scale
        if min(height, width) < 1:
            raise PictureError(f"{source}: {info.width}x{info.height} is too small for scale {scale}.")
        full = float(np.iinfo(info.dtype).max)

        def round_levels(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            return np.floor(np.clip(levels, 0, full) + 0.5)

        down, across = (
            compute_bands(length * scale, length, 1 / scale, kernel, edges="repeat") for length in (height, width)
        )
        resizer = RowResizer(down, across, np.float64, between=round_levels)
        shape = PictureShape(height=height, width=width, channels=info.channels, dtype=info.dtype)
        target.parent.mkdir(parents=True, exist_ok=True)
        with PictureWriter(target, shape) as writer:
            step = count_rows_at_a_time(info.width)
            for first in range(0, height * scale, step):
                rows = reader.read_rows(first, min(step, height * scale - first))[:, : width * scale]
                made = round_levels(resizer.take(rows.transpose(2, 0, 1).astype(np.float64)))
                writer.write_rows(np.ascontiguousarray(made.transpose(1, 2, 0).astype(info.dtype)))
            writer.finish()


def upsample(source: Path, target: Path, scale: int, kernel: UpsamplingKernel, *, deep: bool = False) -> None:
    """Upsample a picture by `scale`, as the baselines. `deep` writes 16 bits, for protocols without rounding."""

    def scale_size(height: int, width: int) -> tuple[int, int]:
        return height * scale, width * scale

    _resample(source, target, scale_size, kernel, deep=deep)


def copy_as_png(source: Path, target: Path) -> None:
    """Copy a picture as PNG."""
    _resample(source, target, lambda height, width: (height, width), "nearest")


def resize_to(source: Path, target: Path, size: tuple[int, int], kernel: Kernel) -> None:
    """Resample to `size` (H, W), ignoring the aspect ratio."""
    _resample(source, target, lambda _height, _width: size, kernel)


def _resample(
    source: Path,
    target: Path,
    size_of: Callable[[int, int], tuple[int, int]],
    kernel: Kernel | Literal["nearest"],
    *,
    deep: bool = False,
) -> None:
    with PictureReader(source, limits=_NO_LIMITS) as reader:
        height, width = reader.info.height, reader.info.width
        size = size_of(height, width)
        dtype = np.dtype(np.uint16) if deep else reader.info.dtype
        channels = reader.info.channels
        shape = PictureShape(height=size[0], width=size[1], channels=channels, dtype=dtype)
        target.parent.mkdir(parents=True, exist_ok=True)
        with PictureWriter(target, shape) as writer:
            factor = size[0] // height
            resampler = None
            if kernel != "nearest":
                resampler = Resampler(
                    size=(height, width), target=size, channels=channels, dtype=dtype, kernel=kernel, exact=True
                )
            step = count_rows_at_a_time(max(width, size[1]))
            for first in range(0, height, step):
                rows = reader.read_rows(first, min(step, height - first))[:, :width]
                made = rows.repeat(factor, 0).repeat(factor, 1) if resampler is None else resampler.take(rows)
                writer.write_rows(np.ascontiguousarray(made))
            writer.finish()
