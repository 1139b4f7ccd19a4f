"""A generator, an engine and the user's choices brought together: rows in, finished rows out.

What is the same for a picture in memory and for one in a file is here: which tiles, how alpha is done, how large the
result shall be, what happens when memory runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tessera.engines.engine import Batching, Engine
from tessera.errors import OutOfMemoryError
from tessera.generators import GeneratorConfig
from tessera.images.pixels import Pixels
from tessera.machine import available_memory_bytes
from tessera.tiling.fidelity import CONTEXT
from tessera.tiling.mosaic import AlphaMode, MosaicCount, MosaicPlan, mosaic
from tessera.tiling.rows import BledRows, RowSource, WrappedRows
from tessera.tiling.settings import SMALLEST_TILE, OutScale, Settings
from tessera.weights.loaded_generator import LoadedGenerator

DEFAULT_TILE = 256
LARGEST_PIECE = 512
"""Pictures with no longer side are not cut when memory allows it."""
_SHARE_OF_MEMORY = 0.4
_MOST_COMPACT_RADIUS = 64
_OVERLAP_OF_DEEP_NETWORKS = 24


@dataclass(frozen=True, kw_only=True)
class Enlarger:
    """How pictures are enlarged, whatever they come from and go to."""

    generator: LoadedGenerator
    engine: Engine
    settings: Settings
    best_tile: int = DEFAULT_TILE
    """The tile size to begin with where none was asked for and memory allows it, as it was measured."""

    @property
    def scale(self) -> int:
        """The network's own factor."""
        return self.generator.config.scale

    def first_tile(self, height: int, width: int) -> int:
        """The tile size to begin with for a picture: what was asked for, or the best, or what memory allows of it.

        A picture that is little larger than the best tile is taken in one piece, which saves its seams.
        """
        if self.settings.tile is not None:
            return self.settings.tile
        affordable = int((available_memory_bytes() * _SHARE_OF_MEMORY / self.engine.bytes_per_pixel) ** 0.5) // 8 * 8
        whole = -(-max(height, width) // 8) * 8
        best = max(self.best_tile, whole) if whole <= min(LARGEST_PIECE, 2 * self.best_tile) else self.best_tile
        return max(SMALLEST_TILE, min(best, affordable))

    @property
    def wanted_overlap(self) -> int:
        """Context on each side of a tile, as asked for or as measured."""
        return wanted_overlap(self.generator.config, self.settings)

    def plan(self, tile: int) -> MosaicPlan:
        """The plan for tiles of this size; overlaps that would leave a small tile nothing to do are cut."""
        settings, config = self.settings, self.generator.config
        overlap = self.wanted_overlap
        if tile and (settings.overlap is None or 2 * overlap >= tile):
            overlap = min(overlap, tile * 3 // 8)
        return MosaicPlan(
            scale=config.scale,
            multiple=config.multiple,
            network_channels=config.in_channels,
            tile=tile,
            overlap=overlap,
            flat_lock=settings.flat_lock,
            color_lock=settings.color_lock,
            batch=self.engine.tiles_at_once(tile**2) if tile and isinstance(self.engine, Batching) else 1,
            ensemble=settings.tta,
        )

    def alpha_mode(self, has_alpha: bool) -> AlphaMode | None:
        """How alpha is enlarged, or None when there is none (a flat alpha is not enlarged but written)."""
        if not has_alpha:
            return None
        return "model" if self.settings.alpha == "auto" else self.settings.alpha

    def target_size(self, height: int, width: int) -> tuple[int, int]:
        """The (H, W) of the output for an input of this size."""
        outscale = self.settings.outscale or OutScale(factor=self.scale)
        return outscale.size(height=height, width=width)

    def finished_rows(
        self, source: RowSource, plan: MosaicPlan, count: MosaicCount, *, bleed: bool, rows_beyond: int = 0
    ) -> Iterator[Pixels]:
        """Finished rows of one picture (or frame), at the network's scale, seamless if asked for.

        `bleed` spreads colors under transparent pixels first. Of a seamless picture `rows_beyond` finished rows of the
        other end come before the first and after the last.
        """
        height, width, scale = source.height, source.width, plan.scale
        if not self.settings.seamless:
            yield from mosaic(BledRows(source) if bleed else source, self.engine, plan, count)
            return
        margin = max(plan.overlap, default_overlap(self.generator.config), -(-rows_beyond // scale))
        margin = -(-margin // plan.multiple) * plan.multiple
        source = WrappedRows(source, margin)
        first_row, last_row = margin * scale - rows_beyond, (margin + height) * scale + rows_beyond
        row = 0
        for band in mosaic(BledRows(source) if bleed else source, self.engine, plan, count):
            first, last = max(0, first_row - row), min(len(band), last_row - row)
            row += len(band)
            if first < last:
                yield band[first:last, margin * scale : (margin + width) * scale]

    def with_smaller_tiles(
        self, run: Callable[[int], MosaicCount], *, height: int, width: int
    ) -> tuple[tuple[int, ...], MosaicCount]:
        """Run with the chosen tile; when memory runs out, from the start again with half of it, down to 32.

        -> the tile sizes tried, and what the last run counted. Raises OutOfMemoryError when none fitted.
        """
        tile, whole = self.first_tile(height, width), max(height, width)
        tried: list[int] = []
        while True:
            tried.append(tile)
            try:
                return tuple(tried), run(tile)
            except (OutOfMemoryError, MemoryError):
                if (tile or whole) <= SMALLEST_TILE or whole <= SMALLEST_TILE:
                    sizes = ", ".join(str(each or "one piece") for each in tried)
                    raise OutOfMemoryError(
                        f"Memory ran out on a picture of {width}x{height} with tiles of {sizes} pixels."
                        " Close other programs, or use a smaller model such as realesr-animevideov3."
                    ) from None
                tile = max(SMALLEST_TILE, min(tile or whole, whole) // 2 // 8 * 8)

    def notes(self, count: MosaicCount, tried: Sequence[int]) -> Iterator[str]:
        """What the user should know about a run that succeeded."""
        if count.retried:
            plural = "tile was" if count.retried == 1 else "tiles were"
            yield f"{count.retried} {plural} not finite or black in {self.engine.precision} and run again in fp32."
        if len(tried) > 1:
            yield f"Memory ran out with tiles of {', '.join(map(str, tried[:-1]))}; {tried[-1]} fitted."
        overlap, wanted = self.plan(tried[-1]).overlap, self.wanted_overlap
        if count.tiles > 1 and overlap < wanted:
            yield (
                f"Tiles of {tried[-1]} leave room for an overlap of {overlap} pixels; {wanted} are what keeps this"
                " model's seams invisible."
            )


def wanted_overlap(config: GeneratorConfig, settings: Settings) -> int:
    """Context on each side of a tile in input pixels, as asked for or as measured."""
    if settings.overlap is not None:
        return settings.overlap
    measured = default_overlap(config)
    return max(measured, CONTEXT) if settings.color_lock else measured


def default_overlap(config: GeneratorConfig) -> int:
    """Context on each side of a tile in input pixels, from the table that benchmarks/overlap.py measures.

    Compact networks get all but two pixels of their receptive field, which leaves at most 1 level of 255 to the untiled
    result. The receptive field of RRDB networks (94 to 349) is too large for that; docs/explanation/tiles.md has the
    error that an overlap of 24 leaves.
    """
    return (
        max(0, config.receptive_radius - 2)
        if config.receptive_radius <= _MOST_COMPACT_RADIUS
        else _OVERLAP_OF_DEEP_NETWORKS
    )
