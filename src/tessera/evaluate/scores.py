"""What an evaluation found: a score per picture, method and metric, means with intervals, and how all was measured.

Plain frozen records that become JSON, CSV and Markdown here, and HTML in `report`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """The mean of a method over the pictures that have a score, and where the true mean lies with 95 % confidence."""

    method: str
    metric: str
    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How much `method` scores over `other` on the same pictures: the mean difference, its interval, its p-value."""

    method: str
    other: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that was found, in the order of methods and pictures."""

    title: str
    scale: int | None
    protocol: dict[str, str]
    """Every choice that decides the numbers, in words."""
    metrics: tuple[MetricInfo, ...]
    methods: tuple[str, ...]
    pictures: tuple[str, ...]
    rows: tuple[ScoreRow, ...]
    means: tuple[Mean, ...]
    differences: tuple[PairedDifference, ...] = ()
    problems: tuple[str, ...] = ()
    """Sentences about pictures without partner and the like."""
    notes: tuple[str, ...] = ()

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

    def as_json(self) -> dict[str, Any]:
        """Plain values; infinities become the text "inf"."""
        return _plain(dataclasses.asdict(self))

    def as_csv(self) -> str:
        """A row per picture and method, a column per metric (empty where there is no score)."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [metric.name for metric in self.metrics]
        writer.writerow(["picture", "model", *names, "problem"])
        for row in self.rows:
            scores = [repr(row.scores[name]) if name in row.scores else "" for name in names]
            writer.writerow([row.picture, row.method, *scores, " ".join(row.problems)])
        return text.getvalue()

    def as_markdown(self) -> str:
        """The means with their intervals, the differences, and the protocol."""
        head = ["model", *(f"{metric.title} {metric.arrow}" for metric in self.metrics)]
        lines = [f"# {self.title}", "", *_table(head, [self._summary(method) for method in self.methods])]
        lines += ["", "Mean over the pictures [95 % interval of it]."]
        if self.differences:
            rows = [
                [
                    f"{each.method} - {each.other}",
                    each.metric,
                    f"{each.difference:+.4f} [{each.low:+.4f}, {each.high:+.4f}]",
                    f"{each.p_value:.4f}",
                    str(each.count),
                ]
                for each in self.differences
            ]
            lines += ["", *_table(["pair", "metric", "mean difference [95 %]", "p", "pictures"], rows)]
        lines += ["", "## Protocol", "", *(f"- {name}: {value}" for name, value in self.protocol.items())]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        if self.failures:
            lines += ["", "## Problems", "", *(f"- {problem}" for problem in self.failures)]
        return "\n".join(lines) + "\n"

    def _summary(self, method: str) -> list[str]:
        cells = [method]
        for metric in self.metrics:
            mean = self.mean(method, metric.name)
            cells.append("-" if mean is None else describe_mean(mean, metric.decimals))
        return cells


def describe_mean(mean: Mean, decimals: int) -> str:
    """A mean with its interval: 28.4210 [26.1, 30.7]."""
    if mean.count < 2 or not math.isfinite(mean.mean) or math.isnan(mean.low):
        return f"{mean.mean:.{decimals}f}"
    return f"{mean.mean:.{decimals}f} [{mean.low:.{decimals}f}, {mean.high:.{decimals}f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
