"""A generator, an engine and the user's settings combined: rows in, upscaled rows out.

Shared by pictures in memory and pictures in files: the choice of tiles, the treatment of alpha, the retry when memory
runs out. Shapes: H and W a picture, s the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tessera.engines.engine import Batching, Engine, OnDevice, Recoverable
from tessera.errors import DeviceLostError, OutOfMemoryError
from tessera.generators import GeneratorConfig, find_generator
from tessera.images.pixels import Pixels
from tessera.machine import available_memory_bytes
from tessera.memory_errors import advise_on_memory
from tessera.tiling.fidelity import CONTEXT
from tessera.tiling.mosaic import AlphaMethod, MosaicCount, MosaicPlan, mosaic
from tessera.tiling.rows import BledRows, RowSource, WrappedRows
from tessera.tiling.settings import SMALLEST_TILE, Settings
from tessera.weights.loaded_generator import LoadedGenerator

DEFAULT_TILE = 256
LARGEST_PIECE = 512
"""Pictures whose longer side is at most this are not cut when memory allows it."""
_SHARE_OF_MEMORY = 0.4
_MOST_COMPACT_RADIUS = 64
_OVERLAP_OF_DEEP_NETWORKS = 24
_COMPACT_MODEL = "realesr-animevideov3"


@dataclass(frozen=True, kw_only=True)
class PictureTraits:
    """Properties of one picture that its plan depends on, and where its rows go."""

    has_alpha: bool = False
    flat_alpha: int | None = None
    """The value of alpha when it is the same everywhere: it is then written, not computed."""
    as_gray: bool = False
    """Whether it is stored as RGB but holds no color, and its color noise is not kept."""
    dtype: np.dtype[np.unsignedinteger] | None = None
    """Type of the finished rows; None keeps the input's."""
    spill_folder: Path | None = None
    """Folder for bands too wide for memory; None keeps them in memory."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Upscales rows with one generator, engine and settings, wherever they come from and go to."""

    generator: LoadedGenerator
    engine: Engine
    settings: Settings
    best_tile: int = DEFAULT_TILE
    """Measured best tile size in input pixels, used where the settings name none and memory allows it."""

    @property
    def scale(self) -> int:
        """The network's own factor."""
        return self.generator.config.scale

    def choose_first_tile(self, height: int, width: int) -> int:
        """The tile size to start with for a picture: the requested one, or the best one that fits in memory.

        On the CPU, a picture little larger than the best tile is processed in one piece, which saves its seams; on a
        GPU, the best tile is also what its driver allows at a time.
        """
        if self.settings.tile is not None:
            return self.settings.tile
        engine = self.engine
        on_gpu = engine.free_memory_bytes() if isinstance(engine, OnDevice | Recoverable) else None
        free = available_memory_bytes() if on_gpu is None else on_gpu
        affordable = int((free * _SHARE_OF_MEMORY / engine.bytes_per_pixel) ** 0.5) // 8 * 8
        whole = -(-max(height, width) // 8) * 8
        largest = self.best_tile if on_gpu is not None else min(LARGEST_PIECE, 2 * self.best_tile)
        best = max(self.best_tile, whole) if whole <= largest else self.best_tile
        return max(SMALLEST_TILE, min(best, affordable))

    def plan(self, tile: int, subject: PictureTraits | None = None) -> MosaicPlan:
        """The one plan for a picture in tiles of this size; an overlap too large for small tiles is reduced."""
        settings, config = self.settings, self.generator.config
        subject = subject or PictureTraits()
        overlap = choose_overlap(config, settings)
        if tile and (settings.overlap is None or 2 * overlap >= tile):
            overlap = min(overlap, tile * 3 // 8)
        return MosaicPlan(
            scale=config.scale,
            multiple=config.multiple,
            network_channels=config.in_channels,
            tile=tile,
            overlap=overlap,
            dtype=subject.dtype,
            spill_folder=subject.spill_folder,
            alpha=choose_alpha_method(settings) if subject.has_alpha else None,
            flat_alpha=subject.flat_alpha,
            as_gray=subject.as_gray,
            flat_lock=settings.flat_lock,
            color_lock=settings.color_lock,
            batch=self.engine.tiles_at_once(tile**2) if tile and isinstance(self.engine, Batching) else 1,
            ensemble=settings.tta,
        )

    def upscale_rows(
        self, source: RowSource, plan: MosaicPlan, count: MosaicCount, *, rows_beyond: int = 0
    ) -> Iterator[Pixels]:
        """Upscale one picture or frame: rows of (h, W, C) in, rows of (s*h, s*W, C) out, from the top down.

        For a seamless picture, `rows_beyond` finished rows of the opposite end come before the first and after the
        last.
        """
        height, width, scale = source.height, source.width, plan.scale
        if not self.settings.seamless:
            yield from mosaic(BledRows(source) if plan.bleeds else source, self.engine, plan, count)
            return
        margin = max(plan.overlap, default_overlap(self.generator.config), -(-rows_beyond // scale))
        margin = -(-margin // plan.multiple) * plan.multiple
        source = WrappedRows(source, margin)
        first_row, last_row = margin * scale - rows_beyond, (margin + height) * scale + rows_beyond
        row = 0
        for band in mosaic(BledRows(source) if plan.bleeds else source, self.engine, plan, count):
            first, last = max(0, first_row - row), min(len(band), last_row - row)
            row += len(band)
            if first < last:
                yield band[first:last, margin * scale : (margin + width) * scale]

    def retry_with_smaller_tiles(
        self, run: Callable[[int], MosaicCount], *, height: int, width: int
    ) -> tuple[tuple[int, ...], MosaicCount]:
        """Run with the chosen tile size; when memory runs out or a GPU is lost, restart with half of it, down to 32.

        -> the tile sizes tried, and the counts of the last run. Raises OutOfMemoryError when none fits, DeviceLostError
        when the GPU does not come back.
        """
        tile, whole = self.choose_first_tile(height, width), max(height, width)
        tried: list[int] = []
        while True:
            tried.append(tile)
            try:
                return tuple(tried), run(tile)
            except (OutOfMemoryError, MemoryError, DeviceLostError) as error:
                is_smallest = (tile or whole) <= SMALLEST_TILE or whole <= SMALLEST_TILE
                if is_smallest or isinstance(error, DeviceLostError):
                    on_cpu = self._recover(error, is_smallest, tried, height, width)
                    if on_cpu:
                        tile = self.choose_first_tile(height, width)
                        continue
                tile = max(SMALLEST_TILE, min(tile or whole, whole) // 2 // 8 * 8)

    def _recover(self, error: BaseException, is_smallest: bool, tried: Sequence[int], height: int, width: int) -> bool:
        """Get the engine ready for another attempt -> whether the CPU took over; raises the error if there is none."""
        if isinstance(self.engine, Recoverable) and self.engine.recover(error, is_smallest=is_smallest):
            return self.engine.free_memory_bytes() is None
        if isinstance(error, DeviceLostError):
            raise error
        sizes = ", ".join(str(each or "one piece") for each in tried)
        raise OutOfMemoryError(
            f"Out of memory on a picture of {width}x{height} with tiles of {sizes} pixels."
            f" {self._advise(height, width)}."
        ) from None

    def _advise(self, height: int, width: int) -> str:
        """What needs less memory: a smaller output if it is larger than the network's own, another network if not."""
        advice = advise_on_memory()
        advice = advice[0].upper() + advice[1:]
        out_height, _ = self.settings.output_size(height=height, width=width, scale=self.scale)
        if out_height > height * self.scale:
            return f"{advice}, or use a smaller `outscale` than {self.settings.outscale}"
        config = self.generator.config
        if find_generator(config) is None or config.layers.is_chain:
            return advice
        return f"{advice}, or use a smaller model such as {_COMPACT_MODEL}"

    def notes(self, count: MosaicCount, tried: Sequence[int]) -> Iterator[str]:
        """What the user should know about a run that succeeded."""
        if count.retried:
            plural = "tile was" if count.retried == 1 else "tiles were"
            yield f"{count.retried} {plural} not finite or black in {self.engine.precision} and run again in fp32."
        if isinstance(self.engine, Recoverable) and self.engine.notes:
            yield from self.engine.notes
        elif len(tried) > 1:
            yield f"Out of memory with tiles of {', '.join(map(str, tried[:-1]))}; {tried[-1]} fit."
        overlap, wanted = self.plan(tried[-1]).overlap, choose_overlap(self.generator.config, self.settings)
        if count.tiles > 1 and overlap < wanted:
            yield (
                f"Tiles of {tried[-1]} allow an overlap of {overlap} pixels; this model needs a {wanted}-pixel overlap"
                " to avoid visible seams."
            )


def choose_alpha_method(settings: Settings) -> AlphaMethod:
    """How transparency is upscaled: with the network unless the settings say otherwise."""
    return "model" if settings.alpha == "auto" else settings.alpha


def choose_overlap(config: GeneratorConfig, settings: Settings) -> int:
    """Context on each side of a tile in input pixels: as set, or as measured for the network."""
    if settings.overlap is not None:
        return settings.overlap
    measured = default_overlap(config)
    return max(measured, CONTEXT) if settings.color_lock else measured


def default_overlap(config: GeneratorConfig) -> int:
    """Context on each side of a tile in input pixels, from the table that benchmarks/overlap.py measures.

    Compact networks get their receptive field less two pixels, which leaves at most 1 level of 255 to the untiled
    result. The receptive field of RRDB networks (94 to 349 pixels) would cost too much; docs/explanation/tiles.md
    has the error that an overlap of 24 leaves.
    """
    return (
        max(0, config.receptive_radius - 2)
        if config.receptive_radius <= _MOST_COMPACT_RADIUS
        else _OVERLAP_OF_DEEP_NETWORKS
    )
