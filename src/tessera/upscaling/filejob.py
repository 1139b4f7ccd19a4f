"""One picture file on its way into another: limits, forecasts, notes, and the run itself."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tessera.errors import LimitError, UsageError
from tessera.images.correction import list_losses
from tessera.images.formats import find_format
from tessera.images.frames import PictureShape
from tessera.images.picture_format import PictureFormat
from tessera.images.pixels import flatten_on_white
from tessera.images.reader import PictureReader
from tessera.images.resample import count_border_rows
from tessera.images.writer import PictureWriter, must_convert_to_srgb
from tessera.machine import free_disk_bytes
from tessera.tiling.canvas import LARGEST_IN_MEMORY_BYTES
from tessera.tiling.enlarger import Enlarger
from tessera.tiling.mosaic import MosaicCount
from tessera.tiling.rows import FrameRows
from tessera.tiling.settings import SMALLEST_TILE

_PROCESS_BYTES = 350 * 2**20
"""Python, PyTorch, libvips and a compact network, before the first tile."""

TileDone = Callable[[int, int, int], None]
"""Called after each tile with (tiles done, tiles in all, input pixels finished by it); it may raise to stop."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What upscaling a picture will take, before it is begun."""

    height: int
    width: int
    out_height: int
    out_width: int
    frames: int
    tiles: int
    runs: int
    """Runs of the network, at most: an alpha that is not flat takes one more for each tile."""
    tile: int
    overlap: int
    memory_bytes: int
    file_bytes: int
    """A generous guess of the size of the output."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was done to one picture."""

    forecast: Forecast
    engine: str
    precision: str
    tiles: int
    tiles_retried: int
    """Tiles that came out NaN, infinite or black and were run again in fp32."""
    tiles_tried: tuple[int, ...]
    """Tile sizes, the last of which succeeded; more than one when memory ran out."""
    seconds: float
    color_space: str = ""
    color_error_before: float | None = None
    """Mean color difference (`fidelity.color_difference`) of output and input before and after --color-lock."""
    color_error_after: float | None = None
    notes: tuple[str, ...] = ()


class FileJob:
    """One file on its way into another: what is decided about it once, and the run itself.

    `survey` decodes the whole picture first, which finds damage before the work, and an alpha that is flat.
    """

    def __init__(self, enlarger: Enlarger, reader: PictureReader, output: Path, *, survey: bool) -> None:
        self._enlarger = enlarger
        self._reader = reader
        self._output = output
        self._flat_alpha: int | None = None
        if survey:
            least, greatest = reader.measure_ranges()
            if reader.info.has_alpha and least[-1] == greatest[-1]:
                self._flat_alpha = int(least[-1])
        info = reader.info
        form = find_format(output)
        if form is None:
            raise UsageError(f"{output}: {output.suffix or 'a name without extension'} is no format to write.")
        self._form: PictureFormat = form
        self._frames = info.frames if form.animated else 1
        self._keeps_alpha = info.has_alpha and form.alpha
        self._depth = min(info.depth, 16 if form.deepest > 8 else 8)
        self.color_space = info.color_space
        self.notes = tuple(self._explain())

    def _explain(self) -> Iterator[str]:
        info, form, metadata = self._reader.info, self._form, self._reader.metadata
        if info.has_alpha and not form.alpha and self._flat_alpha != np.iinfo(info.dtype).max:
            yield f"{form.name} has no alpha: the picture was laid on white."
        if info.depth == 16 and form.deepest < 16:
            yield f"{form.name} holds {form.deepest} bits per channel: the 16-bit picture was rounded to them."
        if self._keeps_alpha and form.alpha_levels is not None and self._flat_alpha is None:
            yield f"{form.name} knows only {form.alpha_levels} degrees of transparency: soft edges became hard."
        if form.colors is not None:
            yield f"{form.name} holds {form.colors} colors: others were replaced by their nearest."
        if info.frames > 1 and not form.animated:
            yield f"{form.name} is no animation: only the first of {info.frames} frames was written."
        channels = info.channels if self._keeps_alpha else info.channels - info.has_alpha
        if must_convert_to_srgb(form, metadata, channels):
            self.color_space = "sRGB" if channels > 2 else "sRGB gray"
            yield f"{form.name} cannot carry the profile: colors were converted to {self.color_space}."
            metadata = metadata.without_icc()
        for kind in list_losses(metadata, form):
            yield f"{form.name} cannot carry {kind}."

    def check(self) -> None:
        """Raise LimitError when the output would be larger than allowed, than its format holds or than the disk."""
        forecast = self.forecast(SMALLEST_TILE)
        pixels = forecast.out_height * forecast.out_width * forecast.frames
        limit = self._enlarger.settings.limits.max_output_pixels
        native = forecast.height * forecast.width * self._enlarger.scale**2
        if limit is not None and max(pixels, native) > limit:
            raise LimitError(
                f"{self._reader.path}: would become {forecast.out_width}x{forecast.out_height}"
                f" ({max(pixels, native) / 1e6:,.0f} megapixels on the way), and at most {limit / 1e6:,.0f} are made;"
                f" --max-output-pixels {max(pixels, native)} allows it."
            )
        self._form.check_size(self._output, *self._shape().size_in_file)
        free = free_disk_bytes(self._output.parent)
        if free is not None and free < forecast.file_bytes:
            raise LimitError(
                f"{self._output}: may need {forecast.file_bytes / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free in"
                f" {self._output.parent}; free some space or choose another folder with -o."
            )

    def _shape(self) -> PictureShape:
        info, enlarger = self._reader.info, self._enlarger
        scale = enlarger.scale
        height, width = enlarger.target_size(info.height, info.width)
        resized = (height, width) != (info.height * scale, info.width * scale)
        on_the_way = 16 if resized else self._depth
        return PictureShape(
            height=info.height * scale * self._frames,
            width=info.width * scale,
            channels=info.channels if self._keeps_alpha else info.channels - info.has_alpha,
            dtype=np.dtype(np.uint16 if on_the_way == 16 else np.uint8),
            frames=self._frames,
            file_height=height,
            file_width=width,
            file_depth=self._depth,
            wrapped_rows=count_border_rows(info.height * scale, height)
            if resized and enlarger.settings.seamless
            else 0,
        )

    def forecast(self, tile: int) -> Forecast:
        """What the run will make and take with tiles of this size."""
        info, enlarger = self._reader.info, self._enlarger
        plan = enlarger.plan(tile)
        rows, columns = plan.axes(info.height, info.width)
        shape = self._shape()
        height, width = shape.size_in_file
        samples = height * width * shape.channels * self._frames
        band = rows.tile * plan.scale * shape.width * shape.channels * shape.dtype.itemsize
        return Forecast(
            height=info.height,
            width=info.width,
            out_height=height,
            out_width=width,
            frames=self._frames,
            tiles=len(rows) * len(columns) * self._frames,
            runs=len(rows) * len(columns) * self._frames * (2 if enlarger.alpha_mode(info.has_alpha) == "model" else 1),
            tile=max(rows.tile, columns.tile),
            overlap=plan.overlap,
            memory_bytes=_PROCESS_BYTES
            + rows.tile * columns.tile * enlarger.engine.bytes_per_pixel
            + 2 * min(band, LARGEST_IN_MEMORY_BYTES)
            + info.decoder_bytes
            + (samples * shape.dtype.itemsize if self._form.whole_in_memory else 0),
            file_bytes=int(samples * self._form.bytes_per_sample * (self._depth // 8)) + 2**16,
        )

    def enlarge(self, on_tile: TileDone | None = None) -> Outcome:
        """Do it: tiles are made smaller when memory runs out, and the output appears whole or not at all."""
        began, enlarger, info = time.monotonic(), self._enlarger, self._reader.info
        tried, count = enlarger.with_smaller_tiles(
            lambda tile: self._attempt(tile, on_tile), height=info.height, width=info.width
        )
        pixels = max(count.color_pixels, 1)
        locked = enlarger.settings.color_lock
        return Outcome(
            forecast=self.forecast(tried[-1]),
            engine=enlarger.engine.name,
            precision=enlarger.engine.precision,
            tiles=count.tiles,
            tiles_retried=count.retried,
            tiles_tried=tried,
            seconds=time.monotonic() - began,
            color_space=self.color_space,
            color_error_before=count.color_error_before / pixels if locked else None,
            color_error_after=count.color_error_after / pixels if locked else None,
            notes=(*info.notes, *self.notes, *enlarger.notes(count, tried)),
        )

    def _attempt(self, tile: int, on_tile: TileDone | None) -> MosaicCount:
        """One attempt with tiles of this size, from the first row to the file in its place."""
        enlarger, reader = self._enlarger, self._reader
        reader.rewind()
        info, shape = reader.info, self._shape()
        has_alpha = info.has_alpha
        plan = dataclasses.replace(
            enlarger.plan(tile),
            dtype=shape.dtype,
            spill_folder=self._output.parent,
            alpha=enlarger.alpha_mode(has_alpha),
            flat_alpha=self._flat_alpha,
        )
        count = MosaicCount()
        total = self.forecast(tile).tiles
        if on_tile is not None:
            count.on_tile = lambda done, pixels: on_tile(done, total, pixels)
        with PictureWriter(self._output, shape, metadata=reader.metadata, quality=enlarger.settings.quality) as writer:
            for frame in range(self._frames):
                source = FrameRows(reader, info.height, frame)
                bleed = has_alpha and self._flat_alpha is None
                for rows in enlarger.finished_rows(source, plan, count, bleed=bleed, rows_beyond=shape.wrapped_rows):
                    writer.write_rows(rows if self._keeps_alpha or not has_alpha else flatten_on_white(rows))
            writer.finish()
        return count
