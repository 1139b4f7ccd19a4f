"""Scored pictures -> an evaluation: means with intervals, scores of whole sets, paired differences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tessera.evaluate.pairs import Pairing
from tessera.evaluate.scores import Evaluation, Mean, PairedDifference, ScoreRow
from tessera.evaluate.scoring import PictureScores, Scorer
from tessera.evaluate.statistics import bootstrap_interval, compute_paired_p_value
from tessera.metrics.metric import Metric, MetricInfo

BASELINES = ("bicubic", "lanczos")
"""Methods that every evaluation of models contains."""


@dataclass(frozen=True)
class ScoredPicture:
    """A picture by a method: its row, and the scorer's results."""

    row: ScoreRow
    scores: PictureScores


def summarize(
    title: str, pairing: Pairing, scorer: Scorer, methods: tuple[str, ...], scored: Sequence[ScoredPicture]
) -> Evaluation:
    """Summarize scored pictures by method and metric. Metrics without any score are left out."""
    metrics = [each.metric for each in scorer.metrics]
    means = [
        mean
        for method in methods
        for metric in metrics
        if (mean := _mean(method, metric, scored, scorer, len(pairing.pairs)))
    ]
    seen = {mean.metric for mean in means} | {name for each in scored for name in each.row.scores}
    infos = tuple(metric.info for metric in metrics if metric.info.name in seen)
    rows = tuple(each.row for each in scored)
    notes = [*pairing.notes, *(note for each in scored for note in each.scores.notes), *_write_remarks(metrics, means)]
    return Evaluation(
        title=title,
        scale=scorer.scale,
        protocol=scorer.protocol.describe(scorer.scale, {info.name for info in infos}),
        metrics=infos,
        methods=methods,
        pictures=tuple(pair.name for pair in pairing.pairs),
        rows=rows,
        means=tuple(means),
        differences=tuple(_compare_models(methods, infos, rows, len(pairing.pairs))),
        problems=pairing.problems,
        notes=tuple(dict.fromkeys(notes)),
    )


def _mean(method: str, metric: Metric, scored: Sequence[ScoredPicture], scorer: Scorer, total: int) -> Mean | None:
    """The mean of the pictures' finite scores, or the metric's pooled score of the set, which has no interval."""
    name = metric.info.name
    mine = [each for each in scored if each.row.method == method]
    scores = [each.row.scores[name] for each in mine if name in each.row.scores]
    states = [each.scores.states[name] for each in mine if name in each.scores.states]
    if metric.pool is not None and states and (not scores or scorer.protocol.averaging == "pixels"):
        pooled = metric.pool(states)
        if pooled is None:
            return None
        return Mean(
            method=method, metric=name, mean=pooled, low=math.nan, high=math.nan, count=len(states), total=total
        )
    if not scores:
        return None
    finite = [score for score in scores if math.isfinite(score)]
    low, high = bootstrap_interval(finite or scores)
    return Mean(
        method=method,
        metric=name,
        mean=float(np.mean(finite or scores)),
        low=low,
        high=high,
        count=len(scores),
        equal=len(scores) - len(finite),
        total=total,
    )


def _write_remarks(metrics: Sequence[Metric], means: Sequence[Mean]) -> Iterator[str]:
    """The metrics' remarks on their scores; a remark that several methods share comes once."""
    for metric in metrics:
        if metric.remark is None:
            continue
        methods: dict[str, list[str]] = {}
        for mean in means:
            if mean.metric == metric.info.name:
                methods.setdefault(metric.remark(mean.mean, mean.count), []).append(mean.method)
        for remark, names in methods.items():
            yield f"{', '.join(names)}: {remark}"


def _compare_models(
    methods: Sequence[str], metrics: Sequence[MetricInfo], rows: Sequence[ScoreRow], total: int
) -> Iterator[PairedDifference]:
    """Differences between every two models; a single model is compared with bicubic."""
    models = [method for method in methods if method not in BASELINES]
    pairs = list(combinations(models, 2))
    if len(models) == 1 and "bicubic" in methods:
        pairs = [(models[0], "bicubic")]
    for method, other in pairs:
        for info in metrics:
            theirs = {
                row.picture: row.scores[info.name] for row in rows if row.method == other and info.name in row.scores
            }
            apart = [
                row.scores[info.name] - theirs[row.picture]
                for row in rows
                if row.method == method
                and info.name in row.scores
                and row.picture in theirs
                and math.isfinite(row.scores[info.name])
                and math.isfinite(theirs[row.picture])
            ]
            if len(apart) < 2:
                continue
            low, high = bootstrap_interval(apart)
            yield PairedDifference(
                method=method,
                other=other,
                metric=info.name,
                difference=float(np.mean(apart)),
                low=low,
                high=high,
                p_value=compute_paired_p_value(apart),
                count=len(apart),
                total=total,
            )
