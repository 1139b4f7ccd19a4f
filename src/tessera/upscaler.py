"""A picture in, a better picture out: the network, the tiles, the file formats and the limits brought together.

`Upscaler` holds a network and an engine and can be used for many pictures, from several threads. Shapes: B pictures,
C channels, H height, W width, s the factor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import numpy.typing as npt

from tessera.engines import Engine, EngineName, open_engine
from tessera.errors import LimitError, OutOfMemoryError, UsageError
from tessera.fidelity import CONTEXT
from tessera.formats import Format, format_of_name
from tessera.metadata import lost_in
from tessera.mosaic import MosaicCount, MosaicPlan, mosaic
from tessera.picture import Picture, PictureReader, Pixels
from tessera.rows import ArrayRows, BledRows, FrameRows, RowSource, WrappedRows
from tessera.settings import SMALLEST_TILE, OutScale, Settings
from tessera.weights import LoadedGenerator
from tessera.writer import PictureShape, PictureWriter, check_size, laid_on_white, leaves_its_profile
from tessera.zoo import DEFAULT_MODEL, load_model

if TYPE_CHECKING:
    from torch import Tensor

    from tessera.generators import GeneratorConfig

DEFAULT_TILE = 256
_SHARE_OF_MEMORY = 0.4
_FALLBACK_MEMORY_BYTES = 2 * 2**30
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
    """Mean colour difference (`fidelity.color_difference`) of output and input before and after --color-lock."""
    color_error_after: float | None = None
    notes: tuple[str, ...] = ()


class Upscaler:
    """A network ready to enlarge pictures; reusable, safe to share between threads, a context manager.

    `model` is a name of the zoo, a weights file, a mix such as "A.safetensors@0.2+B.safetensors@0.8", or a loaded
    generator; `engine` is a name or an engine of your own. Further keywords are fields of `Settings`. Raises
    TesseraError's children with a sentence.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | LoadedGenerator = DEFAULT_MODEL,
        *,
        settings: Settings | None = None,
        engine: Engine | EngineName | None = None,
        offline: bool = False,
        **changes: Any,
    ) -> None:
        if isinstance(engine, str):
            changes["engine"], engine = engine, None
        self.settings = _changed(settings or Settings(), changes)
        self.generator = model if isinstance(model, LoadedGenerator) else load_model(model, offline=offline)
        config = self.generator.config
        if config.in_channels not in (1, 3) or config.in_channels != config.out_channels:
            raise UsageError(
                f"{self.generator.name}: takes {config.in_channels} channels and gives {config.out_channels}; networks"
                " from 3 to 3 (RGB) or from 1 to 1 (gray) can be used here."
            )
        self._engine = engine or open_engine(
            self.generator, self.settings.precision, engine=self.settings.engine, device=self.settings.device
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing needs closing today; engines with resources of their own let go of them here."""

    @property
    def engine(self) -> Engine:
        """What runs the network."""
        return self._engine

    @property
    def scale(self) -> int:
        """The network's own factor."""
        return self.generator.config.scale

    @overload
    def upscale(self, picture: Picture) -> Picture: ...
    @overload
    def upscale(self, picture: Pixels) -> Pixels: ...
    @overload
    def upscale(self, picture: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]: ...
    @overload
    def upscale(self, picture: Tensor) -> Tensor: ...

    def upscale(self, picture: Any) -> Any:
        """Enlarge a picture in memory and give back the same kind of thing.

        NumPy (H, W) or (H, W, C), uint8, uint16 or float in [0, 1] -> (s*H, s*W[, C]), same type; torch (C, H, W)
        or (B, C, H, W) float in [0, 1] -> the same with s*H, s*W, same dtype and device; Picture -> Picture. C is 1
        (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha). Floats are worked on in 16 bits. Raises UsageError.
        """
        if isinstance(picture, Picture):
            return picture.with_pixels(self.upscale(picture.pixels))
        if isinstance(picture, np.ndarray):
            return self._upscale_array(picture)
        import torch

        if isinstance(picture, torch.Tensor):
            return self._upscale_tensor(picture)
        raise UsageError(f"Expected a Picture, a NumPy array or a torch tensor, got {type(picture).__name__}.")

    def upscale_file(self, path: Path, output: Path, *, on_tile: TileDone | None = None) -> Outcome:
        """Enlarge a picture file into another, in memory that does not grow with the picture.

        The output appears whole or not at all. Raises PictureError, LimitError, OutOfMemoryError, NonFiniteError.
        """
        began = time.monotonic()
        with self._reader(path) as reader:
            least, greatest = reader.survey()
            job = _Job(self, reader, output, flat_alpha=_flat_alpha(least, greatest, reader.info.has_alpha))
            job.check(output)
            tried, count = self._with_smaller_tiles(lambda tile: job.run(tile, on_tile), reader.info)
            pixels = max(count.color_pixels, 1)
            locked = self.settings.color_lock
            return Outcome(
                forecast=job.forecast(tried[-1]),
                engine=self._engine.name,
                precision=self._engine.precision,
                tiles=count.tiles,
                tiles_retried=count.retried,
                tiles_tried=tried,
                seconds=time.monotonic() - began,
                color_space=job.color_space,
                color_error_before=count.color_error_before / pixels if locked else None,
                color_error_after=count.color_error_after / pixels if locked else None,
                notes=(*reader.info.notes, *job.notes, *self._notes(count, tried)),
            )

    def forecast(self, path: Path, output: Path) -> Forecast:
        """What `upscale_file` would make and take; the same limits raise the same errors."""
        with self._reader(path) as reader:
            job = _Job(self, reader, output, flat_alpha=None)
            job.check(output)
            return job.forecast(self.first_tile)

    def has_visible_alpha(self, path: Path) -> bool:
        """Whether a picture has alpha that is not opaque everywhere."""
        with self._reader(path) as reader:
            if not reader.info.has_alpha:
                return False
            least, _ = reader.survey()
            return int(least[-1]) != np.iinfo(reader.info.dtype).max

    def seconds_per_tile(self, tile: int) -> float:
        """Time one tile of this size on this machine, after one to warm up."""
        import torch

        config = self.generator.config
        example = torch.rand(1, config.in_channels, tile, tile, generator=torch.Generator().manual_seed(0))
        self._engine.run(example)
        began = time.monotonic()
        self._engine.run(example)
        return (time.monotonic() - began) * (8 if self.settings.tta else 1)

    def plan(self, *, tile: int, **changes: Any) -> MosaicPlan:
        """The plan for tiles of this size under the settings in force."""
        settings, config = self.settings, self.generator.config
        overlap = default_overlap(config) if settings.overlap is None else settings.overlap
        if settings.color_lock and settings.overlap is None:
            overlap = max(overlap, CONTEXT)
        if tile and 2 * overlap >= tile:
            overlap = tile // 4
        return MosaicPlan(
            scale=config.scale,
            multiple=config.multiple,
            network_channels=config.in_channels,
            tile=tile,
            overlap=overlap,
            flat_lock=settings.flat_lock,
            color_lock=settings.color_lock,
            ensemble=settings.tta,
            **changes,
        )

    @property
    def first_tile(self) -> int:
        """The tile size to begin with: what was asked for, or the largest up to 256 that memory allows."""
        if self.settings.tile is not None:
            return self.settings.tile
        affordable = int((available_memory_bytes() * _SHARE_OF_MEMORY / self._engine.bytes_per_pixel) ** 0.5)
        return max(SMALLEST_TILE, min(DEFAULT_TILE, affordable // 8 * 8))

    def _reader(self, path: Path) -> PictureReader:
        settings = self.settings
        return PictureReader(path, frames=settings.frames, random=settings.seamless, limits=settings.limits)

    def _with_smaller_tiles(self, run: Callable[[int], MosaicCount], size: Any) -> tuple[tuple[int, ...], MosaicCount]:
        """Run with the chosen tile; when memory runs out, from the start again with half of it, down to 32."""
        tile = self.first_tile
        tried: tuple[int, ...] = ()
        while True:
            tried = (*tried, tile)
            try:
                return tried, run(tile)
            except (OutOfMemoryError, MemoryError):
                whole = max(size.height, size.width)
                smaller = min(tile or whole, whole) // 2 // 8 * 8
                if (tile or whole) <= SMALLEST_TILE or whole <= SMALLEST_TILE:
                    sizes = ", ".join(str(each or "one piece") for each in tried)
                    raise OutOfMemoryError(
                        f"Memory ran out on a picture of {size.width}x{size.height} with tiles of {sizes} pixels."
                        " Close other programs, or use a smaller model such as realesr-animevideov3."
                    ) from None
                tile = max(SMALLEST_TILE, smaller)

    def _notes(self, count: MosaicCount, tried: tuple[int, ...]) -> Iterator[str]:
        if count.retried:
            plural = "tile was" if count.retried == 1 else "tiles were"
            yield f"{count.retried} {plural} not finite or black in {self._engine.precision} and run again in fp32."
        if len(tried) > 1:
            yield f"Memory ran out with tiles of {', '.join(map(str, tried[:-1]))}; {tried[-1]} fitted."

    def _upscale_array(self, array: np.ndarray) -> np.ndarray:
        if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= 4) or 0 in array.shape:
            raise UsageError(f"An array of shape {array.shape} is no picture: expected (H, W) or (H, W, 1 to 4).")
        if array.dtype.kind == "f":
            if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
                raise UsageError("A float array must be finite and within [0, 1].")
            pixels = np.rint(array.astype(np.float64) * 65_535).astype(np.uint16)
            return (self._upscale_array(pixels) / np.float64(65_535)).astype(array.dtype)
        if array.dtype != np.uint8 and array.dtype != np.uint16:
            raise UsageError(f"An array of {array.dtype} is no picture: expected uint8, uint16 or float in [0, 1].")
        pixels = array[:, :, None] if array.ndim == 2 else array
        height, width, channels = pixels.shape
        has_alpha = channels in (2, 4)
        alpha = pixels[..., -1]
        flat = int(alpha.flat[0]) if has_alpha and alpha.min() == alpha.max() else None
        target = self.target_size(height, width)
        native = (height * self.scale, width * self.scale)

        def run(tile: int) -> MosaicCount:
            count = MosaicCount()
            plan = self.plan(tile=tile, alpha=self.alpha_mode(has_alpha), flat_alpha=flat)
            rows = self.finished_rows(ArrayRows(pixels), plan, count, bleed=has_alpha and flat is None)
            parts[:] = list(rows)
            return count

        parts: list[Pixels] = []
        self._with_smaller_tiles(run, _Size(height, width))
        result = np.concatenate(parts)
        if target != native:
            result = _resized(result, target)
        return result[..., 0] if array.ndim == 2 else result

    def _upscale_tensor(self, tensor: Tensor) -> Tensor:
        import torch

        if tensor.ndim == 4:
            return torch.stack([self._upscale_tensor(each) for each in tensor])
        if tensor.ndim != 3 or not tensor.is_floating_point():
            raise UsageError(
                f"A tensor {tuple(tensor.shape)} of {tensor.dtype} is no picture: expected float (C, H, W)."
            )
        array = tensor.detach().to("cpu", torch.float32).permute(1, 2, 0).numpy()
        result = self._upscale_array(array)
        return torch.from_numpy(result).permute(2, 0, 1).to(tensor.device, tensor.dtype)

    def alpha_mode(self, has_alpha: bool) -> Any:
        """How alpha is enlarged, or None when there is none (a flat alpha is not enlarged but written)."""
        if not has_alpha:
            return None
        return "model" if self.settings.alpha == "auto" else self.settings.alpha

    def target_size(self, height: int, width: int) -> tuple[int, int]:
        """The (H, W) of the output for an input of this size."""
        outscale = self.settings.outscale or OutScale(factor=self.scale)
        return outscale.size(height=height, width=width)

    def finished_rows(
        self, source: RowSource, plan: MosaicPlan, count: MosaicCount, *, bleed: bool
    ) -> Iterator[Pixels]:
        """Finished rows of one picture (or frame), seamless if asked for."""
        height, width, scale = source.height, source.width, plan.scale
        margin = 0
        if self.settings.seamless:
            margin = max(plan.overlap, default_overlap(self.generator.config))
            margin = -(-margin // plan.multiple) * plan.multiple
            source = WrappedRows(source, margin)
        rows = mosaic(BledRows(source) if bleed else source, self._engine, plan, count)
        if not margin:
            yield from rows
            return
        row = 0
        for band in rows:
            first, last = max(0, margin * scale - row), min(len(band), (margin + height) * scale - row)
            row += len(band)
            if first < last:
                yield band[first:last, margin * scale : (margin + width) * scale]


@dataclass(frozen=True)
class _Size:
    height: int
    width: int


class _Job:
    """One file on its way into another: what is decided about it once, and the run itself."""

    def __init__(self, upscaler: Upscaler, reader: PictureReader, output: Path, *, flat_alpha: int | None) -> None:
        self._upscaler = upscaler
        self._reader = reader
        self._output = output
        self._flat_alpha = flat_alpha
        info = reader.info
        form = format_of_name(output)
        if form is None:
            raise UsageError(f"{output}: {output.suffix or 'a name without extension'} is no format to write.")
        self._form: Format = form
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
        if info.frames > 1 and not form.animated:
            yield f"{form.name} is no animation: only the first of {info.frames} frames was written."
        channels = info.channels if self._keeps_alpha else info.channels - info.has_alpha
        if leaves_its_profile(form, metadata, channels):
            self.color_space = "sRGB" if channels > 2 else "sRGB gray"
            yield f"{form.name} cannot carry the profile: colours were converted to {self.color_space}."
            metadata = metadata.without_icc()
        for kind in lost_in(metadata, form.name):
            yield f"{form.name} cannot carry {kind}."

    def check(self, output: Path) -> None:
        """Raise LimitError when the output would be larger than allowed, than its format holds or than the disk."""
        forecast = self.forecast(SMALLEST_TILE)
        pixels = forecast.out_height * forecast.out_width * forecast.frames
        limit = self._upscaler.settings.limits.output_pixels
        native = forecast.height * forecast.width * self._upscaler.scale**2
        if limit is not None and max(pixels, native) > limit:
            raise LimitError(
                f"{self._reader.path}: would become {forecast.out_width}x{forecast.out_height}"
                f" ({max(pixels, native) / 1e6:,.0f} megapixels on the way), and at most {limit / 1e6:,.0f} are made;"
                f" --max-output-pixels {max(pixels, native)} allows it."
            )
        check_size(output, self._form, self._shape())
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(_existing(output.parent)).free
            if free < forecast.file_bytes:
                raise LimitError(
                    f"{output}: may need {forecast.file_bytes / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free in"
                    f" {output.parent}; free some space or choose another folder with -o."
                )

    def _shape(self) -> PictureShape:
        info, upscaler = self._reader.info, self._upscaler
        scale = upscaler.scale
        height, width = upscaler.target_size(info.height, info.width)
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
        )

    def forecast(self, tile: int) -> Forecast:
        """What the run will make and take with tiles of this size."""
        info, upscaler = self._reader.info, self._upscaler
        plan = upscaler.plan(tile=tile)
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
            tile=max(rows.tile, columns.tile),
            overlap=plan.overlap,
            memory_bytes=_PROCESS_BYTES
            + rows.tile * columns.tile * upscaler.engine.bytes_per_pixel
            + 2 * band
            + (samples * shape.dtype.itemsize if self._form.whole_in_memory else 0),
            file_bytes=int(samples * self._form.bytes_per_sample * (self._depth // 8)) + 2**16,
        )

    def run(self, tile: int, on_tile: TileDone | None) -> MosaicCount:
        """One attempt with tiles of this size, from the first row to the file in its place."""
        upscaler, reader = self._upscaler, self._reader
        reader.rewind()
        info, shape = reader.info, self._shape()
        has_alpha = info.has_alpha
        plan = upscaler.plan(
            tile=tile,
            dtype=shape.dtype,
            spill_folder=self._output.parent,
            alpha=upscaler.alpha_mode(has_alpha),
            flat_alpha=self._flat_alpha,
        )
        count = MosaicCount()
        total = self.forecast(tile).tiles
        if on_tile is not None:
            count.on_tile = lambda done, pixels: on_tile(done, total, pixels)
        with PictureWriter(self._output, shape, metadata=reader.metadata, quality=upscaler.settings.quality) as writer:
            for frame in range(self._frames):
                source = FrameRows(reader, info.height, frame)
                for rows in upscaler.finished_rows(source, plan, count, bleed=has_alpha and self._flat_alpha is None):
                    writer.write_rows(rows if self._keeps_alpha or not has_alpha else laid_on_white(rows))
            writer.finish()
        return count


def upscale(picture: Any, model: str | os.PathLike[str] | LoadedGenerator = DEFAULT_MODEL, **settings: Any) -> Any:
    """Enlarge one picture: Picture, NumPy array or torch tensor in, the same kind out (see `Upscaler.upscale`).

    `settings` are fields of `Settings`: outscale, precision, tile, overlap, alpha, color_lock, seamless, tta ... For
    many pictures make one `Upscaler` and keep it. Raises TesseraError's children with a sentence.
    """
    with Upscaler(model, **settings) as upscaler:
        return upscaler.upscale(picture)


def default_overlap(config: GeneratorConfig) -> int:
    """Context on each side of a tile in input pixels, from the table that benchmarks/overlap.py measures.

    Compact networks get all but the last two pixels of their reach, which leaves at most 1 level of 255 to the untiled
    result; the reach of RRDB networks (94 to 349) is out of proportion, and docs/upscale.md gives what 24 leaves.
    """
    return max(0, config.receptive_radius - 2) if config.receptive_radius <= 64 else 24


def available_memory_bytes() -> int:
    """Memory that can be taken now: the system's, or what the control group of a container leaves."""
    available = _FALLBACK_MEMORY_BYTES
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        available = min(available, limit - used)
    return max(available, 2**26)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there already."""
    return next((place for place in (folder, *folder.parents) if place.exists()), folder)


def _flat_alpha(least: Pixels, greatest: Pixels, has_alpha: bool) -> int | None:
    return int(least[-1]) if has_alpha and least[-1] == greatest[-1] else None


def _changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    known = {field.name for field in dataclasses.fields(Settings)}
    unknown = set(changes) - known
    if unknown:
        raise UsageError(f"{', '.join(sorted(unknown))}: no such setting; there are {', '.join(sorted(known))}.")
    outscale = changes.get("outscale")
    if isinstance(outscale, str | int | float):
        changes = {**changes, "outscale": OutScale.parse(outscale)}
    return dataclasses.replace(settings, **changes)


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Lanczos to (H, W), on premultiplied colours when there is alpha."""
    import torch

    from tessera.resize import resize

    full = float(np.iinfo(pixels.dtype).max)
    image = torch.from_numpy(pixels.astype(np.float32) / np.float32(full)).permute(2, 0, 1)[None]
    has_alpha = pixels.shape[2] in (2, 4)
    if has_alpha:
        image = torch.cat((image[:, :-1] * image[:, -1:], image[:, -1:]), dim=1)
    image = resize(image, size=size, kernel="lanczos3")
    if has_alpha:
        alpha = image[:, -1:].clamp(0, 1)
        image = torch.cat((torch.where(alpha > 0, image[:, :-1] / alpha.clamp(min=1e-6), image[:, :-1]), alpha), dim=1)
    return np.rint(image[0].permute(1, 2, 0).clamp(0, 1).numpy() * full).astype(pixels.dtype)
