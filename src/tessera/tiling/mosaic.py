"""The core of upscaling: run tiles one by one and merge them into output rows, in memory independent of picture size.

Held in memory: the input rows of one band of tiles, the output rows of that band in the output's type, and as floats
only the rows that blend into the next band. Shapes: C channels, h and w a tile, s the scale.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from tessera.engines.engine import Engine, Tiles
from tessera.errors import NonFiniteError
from tessera.images.color import luma_jpeg
from tessera.images.pixels import Pixels
from tessera.images.resample import upsample_planes
from tessera.tiling.canvas import Canvas
from tessera.tiling.fidelity import Plane, clip_to_neighbors, color_difference, lock_colors, lock_flat_areas
from tessera.tiling.prefetch import prefetch_one
from tessera.tiling.rows import GrayRows, RollingRows, RowSource, repeat_gray
from tessera.tiling.tiles import Axis, fade_in, plan_axis, round_up

AlphaMethod = Literal["model", "lanczos"]

_BLACK = 2 / 255
_NOT_BLACK = 16 / 255


@dataclass(frozen=True, kw_only=True)
class MosaicPlan:
    """All settings that determine how each tile is processed."""

    scale: int
    multiple: int
    tile: int
    """Longest side of a tile in input pixels; 0 disables tiling."""
    overlap: int
    dtype: np.dtype[np.unsignedinteger] | None = None
    """Type of the output rows; None for that of the input."""
    spill_folder: Path | None = None
    """Folder for bands too wide for memory; None keeps them in memory."""
    network_channels: int = 3
    """1 for a grayscale network, which is run on each channel separately."""
    alpha: AlphaMethod | None = None
    """How alpha is upscaled; None for pictures without alpha."""
    flat_alpha: int | None = None
    """The value of a constant alpha, which is copied to the output; None if alpha varies."""
    as_gray: bool = False
    """Whether RGB rows hold no color: then one channel is upscaled, and repeated in the output."""
    flat_lock: bool = True
    color_lock: bool = False
    batch: int = 1
    """Tiles per network call."""
    ensemble: bool = False
    """Average over the eight flips and rotations of each tile (self-ensemble; Timofte et al. 2016, section 3.3)."""

    @property
    def bleeds(self) -> bool:
        """Whether colors are spread under transparent pixels first, as done where alpha varies."""
        return self.alpha is not None and self.flat_alpha is None

    def axes(self, height: int, width: int) -> tuple[Axis, Axis]:
        """Plan the tiles of a picture of this size along both axes (rows, columns)."""
        rows, columns = (
            plan_axis(
                padded := round_up(length, self.multiple),
                tile=max(self.tile // self.multiple * self.multiple, self.multiple) if self.tile else padded,
                overlap=round_up(self.overlap, self.multiple),
                multiple=self.multiple,
            )
            for length in (height, width)
        )
        return rows, columns


@dataclass
class MosaicCount:
    """Counters and color errors, accumulated tile by tile."""

    tiles: int = 0
    retried: int = 0
    """Tiles whose output was NaN, infinite or black and that were rerun in fp32."""
    color_error_before: float = 0.0
    color_error_after: float = 0.0
    color_pixels: int = 0
    on_tile: Callable[[int, int], None] | None = field(default=None, repr=False)
    """Called after each tile with (tiles done, input pixels that this tile completed); may raise to stop."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """One input tile and its position."""

    column: int
    start: int
    """First column of the tile in the input."""
    lq: Plane
    """(C, h, w) in [0, 1], with the picture's channels (1 to 4)."""
    dtype: np.dtype[np.unsignedinteger]
    """Type of the picture's pixels."""


@dataclass(frozen=True, kw_only=True)
class _Upscaled:
    """The network's output for one tile."""

    sr: Plane
    """(3, s*h, s*w), not clipped, also for gray pictures; without alpha."""
    alpha: Plane | None
    """(1, s*h, s*w) if the network upscales alpha, too."""


def mosaic(source: RowSource, engine: Engine, plan: MosaicPlan, count: MosaicCount) -> Iterator[Pixels]:
    """Upscale a picture from the top down: rows (h, W, C) in, rows (s*h, s*W, C) out, each valid until the next.

    The network runs one tile ahead of blending and of the consumer of the rows.
    Raises OutOfMemoryError if a tile does not fit, NonFiniteError if a tile fails in fp32 as well.
    """
    rows, columns = plan.axes(source.height, source.width)
    source = GrayRows(source) if plan.as_gray else source

    def work(places: list[_Place]) -> list[_Upscaled]:
        return _run_network(np.stack([place.lq for place in places]), engine, plan, count)

    with contextlib.closing(prefetch_one(work, _batch(_cut_tiles(source, plan), plan.batch))) as done:
        tiles = ((place, sr) for places, made in done for place, sr in zip(places, made, strict=True))
        merged = _merge_tiles(tiles, source, rows, columns, plan, count)
        yield from map(repeat_gray, merged) if plan.as_gray else merged


def _batch(places: Iterator[_Place], size: int) -> Iterator[list[_Place]]:
    while batch := list(itertools.islice(places, size)):
        yield batch


def _cut_tiles(source: RowSource, plan: MosaicPlan) -> Iterator[_Place]:
    """Cut a picture into tiles, band by band, from left to right."""
    rows, columns = plan.axes(source.height, source.width)
    rolling = RollingRows(source)
    for top in rows.starts:
        band = _pad(rolling.window(top, top + rows.tile), rows.tile, columns.length)
        for column, start in enumerate(columns.starts):
            lq = to_planes(band[:, start : start + columns.tile])
            yield _Place(column=column, start=start, lq=lq, dtype=band.dtype)


def _merge_tiles(
    tiles: Iterator[tuple[_Place, _Upscaled]],
    source: RowSource,
    rows: Axis,
    columns: Axis,
    plan: MosaicPlan,
    count: MosaicCount,
) -> Iterator[Pixels]:
    """Merge tiles, in their order, into bands of output rows."""
    scale = plan.scale
    carried: Plane | None = None
    weights_y = fade_in(rows.fade, scale)[None, :, None]
    for index, start in enumerate(rows.starts):
        tile = next(tiles)
        first, last = rows.find_kept_range(index)
        final = index == len(rows) - 1
        emitted = (last - first - (0 if final else rows.fade)) * scale
        channels, dtype = tile[0].lq.shape[0], plan.dtype or tile[0].dtype
        carry = None
        if not final and rows.fade:
            carry = np.empty((channels, rows.fade * scale, columns.length * scale), np.float32)
        with Canvas(emitted, columns.length * scale, channels, dtype, folder=plan.spill_folder) as canvas:
            band = itertools.chain([tile], itertools.islice(tiles, len(columns) - 1))
            for left, piece in _blend_band(band, columns, plan, count, (first - start, last - start)):
                right = left + piece.shape[2]
                if carried is not None:
                    _fade(carried[:, :, left:right], piece[:, : carried.shape[1]], weights_y)
                canvas.put(left, _quantize(piece[:, :emitted], dtype))
                if carry is not None:
                    carry[:, :, left:right] = piece[:, emitted:]
            carried = carry
            bottom = min(first * scale + emitted, source.height * scale) - first * scale
            yield from canvas.rows(bottom, source.width * scale)


def _blend_band(
    tiles: Iterator[tuple[_Place, _Upscaled]],
    columns: Axis,
    plan: MosaicPlan,
    count: MosaicCount,
    kept_rows: tuple[int, int],
) -> Iterator[tuple[int, Plane]]:
    """Blend one row of tiles -> (first output column, (C, rows, finished columns) in [0, 1]) from left to right."""
    scale = plan.scale
    weights_x = fade_in(columns.fade, scale)[None, None]
    waiting: Plane | None = None
    for place, upscaled in tiles:
        first, last = columns.find_kept_range(place.column)
        sr = _finish(place.lq, upscaled, plan, count)
        top, bottom = kept_rows[0] * scale, kept_rows[1] * scale
        piece = sr[:, top:bottom, (first - place.start) * scale : (last - place.start) * scale]
        if waiting is not None:
            _fade(waiting, piece[:, :, : waiting.shape[2]], weights_x)
        if place.column < len(columns) - 1 and columns.fade:
            waiting = piece[:, :, -columns.fade * scale :].copy()
            piece = piece[:, :, : -columns.fade * scale]
        count.tiles += 1
        yield first * scale, piece
        if count.on_tile is not None:
            count.on_tile(count.tiles, (kept_rows[1] - kept_rows[0]) * (last - first))


# ------------------------------------------------------------------------------------------- in the network's thread


def _run_network(lq: Tiles, engine: Engine, plan: MosaicPlan, count: MosaicCount) -> list[_Upscaled]:
    """Run the network on tiles (B, C, h, w) with the picture's channels (1 to 4)."""
    has_alpha = lq.shape[1] in (2, 4)
    color = lq[:, :-1] if has_alpha else lq
    sr = _upscale(_repeat_gray(color), engine, plan, count)
    if not has_alpha or plan.flat_alpha is not None or plan.alpha == "lanczos":
        return [_Upscaled(sr=each, alpha=None) for each in sr]
    alphas = _upscale(_repeat_gray(lq[:, -1:]), engine, plan, count).mean(axis=1, keepdims=True)
    return [_Upscaled(sr=each, alpha=alpha) for each, alpha in zip(sr, alphas, strict=True)]


def _repeat_gray(tiles: Tiles) -> Tiles:
    """(B, 1 or 3, h, w) -> (B, 3, h, w)."""
    return np.repeat(tiles, 3, axis=1) if tiles.shape[1] == 1 else tiles


def _upscale(rgb: Tiles, engine: Engine, plan: MosaicPlan, count: MosaicCount) -> Tiles:
    """Run the network on (B, 3, h, w), eight times with `ensemble`; rerun tiles with unsound output in fp32."""
    run = _run_ensemble if plan.ensemble else _run_once
    batch, _, height, width = rgb.shape
    seen = rgb.reshape(3 * batch, 1, height, width) if plan.network_channels == 1 else rgb
    sr = run(seen, engine).reshape(batch, 3, height * plan.scale, width * plan.scale)
    for index in range(batch):
        if not _is_sound(rgb[index], sr[index]):
            count.retried += 1
            own = slice(3 * index, 3 * index + 3) if plan.network_channels == 1 else slice(index, index + 1)
            exact = engine.exact()
            again = run(seen[own], exact).reshape(sr.shape[1:])
            _refuse_unsound(rgb[index], again, exact)
            sr = sr if sr.flags.writeable else sr.copy()
            sr[index] = again
    return sr


def _refuse_unsound(rgb: Plane, sr: Plane, exact: Engine) -> None:
    if not _is_sound(rgb, sr):
        raise NonFiniteError(
            f"The network returns NaN, infinity or black for a tile of this picture even in fp32 ({exact.name});"
            " nothing was written. The weights may be damaged; check them with `tessera models inspect`."
        )


def _is_sound(rgb: Plane, sr: Plane) -> bool:
    """Whether an output is finite, and not black for an input that is brighter."""
    greatest = float(sr.max())  # NaN when there is one
    if not (math.isfinite(greatest) and math.isfinite(float(sr.min()))):
        return False
    return not (greatest < _BLACK and float(rgb.mean()) > _NOT_BLACK)


def _run_once(tiles: Tiles, engine: Engine) -> Tiles:
    return engine.run(np.ascontiguousarray(tiles))


def _run_ensemble(tiles: Tiles, engine: Engine) -> Tiles:
    total: Tiles | None = None
    for turn in range(8):
        seen = tiles.swapaxes(2, 3) if turn & 4 else tiles
        flips = tuple(axis for bit, axis in ((1, 2), (2, 3)) if turn & bit)
        sr = np.flip(engine.run(np.ascontiguousarray(np.flip(seen, flips))), flips)
        sr = sr.swapaxes(2, 3) if turn & 4 else sr
        total = sr.copy() if total is None else np.add(total, sr, out=total)
    assert total is not None
    return np.divide(total, np.float32(8), out=total)


# --------------------------------------------------------------------------------------------- in the caller's thread


def _finish(lq: Plane, upscaled: _Upscaled, plan: MosaicPlan, count: MosaicCount) -> Plane:
    """Apply color locks, gray and alpha to the network's output for `lq` (C, h, w) -> (C, s*h, s*w) in [0, 1]."""
    has_alpha = lq.shape[0] in (2, 4)
    color = lq[:-1] if has_alpha else lq
    sr = upscaled.sr if upscaled.sr.flags.writeable else upscaled.sr.copy()
    rgb = np.repeat(color, 3, axis=0) if color.shape[0] == 1 else color
    before = sr.clip(0, 1) if plan.color_lock else sr
    if plan.color_lock:
        sr = lock_colors(rgb, sr)
    if plan.flat_lock:
        sr = lock_flat_areas(rgb, sr)
    np.clip(sr, 0, 1, out=sr)
    if plan.color_lock:
        count.color_error_before += float(color_difference(rgb, before).sum())
        count.color_error_after += float(color_difference(rgb, sr).sum())
        count.color_pixels += rgb.shape[1] * rgb.shape[2]
    if color.shape[0] == 1:
        sr = luma_jpeg(sr)
    return np.concatenate((sr, _upscale_alpha(lq[-1:], upscaled.alpha, plan))) if has_alpha else sr


def _upscale_alpha(lq: Plane, upscaled: Plane | None, plan: MosaicPlan) -> Plane:
    """(1, h, w) -> (1, s*h, s*w)."""
    _, height, width = lq.shape
    if plan.flat_alpha is not None:
        return np.full((1, height * plan.scale, width * plan.scale), lq[0, 0, 0])
    sr = upsample_planes(lq, plan.scale) if upscaled is None else lock_flat_areas(lq, upscaled)
    return clip_to_neighbors(lq, sr)


def _fade(earlier: Plane, later: Plane, weights: Plane) -> None:
    """Blend in place into `later`; where both agree the result is that value exactly."""
    later -= earlier
    later *= weights
    later += earlier


def _pad(band: Pixels, height: int, width: int) -> Pixels:
    """Repeat the last rows and columns until the band has this size (for networks with a pixel-unshuffle)."""
    if band.shape[:2] == (height, width):
        return band
    below, right = height - band.shape[0], width - band.shape[1]
    return np.pad(band, ((0, below), (0, right), (0, 0)), mode="edge")


def to_planes(pixels: Pixels) -> Plane:
    """Convert pixels to planes: (H, W, C) uint8 or uint16 -> (C, H, W) float32 in [0, 1]."""
    full = np.float32(np.iinfo(pixels.dtype).max)
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)).astype(np.float32)
    planes /= full
    return planes


def _quantize(values: Plane, dtype: np.dtype[np.unsignedinteger]) -> Pixels:
    """Convert planes to pixels: (C, H, W) float in [0, 1] -> (H, W, C) uint8 or uint16, rounded to nearest."""
    scaled = values * np.float32(np.iinfo(dtype).max)
    np.rint(scaled, out=scaled)
    return np.moveaxis(scaled.astype(dtype), 0, -1)
