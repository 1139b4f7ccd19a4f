"""Rows of a result, converted once for all metrics with the same input: a feed for each kind of `metrics.metric.Rows`.

Metrics of whole pictures (LPIPS, DISTS, FID) hold the rows until the end. Shapes: C channels, h rows at a time, H
height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tessera.dataset.alignment import WINDOW, find_shift
from tessera.errors import NonFiniteError, PictureError, TesseraError, UsageError
from tessera.evaluate import protocol as protocols
from tessera.evaluate.levels import Floats, Levels, convert_to_gray, select_channels
from tessera.evaluate.protocol import Channels, NiqeGray
from tessera.images.filters import compute_bands
from tessera.images.resample import RowResizer
from tessera.libraries import describe_failed_import
from tessera.metrics.catalog import find_metric
from tessera.metrics.metric import Accumulator, Metric, Sources, Start

PIRM_CROP = 4
"""Pixels that PIRM 2018 crops from each side before NIQE."""


@dataclass(frozen=True)
class LoadedMetric:
    """A metric with its weights loaded."""

    metric: Metric
    start: Start


def load_metrics(names: Sequence[str], sources: Sources | None = None) -> tuple[LoadedMetric, ...]:
    """Load metrics by name. Raises UsageError for an unknown one, and the errors of downloading and reading weights."""
    return tuple(_load_metric(find_metric(name), sources or Sources()) for name in names)


def _load_metric(metric: Metric, sources: Sources) -> LoadedMetric:
    """Load one metric. Raises UsageError if the library of its network is missing."""
    try:
        return LoadedMetric(metric, metric.load(sources))
    except ImportError as error:
        problem = describe_failed_import(metric.info.title, error)
        if problem is None:
            raise
        raise UsageError(problem, field="metrics") from error


class Measurement:
    """One metric on one picture. An error ends this metric only; the others continue."""

    def __init__(self, metric: Metric, accumulator: Accumulator) -> None:
        self.metric = metric
        self.error: Exception | None = None
        self.score: float | None = None
        self.state: Any = None
        self._accumulator = accumulator

    def take(self, *rows: npt.NDArray[np.floating]) -> None:
        """Pass rows to the metric, unless it has failed."""
        if self.error is None:
            try:
                self._accumulator.take(*rows)
            except (ValueError, TesseraError) as error:
                self.error = error

    def finish(self) -> None:
        """Read the score and the state."""
        if self.error is not None:
            return
        try:
            self.score = self._accumulator.score() if self._accumulator.score is not None else None
            if self.score is not None and math.isnan(self.score):
                raise NonFiniteError(f"{self.metric.info.name}: expected a score, found NaN.")
            self.state = self._accumulator.state() if self._accumulator.state is not None else None
        except (ValueError, TesseraError) as error:
            self.error = error


class Feed(Protocol):
    """Takes rows of the result and of the reference, in levels of 255, and converts them for its metrics."""

    def take(self, rows: Floats, reference: Floats | None) -> None:
        """Take the next rows (3, h, W), and those of the reference if there is one."""
        ...

    def finish(self) -> None:
        """Pass on the held rows."""
        ...


class Crop:
    """Crops pictures read in rows."""

    def __init__(self, top: int, left: int, height: int, width: int) -> None:
        self._first, self._last = top, top + height
        self._columns = slice(left, left + width)
        self._row = 0

    def cut(self, *parts: Floats | None) -> tuple[Floats, ...]:
        """Crop rows, (3, h, W) each -> the part inside, possibly empty."""
        known = [part for part in parts if part is not None]
        here = slice(max(0, self._first - self._row), max(0, self._last - self._row))
        self._row += known[0].shape[1]
        return tuple(part[:, here, self._columns] for part in known)


def crop_border(size: tuple[int, int], border: int) -> Crop:
    """Make a crop that removes `border` pixels from each side of a picture of `size` (H, W)."""
    return Crop(border, border, max(0, size[0] - 2 * border), max(0, size[1] - 2 * border))


class PairFeed:
    """Result and reference inside the crop, in RGB or in the protocol's channels."""

    def __init__(
        self,
        measurements: Sequence[Measurement],
        crop: Crop,
        *,
        channels: Channels = "rgb",
        rounded: bool,
        rounded_channels: Sequence[str] = (),
    ) -> None:
        self._crop, self._rounded = crop, rounded
        self._channels: Channels = channels
        self._exact = [each for each in measurements if each.metric.info.name not in rounded_channels]
        self._whole = [each for each in measurements if each.metric.info.name in rounded_channels]

    def take(self, rows: Floats, reference: Floats | None) -> None:
        """Pass on the pair in the compared channels."""
        sr, gt = self._crop.cut(rows, reference)
        if sr.shape[1]:
            sr = sr.round() if self._rounded else sr
            pair = [select_channels(part, self._channels) for part in (sr, gt)]
            for measurement in self._exact:
                measurement.take(*pair)
            levels = [part.round() for part in pair] if self._whole else []
            for measurement in self._whole:
                measurement.take(*levels)

    def finish(self) -> None:
        """Nothing to do."""


class WholeFeed:
    """Result and reference as whole RGB pictures in [0, 1], at the end."""

    def __init__(self, measurements: Sequence[Measurement], crop: Crop, *, rounded: bool) -> None:
        self._measurements, self._crop, self._rounded = measurements, crop, rounded
        self._parts: list[npt.NDArray[np.float32]] = []

    def take(self, rows: Floats, reference: Floats | None) -> None:
        """Hold the rows inside the crop."""
        sr, gt = self._crop.cut(rows, reference)
        self._parts.append((np.stack((sr.round() if self._rounded else sr, gt)) / 255).astype(np.float32))

    def finish(self) -> None:
        """Pass on both pictures, (1, 3, H, W)."""
        pair = np.concatenate(self._parts, axis=2)
        for measurement in self._measurements:
            measurement.take(pair[:1], pair[1:])


class GrayFeed:
    """The result alone, in gray."""

    def __init__(self, measurements: Sequence[Measurement], crop: Crop, gray: NiqeGray) -> None:
        self._measurements, self._crop = measurements, crop
        self._gray: NiqeGray = gray

    def take(self, rows: Floats, reference: Floats | None) -> None:
        """Pass on the rows inside the crop, (h, W)."""
        (sr,) = self._crop.cut(rows)
        gray = convert_to_gray(sr, self._gray)
        for measurement in self._measurements:
            measurement.take(gray)

    def finish(self) -> None:
        """Nothing to do."""


class InputFeed:
    """The downsampled result and the input."""

    def __init__(
        self, measurements: Sequence[Measurement], lq: Levels, protocol: protocols.Protocol, size: tuple[int, int]
    ) -> None:
        self._measurements, self._lq = measurements, lq
        down, across = (
            compute_bands(long, short, short / long, protocol.lq_kernel)
            for long, short in zip(size, (lq.height, lq.width), strict=True)
        )
        self._resizer = RowResizer(down, across, np.float64)
        self._row = 0

    @staticmethod
    def open(path: Path, size: tuple[int, int], scale: int) -> Levels:
        """Open the input of a result of `size` (H, W). Raises PictureError if their sizes do not match."""
        lq = Levels(path)
        if (lq.height * scale, lq.width * scale) != size:
            lq.close()
            raise PictureError(
                f"{path}: expected 1/{scale} of the result's {size[1]}x{size[0]} pixels, found {lq.width}x{lq.height}."
                " The result cannot be compared with its input."
            )
        return lq

    def take(self, rows: Floats, reference: Floats | None) -> None:
        """Downsample these rows and pass them on with those of the input."""
        small = self._resizer.take(rows)
        if small.shape[1]:
            lq = self._lq.read_rows(self._row, small.shape[1])
            self._row += small.shape[1]
            for measurement in self._measurements:
                measurement.take(small, lq)

    def finish(self) -> None:
        """Nothing to do."""


class AlignmentCheck:
    """Detects whether a result is shifted against its reference, from the center of both."""

    def __init__(self, size: tuple[int, int]) -> None:
        height, width = (min(length, WINDOW) for length in size)
        self._crop = Crop((size[0] - height) // 2, (size[1] - width) // 2, height, width)
        self._parts: list[Floats] = []

    def take(self, rows: Floats, reference: Floats | None) -> None:
        """Hold the rows of the center."""
        pair = self._crop.cut(rows, reference)
        if pair[0].shape[1]:
            self._parts.append(np.stack([part.mean(axis=0) for part in pair]))

    def finish(self) -> None:
        """Nothing to do."""

    def describe_shift(self) -> str | None:
        """The shift in words, such as "2 left and 1 down"; None if aligned."""
        shift = find_shift(*np.concatenate(self._parts, axis=1))
        if shift is None:
            return None
        down, right = shift
        ways = [(right, "right", "left"), (down, "down", "up")]
        return " and ".join(f"{abs(by)} {plus if by > 0 else minus}" for by, plus, minus in ways if by)
