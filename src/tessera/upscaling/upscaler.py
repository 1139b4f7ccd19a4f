"""A picture in, a better picture out: the door to everything below, for pictures in memory and in files.

`Upscaler` holds a network and an engine and can be used for many pictures, from several threads. Shapes: B pictures,
C channels, H height, W width, s the factor.
"""

from __future__ import annotations

import dataclasses
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, TypeVar, Unpack

import numpy as np
import numpy.typing as npt

from tessera.engines.engine import Engine, Precision, Tiles
from tessera.engines.opening import EngineName
from tessera.errors import LimitError, UsageError
from tessera.images.picture import Picture
from tessera.images.picture_format import Limits
from tessera.images.pixels import Pixels
from tessera.images.reader import PictureReader
from tessera.images.resample import resample_array
from tessera.planning import UNANNOUNCED_PIXELS
from tessera.planning.handling import handling_seconds_per_megapixel
from tessera.planning.preparing import Ready, open_named, prepare
from tessera.tiling.enlarger import Enlarger
from tessera.tiling.mosaic import MosaicCount
from tessera.tiling.rows import ArrayRows
from tessera.tiling.settings import SMALLEST_TILE, OutScale, Settings
from tessera.upscaling.filejob import FileJob, Forecast, Outcome, TileDone
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.zoo.models import DEFAULT_MODEL, load_model

if TYPE_CHECKING:
    from torch import Tensor


AnyPicture = TypeVar("AnyPicture")
"""Picture, NumPy array or torch tensor: what comes in is what goes out."""


class Changes(TypedDict, total=False):
    """The fields of `Settings` as keywords (less `engine`); `outscale` also as "1920x" or a factor."""

    outscale: OutScale | str | float | None
    precision: Precision
    device: str
    threads: int | None
    tile: int | None
    overlap: int | None
    alpha: Literal["auto", "model", "lanczos"]
    flat_lock: bool
    color_lock: bool
    seamless: bool
    tta: bool
    frames: bool
    quality: int | None
    limits: Limits


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
        **changes: Unpack[Changes],
    ) -> None:
        self.settings = _changed(settings or Settings(), changes)
        if isinstance(engine, str):
            self.settings = dataclasses.replace(self.settings, engine=engine)
            engine = None
        self.generator = model if isinstance(model, LoadedGenerator) else load_model(model, offline=offline)
        config = self.generator.config
        if config.in_channels not in (1, 3) or config.in_channels != config.out_channels:
            raise UsageError(
                f"{self.generator.name}: takes {config.in_channels} channels and gives {config.out_channels}; networks"
                " from 3 to 3 (RGB) or from 1 to 1 (gray) can be used here."
            )
        self._lock = threading.Lock()
        self._ready: Ready | None = None
        self._timed_tiles: dict[int, float] = {}
        self._handling: float | None = None
        self._job_pixels = UNANNOUNCED_PIXELS
        self._on_plan: Callable[[float], None] | None = None
        if engine is not None:
            enlarger = Enlarger(generator=self.generator, engine=engine, settings=self.settings)
            self._ready = Ready(enlarger=enlarger, planned=False)
        # What the user names is opened now, so that he hears at once if it cannot be had.
        named = engine is None and (self.settings.engine != "auto" or self.settings.device != "cpu")
        self._named = open_named(self.generator, self.settings) if named else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing needs closing today; engines with resources of their own let go of them here."""

    @property
    def engine(self) -> Engine:
        """What runs the network; chosen when it is first needed."""
        return self._enlarger.engine

    @property
    def _enlarger(self) -> Enlarger:
        return self._prepared().enlarger

    def expect(self, pixels: int, *, on_plan: Callable[[float], None] | None = None) -> None:
        """Announce how many input pixels there are to do, before the first is done: it decides about the engine.

        `on_plan` is called when that was decided, with the seconds that the network is expected to take for all of
        them; not where nothing was measured.
        """
        self._job_pixels = max(pixels, 1)
        self._on_plan = on_plan

    def plan_lines(self) -> tuple[str, ...]:
        """What was chosen to run the network, and what was measured, in words."""
        return self._prepared().lines

    def _prepared(self) -> Ready:
        with self._lock:
            if self._ready is None:
                self._ready = prepare(self.generator, self.settings, self._job_pixels, self._named)
                self._named = None
                choice = self._ready.choice
                if self._on_plan is not None and choice is not None and choice.seconds is not None:
                    self._on_plan(choice.seconds)
            return self._ready

    @property
    def scale(self) -> int:
        """The network's own factor."""
        return self.generator.config.scale

    def upscale(self, picture: AnyPicture) -> AnyPicture:
        """Enlarge a picture in memory and give back the same kind of thing.

        NumPy (H, W) or (H, W, C), uint8, uint16 or float in [0, 1] -> (s*H, s*W[, C]), same type; torch (C, H, W)
        or (B, C, H, W) float in [0, 1] -> the same with s*H, s*W, same dtype and device; Picture -> Picture. C is 1
        (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha). Floats are worked on in 16 bits. Raises UsageError.
        """
        given: Any = picture
        if isinstance(given, Picture):
            result: Any = given.with_pixels(self._upscale_array(given.pixels))
        elif isinstance(given, np.ndarray):
            result = self._upscale_array(given)
        elif isinstance(given, str | os.PathLike):
            raise UsageError(
                "A path is no picture: upscale(tessera.read_picture(path)) works in memory, and"
                " Upscaler().upscale_file(path, output) from file to file."
            )
        else:
            result = self._upscale_tensor(given)
        return result

    def upscale_file(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        on_ready: Callable[[], None] | None = None,
        on_tile: TileDone | None = None,
    ) -> Outcome:
        """Enlarge a picture file into another, in memory that does not grow with the picture.

        The output appears whole or not at all. `on_ready` is called when the picture was looked through and nothing
        but the network's work is left, `on_tile` after each tile; what they raise ends the work. Raises PictureError,
        LimitError, OutOfMemoryError, NonFiniteError.
        """
        path, output = Path(path), Path(output)
        with self._reader(path) as reader:
            job = FileJob(self._enlarger, reader, output, survey=True)
            job.check()
            if on_ready is not None:
                on_ready()
            return job.enlarge(on_tile)

    def forecast(self, path: Path, output: Path) -> Forecast:
        """What `upscale_file` would make and take; the same limits raise the same errors."""
        with self._reader(path) as reader:
            enlarger = self._enlarger
            job = FileJob(enlarger, reader, output, survey=False)
            job.check()
            return job.forecast(enlarger.first_tile(reader.info.height, reader.info.width))

    def has_visible_alpha(self, path: Path) -> bool:
        """Whether a picture has alpha that is not opaque everywhere."""
        with self._reader(path) as reader:
            if not reader.info.has_alpha:
                return False
            least, _ = reader.measure_ranges()
            return int(least[-1]) != np.iinfo(reader.info.dtype).max

    def opening_seconds(self) -> float:
        """Get ready once more, as the next process will with what is kept by then, and time it up to the first tile."""
        if not self._prepared().planned:
            return 0.0
        began = time.perf_counter()
        engine = prepare(self.generator, self.settings, self._job_pixels).enlarger.engine
        engine.run(self._noise(SMALLEST_TILE))
        return time.perf_counter() - began

    def network_seconds(self, forecast: Forecast) -> float:
        """What the network is expected to take for a picture, from the plan, or from one tile timed now."""
        ready = self._prepared()
        first = ready.enlarger.first_tile(forecast.height, forecast.width)
        rows, columns = ready.enlarger.plan(first).axes(forecast.height, forecast.width)
        pixels = rows.tile * columns.tile
        turns = forecast.runs * (8 if self.settings.tta else 1)
        if ready.choice is None or not ready.choice.candidate.timings:
            side = min(forecast.tile, 256)
            if side not in self._timed_tiles:
                self._timed_tiles[side] = self._seconds_per_tile(side)
            return self._timed_tiles[side] / side**2 * pixels * turns
        return ready.choice.candidate.seconds_per_megapixel(round(pixels**0.5)) * pixels / 1e6 * turns

    def handling_seconds(self, forecast: Forecast) -> float:
        """What locks, blending and rounding are expected to take of one thread for a picture."""
        if self._handling is None:
            self._handling = handling_seconds_per_megapixel(self._enlarger)
        return self._handling * forecast.height * forecast.width * forecast.frames / 1e6

    def _seconds_per_tile(self, side: int) -> float:
        """Time one tile of this size on this machine, after one to warm up."""
        example = self._noise(side)
        self.engine.run(example)
        began = time.perf_counter()
        self.engine.run(example)
        return time.perf_counter() - began

    def _noise(self, side: int) -> Tiles:
        return np.random.default_rng(0).random((1, self.generator.config.in_channels, side, side), dtype=np.float32)

    def _reader(self, path: Path) -> PictureReader:
        settings = self.settings
        return PictureReader(path, frames=settings.frames, random=settings.seamless, limits=settings.limits)

    def _upscale_array(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
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
        enlarger = self._enlarger
        target = enlarger.target_size(height, width)
        native = (height * self.scale, width * self.scale)
        largest, limit = max(target[0] * target[1], native[0] * native[1]), self.settings.limits.max_output_pixels
        if limit is not None and largest > limit:
            raise LimitError(
                f"An array of {width}x{height} would become {target[1]}x{target[0]}, {largest / 1e6:,.0f} megapixels on"
                f" the way, and at most {limit / 1e6:,.0f} are made; Limits(max_output_pixels={largest}) allows it."
            )

        def run(tile: int) -> MosaicCount:
            count = MosaicCount()
            plan = dataclasses.replace(
                enlarger.plan(tile),
                alpha=enlarger.alpha_mode(has_alpha),
                flat_alpha=flat,
                dtype=np.dtype(np.uint16) if target != native else pixels.dtype,
            )
            rows = enlarger.finished_rows(ArrayRows(pixels), plan, count, bleed=has_alpha and flat is None)
            parts[:] = list(rows)
            return count

        parts: list[Pixels] = []
        enlarger.with_smaller_tiles(run, height=height, width=width)
        result = np.concatenate(parts)
        if target != native:
            result = resample_array(result, target, pixels.dtype, wraps=self.settings.seamless)
        return result[..., 0] if array.ndim == 2 else result

    def _upscale_tensor(self, tensor: Any) -> Tensor:
        import torch

        if not isinstance(tensor, torch.Tensor):
            raise UsageError(f"Expected a Picture, a NumPy array or a torch tensor, got {type(tensor).__name__}.")
        if tensor.ndim == 4:
            return torch.stack([self._upscale_tensor(each) for each in tensor])
        if tensor.ndim != 3 or not tensor.is_floating_point():
            raise UsageError(
                f"A tensor {tuple(tensor.shape)} of {tensor.dtype} is no picture: expected float (C, H, W)."
            )
        array = tensor.detach().to("cpu", torch.float32).permute(1, 2, 0).numpy()
        result = self._upscale_array(array)
        return torch.from_numpy(result).permute(2, 0, 1).to(tensor.device, tensor.dtype)


def upscale(
    picture: AnyPicture,
    model: str | os.PathLike[str] | LoadedGenerator = DEFAULT_MODEL,
    *,
    engine: Engine | EngineName | None = None,
    offline: bool = False,
    **settings: Unpack[Changes],
) -> AnyPicture:
    """Enlarge one picture: Picture, NumPy array or torch tensor in, the same kind out (see `Upscaler.upscale`).

    `settings` are fields of `Settings`: outscale, precision, tile, overlap, alpha, color_lock, seamless, tta ... For
    many pictures make one `Upscaler` and keep it. Raises TesseraError's children with a sentence.
    """
    with Upscaler(model, engine=engine, offline=offline, **settings) as upscaler:
        upscaler.expect(_pixels_of(picture))
        return upscaler.upscale(picture)


def _pixels_of(picture: Any) -> int:
    """Pixels of whatever may be given to be enlarged; 1 of what is no picture."""
    pixels: Any = picture.pixels if isinstance(picture, Picture) else picture
    shape = tuple(getattr(pixels, "shape", ()))
    return math.prod(shape[:2] if isinstance(pixels, np.ndarray) else (*shape[-2:], *shape[:-3]))


def _changed(settings: Settings, changes: Changes) -> Settings:
    known = {field.name for field in dataclasses.fields(Settings)}
    values: dict[str, Any] = dict(changes)
    unknown = set(values) - known
    if unknown:
        raise UsageError(f"{', '.join(sorted(unknown))}: no such setting; there are {', '.join(sorted(known))}.")
    if isinstance(outscale := values.get("outscale"), str | int | float):
        values["outscale"] = OutScale.parse(outscale)
    return dataclasses.replace(settings, **values)
