"""Tiles run one by one and laid into finished rows: the inside of upscaling, in memory that the picture does not set.

What is held: the input rows of one band of tiles, the finished rows of that band in the output's own type, and in float
only what the next band fades into. Shapes: B tiles, C channels, h and w a tile, s the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tessera.canvas import Canvas
from tessera.color import luma_jpeg
from tessera.engines import Engine
from tessera.errors import NonFiniteError
from tessera.fidelity import color_difference, lock_colors, lock_flat_areas, within_neighbours
from tessera.picture import Pixels
from tessera.resize import resize
from tessera.rows import RollingRows, RowSource
from tessera.tiles import Axis, fade_in, padded_length, plan_axis

AlphaMode = Literal["model", "lanczos"]

_BLACK = 2 / 255
_NOT_BLACK = 16 / 255


@dataclass(frozen=True, kw_only=True)
class MosaicPlan:
    """Everything that decides what is done to each tile."""

    scale: int
    multiple: int
    tile: int
    """Longest side of a tile in input pixels; 0 takes the picture in one piece."""
    overlap: int
    dtype: np.dtype[np.unsignedinteger] | None = None
    """Type of the finished rows; that of the input unless given."""
    spill_folder: Path | None = None
    """Where a band too wide for memory waits; None keeps it in memory."""
    network_channels: int = 3
    """1 runs a network for gray on each channel by itself."""
    alpha: AlphaMode | None = None
    """How alpha is enlarged; None when there is none."""
    flat_alpha: int | None = None
    """The value of alpha when it is the same everywhere: it is written, not computed."""
    flat_lock: bool = True
    color_lock: bool = False
    ensemble: bool = False
    """Mean over the eight flips and turns of each tile (self-ensemble; Timofte et al. 2016, section 3.3)."""

    def axes(self, height: int, width: int) -> tuple[Axis, Axis]:
        """Where the tiles lie in a picture of this size (rows, columns)."""
        rows, columns = (
            plan_axis(
                padded := padded_length(length, self.multiple),
                tile=max(self.tile // self.multiple * self.multiple, self.multiple) if self.tile else padded,
                overlap=padded_length(self.overlap, self.multiple),
                multiple=self.multiple,
            )
            for length in (height, width)
        )
        return rows, columns


@dataclass
class MosaicCount:
    """What happened on the way, added up tile by tile."""

    tiles: int = 0
    retried: int = 0
    """Tiles that came out NaN, infinite or black and were run again at full precision."""
    color_error_before: float = 0.0
    color_error_after: float = 0.0
    color_pixels: int = 0
    on_tile: Callable[[int, int], None] | None = field(default=None, repr=False)
    """Called after each tile with (tiles done, input pixels that this tile finished); may raise to stop."""


def mosaic(source: RowSource, engine: Engine, plan: MosaicPlan, count: MosaicCount) -> Iterator[Pixels]:
    """Enlarge a picture: rows of (h, W, C) in, finished rows of (s*h, s*W, C) out, from the top down,
    each good until the next is asked for.

    Raises OutOfMemoryError when a tile does not fit, NonFiniteError when it fails in fp32 as well.
    """
    scale = plan.scale
    rows, columns = plan.axes(source.height, source.width)
    rolling = RollingRows(source)
    carried: npt.NDArray[np.float32] | None = None
    weights_y = fade_in(rows.fade, scale)[:, None, None]
    for index, start in enumerate(rows.starts):
        band = _padded(rolling.window(start, start + rows.tile), rows.tile, columns.length)
        first, last = rows.kept(index)
        final = index == len(rows) - 1
        emitted = (last - first - (0 if final else rows.fade)) * scale
        channels = band.shape[2]
        carry = None
        if not final and rows.fade:
            carry = np.empty((rows.fade * scale, columns.length * scale, channels), np.float32)
        dtype = plan.dtype or band.dtype
        with Canvas(emitted, columns.length * scale, channels, dtype, folder=plan.spill_folder) as canvas:
            for left, piece in _band(band, columns, engine, plan, count, (first - start, last - start)):
                right = left + piece.shape[1]
                if carried is not None:
                    _fade(carried[:, left:right], piece[: len(carried)], weights_y)
                canvas.put(left, _quantised(piece[:emitted], dtype))
                if carry is not None:
                    carry[:, left:right] = piece[emitted:]
            carried = carry
            bottom = min(first * scale + emitted, source.height * scale) - first * scale
            yield from canvas.rows(bottom, source.width * scale)


def _band(
    band: Pixels, columns: Axis, engine: Engine, plan: MosaicPlan, count: MosaicCount, kept_rows: tuple[int, int]
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """One row of tiles -> (first output column, (rows kept, columns finished, C) in [0, 1]) from left to right."""
    scale = plan.scale
    weights_x = fade_in(columns.fade, scale)[None, :, None]
    waiting: npt.NDArray[np.float32] | None = None
    for index, start in enumerate(columns.starts):
        lq = to_tensor(band[:, start : start + columns.tile])
        first, last = columns.kept(index)
        sr = _run_tile(lq, engine, plan, count)
        top, bottom = kept_rows[0] * scale, kept_rows[1] * scale
        cut = sr[0, :, top:bottom, (first - start) * scale : (last - start) * scale]
        piece = np.ascontiguousarray(cut.permute(1, 2, 0).numpy())
        if waiting is not None:
            _fade(waiting, piece[:, : waiting.shape[1]], weights_x)
        if index < len(columns) - 1 and columns.fade:
            waiting = piece[:, -columns.fade * scale :].copy()
            piece = piece[:, : -columns.fade * scale]
        count.tiles += 1
        yield first * scale, piece
        if count.on_tile is not None:
            count.on_tile(count.tiles, (kept_rows[1] - kept_rows[0]) * (last - first))


def _run_tile(lq: Tensor, engine: Engine, plan: MosaicPlan, count: MosaicCount) -> Tensor:
    """(1, C, h, w) -> (1, C, s*h, s*w) in [0, 1], C of the picture (1 to 4)."""
    has_alpha = lq.shape[1] in (2, 4)
    color = lq[:, :-1] if has_alpha else lq
    gray = color.shape[1] == 1
    rgb = color.expand(-1, 3, -1, -1) if gray else color
    sr = _enlarge(rgb, engine, plan, count)
    before = sr
    if plan.color_lock:
        sr = lock_colors(rgb, sr)
    if plan.flat_lock:
        sr = lock_flat_areas(rgb, sr)
    sr = sr.clamp(0, 1)
    if plan.color_lock:
        _count_color_error(rgb, before.clamp(0, 1), sr, count)
    if gray:
        sr = luma_jpeg(sr)
    if has_alpha:
        sr = torch.cat((sr, _enlarged_alpha(lq[:, -1:], engine, plan, count)), dim=1)
    return sr


def _enlarged_alpha(alpha: Tensor, engine: Engine, plan: MosaicPlan, count: MosaicCount) -> Tensor:
    if plan.flat_alpha is not None:
        return alpha[..., :1, :1].expand(-1, -1, alpha.shape[-2] * plan.scale, alpha.shape[-1] * plan.scale)
    if plan.alpha == "lanczos":
        sr = resize(alpha, scale=plan.scale, kernel="lanczos3")
    else:
        sr = _enlarge(alpha.expand(-1, 3, -1, -1), engine, plan, count).mean(dim=1, keepdim=True)
        sr = lock_flat_areas(alpha, sr)
    return within_neighbours(alpha, sr)


def _enlarge(rgb: Tensor, engine: Engine, plan: MosaicPlan, count: MosaicCount) -> Tensor:
    """Run the network on (1, 3, h, w), eight times under `ensemble`, and again in fp32 when it comes out wrong."""
    run = _ensemble if plan.ensemble else _once
    seen = rgb.transpose(0, 1) if plan.network_channels == 1 else rgb
    sr = run(seen, engine)
    if not _is_sound(seen, sr):
        count.retried += 1
        exact = engine.exact()
        sr = run(seen, exact)
        _refuse_unsound(seen, sr, exact)
    return sr.transpose(0, 1) if plan.network_channels == 1 else sr


def _refuse_unsound(seen: Tensor, sr: Tensor, exact: Engine) -> None:
    if not _is_sound(seen, sr):
        raise NonFiniteError(
            f"The network gives NaN, infinity or black on a tile of this picture even in fp32 ({exact.name});"
            " nothing was written. The weights may be damaged: try `tessera models inspect`."
        )


def _is_sound(rgb: Tensor, sr: Tensor) -> bool:
    """Whether an output is finite, and not black where the input is not."""
    if not bool(torch.isfinite(sr).all()):
        return False
    return not (float(sr.max()) < _BLACK and float(rgb.mean()) > _NOT_BLACK)


def _once(rgb: Tensor, engine: Engine) -> Tensor:
    return engine.run(rgb.contiguous())


def _ensemble(rgb: Tensor, engine: Engine) -> Tensor:
    total: Tensor | None = None
    for turn in range(8):
        seen = rgb.transpose(2, 3) if turn & 4 else rgb
        flips = [axis for bit, axis in ((1, 2), (2, 3)) if turn & bit]
        sr = engine.run(seen.flip(flips).contiguous()).flip(flips)
        sr = sr.transpose(2, 3) if turn & 4 else sr
        total = sr if total is None else total + sr
    assert total is not None
    return total / 8


def _count_color_error(rgb: Tensor, before: Tensor, after: Tensor, count: MosaicCount) -> None:
    count.color_error_before += float(color_difference(rgb, before).sum())
    count.color_error_after += float(color_difference(rgb, after).sum())
    count.color_pixels += rgb.shape[-2] * rgb.shape[-1]


def _fade(earlier: npt.NDArray[np.float32], later: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]) -> None:
    """Blend in place into `later`; where both agree the result is that value exactly."""
    later -= earlier
    later *= weights
    later += earlier


def _padded(band: Pixels, height: int, width: int) -> Pixels:
    """Repeat the last rows and columns until the band has this size (for networks with a pixel-unshuffle)."""
    if band.shape[:2] == (height, width):
        return band
    below, right = height - band.shape[0], width - band.shape[1]
    return np.pad(band, ((0, below), (0, right), (0, 0)), mode="edge")


def to_tensor(pixels: Pixels) -> Tensor:
    """The way in: (H, W, C) uint8 or uint16 -> (1, C, H, W) float32 in [0, 1]."""
    full = float(np.iinfo(pixels.dtype).max)
    values = torch.from_numpy(pixels.astype(np.float32))
    return (values / full).permute(2, 0, 1)[None].contiguous()


def _quantised(values: npt.NDArray[np.float32], dtype: np.dtype[np.unsignedinteger]) -> Pixels:
    """The way out: (H, W, C) float in [0, 1] -> uint8 or uint16, rounded to nearest."""
    full = float(np.iinfo(dtype).max)
    scaled = values * full
    np.rint(scaled, out=scaled)
    return scaled.astype(dtype)
