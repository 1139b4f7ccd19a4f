"""One picture file upscaled into another: limits, forecast, notes, and the run itself."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tessera.errors import LimitError, UsageError
from tessera.images.correction import list_losses
from tessera.images.formats import find_format
from tessera.images.frames import PictureShape
from tessera.images.icc import attach_profile_of_coding
from tessera.images.picture_format import PictureFormat
from tessera.images.pixels import flatten_on_white
from tessera.images.resample import count_border_rows
from tessera.images.writer import PictureWriter, must_convert_to_srgb
from tessera.machine import free_disk_bytes
from tessera.tiling.canvas import LARGEST_IN_MEMORY_BYTES
from tessera.tiling.mosaic import MosaicCount
from tessera.tiling.pipeline import PictureTraits, Pipeline
from tessera.tiling.rows import FrameRows
from tessera.tiling.settings import Settings
from tessera.tiling.tiles import Axis
from tessera.upscaling.source import Source
from tessera.wording import format_bytes

_PROCESS_BYTES, _PYTORCH_BYTES = 130 * 2**20, 150 * 2**20
"""Memory of Python, libvips, an engine and a compact network before the first tile; more where PyTorch is imported."""
_RESAMPLING_BYTES = 32 * 2**20
_ROWS_RESAMPLED = 16
"""Floats of a few rows, before and after, and their copies."""
_LINES_OF_ENCODER, _FEWEST_LINES = 400, 40
_LINE_BYTES = 64 * 2**20
"""Lines that libvips holds between the rows and an encoder: 400 of 170 kB (measured), fewer of longer ones."""

TileDone = Callable[[int, int, int], None]
"""Called after each tile with (tiles done, total tiles, input pixels of this tile); it may raise to stop."""

FileWritten = Callable[[Path], None]
"""Called with the temporary name of the complete output, before it is renamed to its place."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Expected work, memory and disk space for one picture."""

    height: int
    width: int
    out_height: int
    out_width: int
    frames: int
    tiles: int
    runs: int
    """Runs of the network, at most: an alpha channel that varies takes one more for each tile."""
    tile: int
    overlap: int
    memory_bytes: int
    file_bytes: int
    """Upper estimate of the size of the output."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of upscaling one picture."""

    forecast: Forecast
    engine: str
    precision: str
    tiles: int
    tiles_retried: int
    """Tiles that came out NaN, infinite or black and were run again in fp32."""
    tiles_tried: tuple[int, ...]
    """Tile sizes, the last of which succeeded; several when memory ran out."""
    seconds: float
    color_space: str = ""
    color_error_before: float | None = None
    """Mean color difference (`fidelity.color_difference`) of output and input before and after the color lock."""
    color_error_after: float | None = None
    notes: tuple[str, ...] = ()


class FileJob:
    """One file on its way into another. It needs no engine until it runs, so it can be checked before planning.

    `check` compares its sizes with the limits, from the header alone; `survey` then decodes the whole picture once,
    which finds damage early, an alpha channel that is flat, and gray that is stored as RGB.
    """

    def __init__(self, source: Source, output: Path, settings: Settings, scale: int) -> None:
        self._source = source
        self._output = output
        self._settings, self._scale = settings, scale
        self._flat_alpha: int | None = None
        self._as_gray = False
        self.notes: tuple[str, ...] = ()
        info = source.info
        form = find_format(output)
        if form is None:
            raise UsageError(f"{output}: cannot write {output.suffix or 'a file without an extension'}.")
        self._form: PictureFormat = form
        self._frames = info.frames if form.animated else 1
        self._keeps_alpha = info.has_alpha and form.alpha
        self._depth = min(info.depth, 16 if form.deepest > 8 else 8)
        self.color_space = info.color_space

    def survey(self) -> None:
        """Decode the whole picture and collect the notes. Raises PictureError if it is damaged."""
        source = self._source
        ranges = source.ranges
        self._flat_alpha = source.flat_alpha
        self._as_gray = source.info.channels > 2 and ranges.is_gray and not self._settings.keep_color_noise
        self.notes = tuple(self._explain())

    def _explain(self) -> Iterator[str]:
        info, form, metadata = self._source.info, self._form, self._source.reader.metadata
        if info.has_alpha and not form.alpha and self._flat_alpha != np.iinfo(info.dtype).max:
            yield f"{form.name} has no alpha: the picture was placed on white."
        if info.depth == 16 and form.deepest < 16:
            yield f"{form.name} holds {form.deepest} bits per channel: the 16-bit picture was rounded to them."
        if self._as_gray:
            yield "Stored as RGB but gray everywhere: upscaled as gray; `keep_color_noise` upscales it in color."
        if self._keeps_alpha and form.alpha_levels is not None and self._flat_alpha is None:
            yield f"{form.name} has only {form.alpha_levels} levels of transparency: soft edges became hard."
        if form.colors is not None:
            yield f"{form.name} holds {form.colors} colors: others were replaced by the nearest."
        if info.frames > 1 and not form.animated:
            yield f"{form.name} has no animations: only the first of {info.frames} frames was written."
        channels = info.channels if self._keeps_alpha else info.channels - info.has_alpha
        profiled = attach_profile_of_coding(metadata, form)
        if profiled is not metadata:
            metadata = profiled
            yield f"{form.name} stores no color coding: an ICC profile of the same colors was attached."
        if must_convert_to_srgb(form, metadata, channels):
            self.color_space = "sRGB" if channels > 2 else "sRGB gray"
            yield f"{form.name} cannot carry the profile: colors were converted to {self.color_space}."
            metadata = metadata.without_icc()
        for kind in list_losses(metadata, form):
            yield f"{form.name} cannot carry {kind}."

    def check(self) -> None:
        """Raise LimitError when the output exceeds the limits, its format or the free disk space."""
        info, shape = self._source.info, self._shape()
        height, width = shape.size_in_file
        pixels = height * width * self._frames
        limit = self._settings.limits.max_output_pixels
        native = info.height * info.width * self._scale**2
        if limit is not None and max(pixels, native) > limit:
            raise LimitError(
                f"{self._source.path}: would become {width}x{height} ({max(pixels, native) / 1e6:,.0f} megapixels in"
                f" the process); the limit is {limit / 1e6:,.0f}. `max_output_pixels` {max(pixels, native)} allows it."
            )
        self._form.check_size(self._output, *shape.size_in_file)
        free, needed = free_disk_bytes(self._output.parent), self._file_bytes(shape)
        if free is not None and free < needed:
            raise LimitError(
                f"{self._output}: may need {format_bytes(needed)}, and {format_bytes(free)} are free in"
                f" {self._output.parent}. Free some space or choose another `output` folder."
            )

    def _shape(self) -> PictureShape:
        info, scale = self._source.info, self._scale
        height, width = self._settings.output_size(height=info.height, width=info.width, scale=scale)
        resized = (height, width) != (info.height * scale, info.width * scale)
        depth = 16 if resized else self._depth
        return PictureShape(
            height=info.height * scale * self._frames,
            width=info.width * scale,
            channels=info.channels if self._keeps_alpha else info.channels - info.has_alpha,
            dtype=np.dtype(np.uint16 if depth == 16 else np.uint8),
            frames=self._frames,
            file_height=height,
            file_width=width,
            file_depth=self._depth,
            wrapped_rows=count_border_rows(info.height * scale, height) if resized and self._settings.seamless else 0,
        )

    def _file_bytes(self, shape: PictureShape) -> int:
        height, width = shape.size_in_file
        samples = height * width * shape.channels * self._frames
        return int(samples * self._form.bytes_per_sample * (self._depth // 8)) + 2**16

    def _subject(self, shape: PictureShape) -> PictureTraits:
        return PictureTraits(
            has_alpha=self._source.info.has_alpha,
            flat_alpha=self._flat_alpha,
            as_gray=self._as_gray,
            dtype=shape.dtype,
            spill_folder=self._output.parent,
        )

    def forecast(self, pipeline: Pipeline, tile: int) -> Forecast:
        """Expected work, memory and disk space with tiles of this size."""
        info, shape = self._source.info, self._shape()
        plan = pipeline.plan(tile, self._subject(shape))
        rows, columns = plan.axes(info.height, info.width)
        height, width = shape.size_in_file
        tiles = len(rows) * len(columns) * self._frames
        return Forecast(
            height=info.height,
            width=info.width,
            out_height=height,
            out_width=width,
            frames=self._frames,
            tiles=tiles,
            runs=tiles * (2 if plan.alpha == "model" else 1),
            tile=max(rows.tile, columns.tile),
            overlap=plan.overlap,
            memory_bytes=_PROCESS_BYTES
            + (_PYTORCH_BYTES if "torch" in sys.modules else 0)
            + rows.tile * columns.tile * pipeline.engine.bytes_per_pixel
            + self._band_bytes(rows, plan.scale, shape)
            + self._output_bytes(shape)
            + info.decoder_bytes,
            file_bytes=self._file_bytes(shape),
        )

    def _band_bytes(self, rows: Axis, scale: int, shape: PictureShape) -> int:
        """Rows of one band of tiles: read, finished, and those that blend into the next band."""
        info, values = self._source.info, shape.width * shape.channels
        read = 2 * rows.tile * info.width * info.channels * (info.depth // 8)
        finished = 2 * min(rows.tile * scale * values * shape.dtype.itemsize, LARGEST_IN_MEMORY_BYTES)
        blending = 2 * rows.fade * scale * values * 4 if len(rows) > 1 else 0
        return read + finished + blending

    def _output_bytes(self, shape: PictureShape) -> int:
        """Rows being resampled, the lines that libvips holds, and what the encoder holds."""
        height, width = shape.size_in_file
        line = width * shape.channels * shape.dtype_in_file.itemsize
        samples = height * width * shape.channels * self._frames
        resampling = _RESAMPLING_BYTES + _ROWS_RESAMPLED * shape.width * shape.channels * 4 if shape.is_resized else 0
        lines = min(_LINES_OF_ENCODER * line, _LINE_BYTES + _FEWEST_LINES * line)
        return resampling + lines + int(samples * self._form.encoder_bytes_per_sample)

    def run(
        self, pipeline: Pipeline, on_tile: TileDone | None = None, on_written: FileWritten | None = None
    ) -> Outcome:
        """Upscale: tiles shrink when memory runs out, and the output appears whole or not at all."""
        began, info = time.monotonic(), self._source.info
        tried, count = pipeline.retry_with_smaller_tiles(
            lambda tile: self._attempt(pipeline, tile, on_tile, on_written), height=info.height, width=info.width
        )
        pixels = max(count.color_pixels, 1)
        locked = self._settings.color_lock
        return Outcome(
            forecast=self.forecast(pipeline, tried[-1]),
            engine=pipeline.engine.name,
            precision=pipeline.engine.precision,
            tiles=count.tiles,
            tiles_retried=count.retried,
            tiles_tried=tried,
            seconds=time.monotonic() - began,
            color_space=self.color_space,
            color_error_before=count.color_error_before / pixels if locked else None,
            color_error_after=count.color_error_after / pixels if locked else None,
            notes=(*pipeline.generator.choices, *info.notes, *self.notes, *pipeline.notes(count, tried)),
        )

    def _attempt(
        self, pipeline: Pipeline, tile: int, on_tile: TileDone | None, on_written: FileWritten | None
    ) -> MosaicCount:
        """One attempt with tiles of this size, from the first row to the finished file."""
        reader, info, shape = self._source.reader, self._source.info, self._shape()
        reader.rewind()
        plan = pipeline.plan(tile, self._subject(shape))
        count = MosaicCount()
        rows, columns = plan.axes(info.height, info.width)
        total = len(rows) * len(columns) * self._frames
        if on_tile is not None:
            count.on_tile = lambda done, pixels: on_tile(done, total, pixels)
        on_white = info.has_alpha and not self._keeps_alpha
        times = None
        if self._settings.keep_times:
            status = self._source.path.stat()
            times = status.st_atime_ns, status.st_mtime_ns
        with PictureWriter(self._output, shape, metadata=reader.metadata, quality=self._settings.quality) as writer:
            for frame in range(self._frames):
                frame_rows = FrameRows(reader, info.height, frame)
                for band in pipeline.upscale_rows(frame_rows, plan, count, rows_beyond=shape.wrapped_rows):
                    writer.write_rows(flatten_on_white(band) if on_white else band)
            writer.finish(times=times, on_written=on_written)
        return count
