"""Results of an evaluation: a score per picture, method and metric, means with intervals, and the protocol.

Plain frozen records, which `tables` formats as JSON, CSV and Markdown, and `report` as HTML.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from tessera.metrics.metric import MetricInfo


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One picture by one method."""

    method: str
    picture: str
    scores: dict[str, float]
    """By the metric's name; a metric that failed on this picture is missing here and has its sentence in `problems`."""
    problems: tuple[str, ...] = ()
    sr: Path | None = None
    gt: Path | None = None
    lq: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The mean of a method's scores, with its 95 % confidence interval."""

    method: str
    metric: str
    mean: float
    """Of the finite scores; infinite when all scores are."""
    low: float
    high: float
    """The interval of the mean; NaN for a metric with one score for the whole set."""
    count: int
    """Pictures that have a score."""
    total: int
    """Pictures of the set."""
    equal: int = 0
    """Pictures equal to their reference: their scores are infinite and not part of the mean."""

    @property
    def has_interval(self) -> bool:
        """Whether the interval is known: two or more finite scores."""
        return self.count - self.equal > 1 and math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How much `method` scores over `other` on the same pictures: the mean difference, its interval, its p-value.

    Pictures for which a score of either is missing or infinite are left out.
    """

    method: str
    other: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    count: int
    """Pictures with a finite score by both."""
    total: int
    """Pictures of the set."""


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """A mean that a paper published for a method on these pictures under this protocol."""

    method: str
    metric: str
    score: float
    source: str

    @property
    def label(self) -> str:
        """The method, marked as published."""
        return f"{self.method} (published: {self.source})"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All results on one set of pictures, in the order of methods and pictures."""

    title: str
    scale: int | None
    protocol: dict[str, str]
    """Every choice that affects the scores, in words."""
    metrics: tuple[MetricInfo, ...]
    methods: tuple[str, ...]
    pictures: tuple[str, ...]
    rows: tuple[ScoreRow, ...]
    means: tuple[Mean, ...]
    differences: tuple[PairedDifference, ...] = ()
    problems: tuple[str, ...] = ()
    """Sentences about pictures without a partner, unreadable files and the like."""
    notes: tuple[str, ...] = ()
    published: tuple[PublishedScore, ...] = ()
    """Scores from papers, for comparison; nothing here was measured."""

    def row(self, method: str, picture: str) -> ScoreRow | None:
        """The row of a picture by a method."""
        return next((row for row in self.rows if (row.method, row.picture) == (method, picture)), None)

    def mean(self, method: str, metric: str) -> Mean | None:
        """The mean of a metric over a method's pictures."""
        return next((mean for mean in self.means if (mean.method, mean.metric) == (method, metric)), None)

    @property
    def failures(self) -> tuple[str, ...]:
        """Every sentence about something that went wrong."""
        return (*self.problems, *(problem for row in self.rows for problem in row.problems))
