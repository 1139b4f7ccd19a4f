"""Scores of one result against its reference and input: files are read once in strips, for all metrics.

Metrics of whole pictures (LPIPS, DISTS) get them after the last strip. Shapes: h rows at a time, W width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tessera.errors import PictureError, TesseraError
from tessera.evaluate.feeds import (
    PIRM_CROP,
    AlignmentCheck,
    Feed,
    GrayFeed,
    InputFeed,
    LoadedMetric,
    Measurement,
    PairFeed,
    WholeFeed,
    crop_border,
)
from tessera.evaluate.levels import Levels, count_rows_at_a_time
from tessera.evaluate.protocol import Channels, NiqeGray, Protocol
from tessera.metrics.metric import Frame, Rows


@dataclass(frozen=True, kw_only=True)
class PictureScores:
    """The scores of one picture, and sentences about missing ones."""

    scores: dict[str, float]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    states: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The input of `Metric.pool` by the metric's name."""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Measures results with loaded metrics under one protocol."""

    metrics: Sequence[LoadedMetric]
    protocol: Protocol
    scale: int

    def score(self, sr: Path, *, gt: Path | None = None, lq: Path | None = None) -> PictureScores:
        """Score one result. A metric that fails becomes a sentence in `problems`; the others are still measured."""
        try:
            with Levels(sr) as result, contextlib.ExitStack() as opened:
                return _PictureScoring(self, result, opened).run(gt, lq)
        except TesseraError as error:
            return PictureScores(scores={}, problems=(str(error),))


class _PictureScoring:
    """One run of a scorer over one picture."""

    def __init__(self, scorer: Scorer, result: Levels, opened: contextlib.ExitStack) -> None:
        self._scorer, self._result, self._opened = scorer, result, opened
        self._size = result.height, result.width
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._measurements: list[Measurement] = []

    def run(self, gt: Path | None, lq: Path | None) -> PictureScores:
        """Open reference and input, feed the metrics, and collect their scores."""
        reference = self._open_reference(gt)
        feeds = self._build_feeds(reference, lq)
        alignment = AlignmentCheck(self._size) if reference is not None and feeds else None
        self._read(reference, feeds if alignment is None else [*feeds, alignment])
        for measurement in self._measurements:
            measurement.finish()
            if measurement.error is not None:
                self._problems.append(f"{self._result.path}: {str(measurement.error).rstrip('.')}.")
        shift = alignment.describe_shift() if alignment is not None else None
        if shift is not None:
            self._problems.append(
                f"{self._result.path}: appears shifted against its reference ({shift}, in pixels), so its scores are"
                " those of a misaligned pair."
            )
        by_name = {each.metric.info.name: each for each in self._measurements}
        ordered = [by_name[name] for each in self._scorer.metrics if (name := each.metric.info.name) in by_name]
        return PictureScores(
            scores={each.metric.info.name: each.score for each in ordered if each.score is not None},
            problems=tuple(self._problems),
            notes=tuple(self._notes),
            states={each.metric.info.name: each.state for each in ordered if each.state is not None},
        )

    def _read(self, reference: Levels | None, feeds: Sequence[Feed]) -> None:
        result = self._result
        step = count_rows_at_a_time(max(result.width, reference.width if reference is not None else 0))
        for first in range(0, result.height, step):
            count = min(step, result.height - first)
            rows = result.read_rows(first, count)
            others = reference.read_rows(first, count)[..., : result.width] if reference is not None else None
            for feed in feeds:
                feed.take(rows, others)
        for feed in feeds:
            feed.finish()

    def _open_reference(self, path: Path | None) -> Levels | None:
        """Open the reference if a metric needs it; None, with a problem, if it cannot be compared."""
        if path is None or not any("gt" in each.metric.info.needs for each in self._scorer.metrics):
            return None
        try:
            reference = self._opened.enter_context(Levels(path))
        except TesseraError as error:
            self._problems.append(str(error))
            return None
        height, width = self._size
        beyond = reference.height - height, reference.width - width
        if any(not 0 <= pixels < max(self._scorer.scale, 1) for pixels in beyond):
            self._problems.append(
                f"{path}: expected the result's {width}x{height} pixels, found {reference.width}x{reference.height}."
                " Pictures must have the same size to be compared."
            )
            return None
        if any(beyond):
            self._notes.append(
                f"{path.name}: cropped from {reference.width}x{reference.height} to {width}x{height}, a multiple of the"
                " scale."
            )
        return reference

    def _build_feeds(self, reference: Levels | None, lq: Path | None) -> list[Feed]:
        """Build a feed for each kind of rows that a metric reads, if its pictures are available."""
        protocol, scale, size = self._scorer.protocol, self._scorer.scale, self._size
        crop = protocol.get_crop(scale)
        feeds: list[Feed] = []
        if reference is not None:
            if min(size) - 2 * crop < 1:
                self._problems.append(
                    f"{self._result.path}: expected more than {2 * crop} pixels per side for a crop of {crop}, found"
                    f" {size[1]}x{size[0]}."
                )
            else:
                # The scripts of published tables convert color pictures only.
                channels: Channels = "y-full" if protocol.channels == "y" and reference.is_gray else protocol.channels
                selections: tuple[tuple[Rows, Channels], ...] = (("channels", channels), ("rgb", "rgb"))
                for rows, selected in selections:
                    if pairs := self._start(rows, crop):
                        border = crop_border(size, crop)
                        feeds.append(
                            PairFeed(
                                pairs,
                                border,
                                channels=selected,
                                rounded=protocol.rounded,
                                rounded_channels=protocol.rounded_channels,
                            )
                        )
                if whole := self._start("whole", crop):
                    feeds.append(WholeFeed(whole, crop_border(size, crop), rounded=protocol.rounded))
        grays: tuple[tuple[Rows, int, NiqeGray], ...] = (
            ("gray", protocol.get_niqe_crop(scale), protocol.niqe_gray),
            ("pirm-gray", PIRM_CROP, "y"),
        )
        for rows, border, gray in grays:
            if alone := self._start(rows, border):
                feeds.append(GrayFeed(alone, crop_border(size, border), gray))
        if lq is not None and any(each.metric.rows == "input" for each in self._scorer.metrics):
            try:
                opened = self._opened.enter_context(InputFeed.open(lq, size, scale))
                feeds.append(InputFeed(self._start("input", 0), opened, protocol, size))
            except PictureError as error:
                self._problems.append(str(error))
        return feeds

    def _start(self, rows: Rows, crop: int) -> list[Measurement]:
        """Start the metrics that read these rows; pictures that are too small become problems."""
        height, width = (max(0, length - 2 * crop) for length in self._size)
        started: list[Measurement] = []
        for each in self._scorer.metrics:
            if each.metric.rows != rows:
                continue
            least = each.metric.info.smallest_side
            if min(height, width) < least:
                self._problems.append(
                    f"{self._result.path}: {each.metric.info.name} needs {least} pixels per side after cropping, found"
                    f" {min(height, width)}."
                )
                continue
            frame = Frame(path=self._result.path, height=height, width=width, eps=self._scorer.protocol.eps)
            started.append(Measurement(each.metric, each.start(frame)))
        self._measurements += started
        return started
