"""Entry point for upscaling pictures in memory and in files.

`Upscaler` holds a network and an engine and can be used for many pictures, from several threads. Shapes: B pictures,
C channels, H height, W width, s the factor.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import numpy as np

from tessera.engines.devices import look_ahead, name_one
from tessera.engines.engine import Engine
from tessera.engines.opening import EngineName, check_engine
from tessera.errors import UsageError
from tessera.images.picture import Picture
from tessera.planning import UNANNOUNCED_PIXELS
from tessera.planning.preparing import RUNS_OF_AN_ENSEMBLE, Ready, prepare
from tessera.tiling.pipeline import Pipeline
from tessera.tiling.settings import Changes, Settings, change_settings
from tessera.upscaling.arrays import count_pixels, upscale_array, upscale_tensor
from tessera.upscaling.filejob import FileJob, FileWritten, Forecast, Outcome, TileDone
from tessera.upscaling.pace import Pace
from tessera.upscaling.source import Source
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.zoo.models import DEFAULT_MODEL, load_model

AnyPicture = TypeVar("AnyPicture")
"""Picture, NumPy array or torch tensor: the result has the type of the input."""


class Upscaler:
    """A network ready to upscale pictures: reusable, safe to share between threads, a context manager.

    The engine is chosen and opened when the first picture needs it; by default the fastest one on this machine, which
    is measured once per network and cached.

    Args:
        model: A model name (`tessera models list`), a weights file, a blend such as
            "A.safetensors@0.2+B.safetensors@0.8", or a `LoadedGenerator`.
        settings: All settings at once; the keywords below replace single fields.
        engine: A name such as "pytorch", or an engine of your own (an object with the methods of
            `tessera.engines.engine.Engine`).
        offline: Never download weights.
        **changes: Fields of `Settings`, such as `tile=256` or `outscale="1920x"`.

    Raises:
        UsageError: An invalid setting, or a network whose channels are not 1 to 1 or 3 to 3.
        EngineError: The named engine does not support the device.
        ModelNotFoundError: Unknown model, or its weights are unavailable.
        WeightsError: The weights file cannot be used.
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
        self.settings = change_settings(settings or Settings(), changes)
        if isinstance(engine, str):
            self.settings = dataclasses.replace(self.settings, engine=engine)
            engine = None
        if engine is None and self.settings.engine in ("auto", "ncnn", "pytorch"):
            look_ahead(self.settings.device)
        self.generator = model if isinstance(model, LoadedGenerator) else load_model(model, offline=offline)
        config = self.generator.config
        if config.in_channels not in (1, 3) or config.in_channels != config.out_channels:
            raise UsageError(
                f"{self.generator.name}: takes {config.in_channels} channels and returns {config.out_channels};"
                " expected 3 and 3 (RGB), or 1 and 1 (gray)."
            )
        self._lock = threading.Lock()
        self.job_pixels = UNANNOUNCED_PIXELS
        """Input pixels that the plan is made for."""
        self._is_announced = False
        self._on_plan: Callable[[Ready], None] | None = None
        self._ready: Ready | None = None
        if engine is not None:
            pipeline = Pipeline(generator=self.generator, engine=engine, settings=self.settings)
            self._ready = Ready(pipeline=pipeline, planned=False)
        else:
            check_engine(self.generator, self.settings.engine, name_one(self.settings.device))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the engine's resources. No engine holds any today."""

    @property
    def scale(self) -> int:
        """The network's own factor."""
        return self.generator.config.scale

    @property
    def engine(self) -> Engine:
        """The engine that runs the network; chosen and opened on first use."""
        return self.prepare().pipeline.engine

    @property
    def own_engine(self) -> str:
        """Name and precision of an engine of the user's own, else an empty text."""
        ready = self._ready
        return (
            "" if ready is None or ready.planned else f"{ready.pipeline.engine.name} {ready.pipeline.engine.precision}"
        )

    @property
    def is_announced(self) -> bool:
        """Whether the number of pixels was announced."""
        return self._is_announced

    @property
    def is_prepared(self) -> bool:
        """Whether the engine is open."""
        return self._ready is not None

    def expect(self, pixels: int) -> None:
        """Announce the total of input pixels before the first picture; the choice of the engine depends on it.

        Args:
            pixels: Height times width, summed over all pictures of the job.
        """
        self.job_pixels = max(pixels, 1)
        self._is_announced = True

    def on_plan(self, report: Callable[[Ready], None]) -> None:
        """Ask for a report of the chosen engine.

        Args:
            report: Called once, when the engine was chosen, with the pipeline and the plan behind the choice.
        """
        self._on_plan = report

    def prepare(self) -> Ready:
        """Choose and open the engine, on the first call.

        Returns:
            The pipeline with its open engine, and the plan behind the choice. Later calls return the same object.

        Raises:
            EngineError: The engine or the device cannot run here.
        """
        with self._lock:
            if self._ready is None:
                self._ready = prepare(self.generator, self.settings, self.job_pixels)
                if self._on_plan is not None:
                    self._on_plan(self._ready)
            return self._ready

    def plan_lines(self) -> tuple[str, ...]:
        """Describe the chosen engine and the measurements behind the choice.

        Returns:
            Lines of text; empty for an engine of your own.

        Raises:
            EngineError: The engine or the device cannot run here.
        """
        return self.prepare().lines

    def upscale(self, picture: AnyPicture) -> AnyPicture:
        """Upscale a picture in memory; the result has the type of the input.

        Args:
            picture: NumPy (H, W) or (H, W, C), uint8, uint16 or float in [0, 1]; torch (C, H, W) or (B, C, H, W), float
                in [0, 1]; or a `Picture`. C is 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha).

        Returns:
            The same kind of picture with s*H rows and s*W columns, of the same type, on the same device. Floats are
            processed in 16 bits.

        Raises:
            UsageError: Not a picture: another type, shape or range.
            LimitError: The output would be larger than the limits.
            OutOfMemoryError: Not even the smallest tile fits in memory.
            NonFiniteError: The network returns NaN, infinity or black in fp32.
        """
        given: Any = picture
        if isinstance(given, str | os.PathLike):
            raise UsageError(
                "A path is not a picture. Use upscale(tessera.read_picture(path)) in memory, or"
                " Upscaler().upscale_file(path, output) from file to file."
            )
        if isinstance(given, Picture):
            result: Any = given.with_pixels(upscale_array(given.pixels, self._open_pipeline))
        elif isinstance(given, np.ndarray):
            result = upscale_array(given, self._open_pipeline)
        else:
            result = upscale_tensor(given, self._open_pipeline)
        return result

    def _open_pipeline(self) -> Pipeline:
        return self.prepare().pipeline

    def open_source(self, path: Path) -> Source:
        """Open a picture file with these settings.

        Args:
            path: A picture file; its first bytes decide its format, not its name.

        Returns:
            The open file, for `upscale_file`, `check_job`, `check_limits` and `forecast`; use it in a `with` statement.

        Raises:
            PictureError: The file cannot be read.
            LimitError: It has more pixels than the limits allow.
        """
        return Source(path, self.settings)

    def upscale_file(
        self,
        path: str | os.PathLike[str] | Source,
        output: str | os.PathLike[str],
        *,
        on_ready: Callable[[], None] | None = None,
        on_tile: TileDone | None = None,
        on_written: FileWritten | None = None,
    ) -> Outcome:
        """Upscale a picture file into another, in memory that does not grow with the picture.

        Args:
            path: The input, or a `Source` that `open_source` returned.
            output: The output file; its extension names the format. It appears whole or not at all.
            on_ready: Called when the input is checked, the engine is open and only the network's work is left.
            on_tile: Called after each tile with (tiles done, total tiles, input pixels of this tile). An exception from
                a callback stops the work.
            on_written: Called with the temporary name of the complete output, before it is renamed to its place.

        Returns:
            Sizes, engine, tiles, seconds and notes.

        Raises:
            PictureError: The input cannot be read or the output cannot be written.
            LimitError: Input or output would be larger than the limits, the format or the disk allow.
            EngineError: The engine cannot run here.
            OutOfMemoryError: Not even the smallest tile fits in memory.
            NonFiniteError: The network returns NaN, infinity or black in fp32.
        """
        if not isinstance(path, Source):
            with self.open_source(Path(path)) as source:
                return self.upscale_file(source, output, on_ready=on_ready, on_tile=on_tile, on_written=on_written)
        job = self.check_job(path, Path(output))
        pipeline = self.prepare().pipeline
        if on_ready is not None:
            on_ready()
        pace = Pace(on_tile)
        outcome = job.run(pipeline, pace, on_written)
        rows, columns = pipeline.plan(outcome.tiles_tried[-1]).axes(path.info.height, path.info.width)
        pace.correct(
            self.prepare(),
            side=round((rows.tile * columns.tile) ** 0.5),
            runs=RUNS_OF_AN_ENSEMBLE if self.settings.tta else 1,
        )
        return outcome

    def check_job(self, source: Source, output: Path) -> FileJob:
        """Check the job for one file without opening the engine.

        Args:
            source: The open input (`open_source`).
            output: The output file; its extension names the format.

        Returns:
            The job, with the facts about the input that its plan depends on.

        Raises:
            PictureError: The input cannot be read, or the output cannot be written in this format.
            LimitError: Input or output would be larger than the limits, the format or the disk allow.
        """
        job = FileJob(source, output, self.settings, self.scale)
        job.check()  # limits first: a picture that is refused is not decoded
        job.survey()
        return job

    def check_limits(self, source: Source, output: Path) -> None:
        """Compare the sizes of a picture with the limits, without decoding it.

        Args:
            source: The open input (`open_source`).
            output: The output file; its extension names the format.

        Raises:
            LimitError: Input or output would be larger than the limits, the format or the disk allow.
        """
        FileJob(source, output, self.settings, self.scale).check()

    def forecast(self, path: Path | Source, output: Path) -> Forecast:
        """Estimate work, memory and disk space of `upscale_file`.

        Args:
            path: The input, or a `Source` that `open_source` returned.
            output: The output file; its extension names the format.

        Returns:
            Output size in pixels, tiles, expected seconds, memory and file size in bytes.

        Raises:
            PictureError: The input cannot be read.
            LimitError: Input or output would be larger than the limits, the format or the disk allow.
            EngineError: The engine or the device cannot run here.
        """
        if not isinstance(path, Source):
            with self.open_source(path) as source:
                return self.forecast(source, output)
        job = FileJob(path, output, self.settings, self.scale)
        job.check()
        pipeline = self.prepare().pipeline
        return job.forecast(pipeline, pipeline.choose_first_tile(path.info.height, path.info.width))


def upscale(
    picture: AnyPicture,
    model: str | os.PathLike[str] | LoadedGenerator = DEFAULT_MODEL,
    *,
    engine: Engine | EngineName | None = None,
    offline: bool = False,
    **settings: Unpack[Changes],
) -> AnyPicture:
    """Upscale one picture. For many pictures create one `Upscaler` and reuse it.

    Args:
        picture: Picture, NumPy array or torch tensor, as for `Upscaler.upscale`.
        model: A model name, a weights file, a blend, or a `LoadedGenerator`.
        engine: A name such as "pytorch", or an engine of your own.
        offline: Never download weights.
        **settings: Fields of `Settings`, such as `outscale=2` or `tile=256`.

    Returns:
        The same kind of picture, upscaled.

    Raises:
        TesseraError: The errors of `Upscaler` and of `Upscaler.upscale`.
    """
    with Upscaler(model, engine=engine, offline=offline, **settings) as upscaler:
        upscaler.expect(count_pixels(picture.pixels if isinstance(picture, Picture) else picture))
        return upscaler.upscale(picture)
