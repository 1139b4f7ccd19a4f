"""An evaluation from beginning to end: pictures made, results scored, means and differences drawn from the scores.

What is already there from an earlier run with the same inputs, weights and settings is not made again (the upscaling's
journal decides).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from tessera.errors import TesseraError, UsageError
from tessera.evaluate import making
from tessera.evaluate.pairs import Found, Pair
from tessera.evaluate.scores import Difference, Evaluation, Mean, MetricInfo, Row
from tessera.evaluate.scoring import Measured, Scorer, metric_info
from tessera.evaluate.statistics import bootstrap_interval, paired_p_value
from tessera.metrics.fid import FEWEST_PICTURES, FrechetStatistics
from tessera.metrics.perceptual_index import pirm_region
from tessera.upscaling.batch import run_batch
from tessera.upscaling.finding import Task
from tessera.upscaling.journal import Journal
from tessera.upscaling.upscaler import Upscaler
from tessera.wording import counted

BASELINES = ("bicubic", "lanczos")
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Method:
    """Something that enlarges: a baseline by its name, or a model."""

    name: str
    upscaler: Upscaler | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether it is plain resampling."""
        return self.upscaler is None


def evaluate_results(found: Found, scorer: Scorer, *, title: str, say: Progress = lambda _: None) -> Evaluation:
    """Score pictures that somebody has made: `found` has pairs (sr, gt)."""
    rows: list[tuple[Row, Measured]] = []
    for pair in found.pairs:
        say(pair.name)
        assert pair.sr is not None
        rows.append(_scored("result", pair, pair.sr, scorer))
    return _evaluation(title, found, scorer, ("result",), rows)


def evaluate_methods(
    found: Found,
    methods: Sequence[Method],
    scorer: Scorer,
    out: Path,
    *,
    title: str,
    say: Progress = lambda _: None,
) -> Evaluation:
    """Enlarge every input by every method, into `out`/pictures, and score the results.

    Inputs that a data set lacks are made from its references. A picture that fails gets its sentence, and the others
    are scored all the same. Raises UsageError when a method's scale is another.
    """
    for method in methods:
        if method.upscaler is not None and method.upscaler.scale != scorer.scale:
            raise UsageError(
                f"{method.name} enlarges {method.upscaler.scale} times, and --scale is {scorer.scale}; they must agree."
            )
    pictures = out / "pictures"
    problems: list[str] = list(found.problems)
    pairs: list[Pair] = []
    for pair in found.pairs:
        try:
            pairs.append(_prepared(pair, scorer, pictures))
        except TesseraError as error:
            problems.append(str(error))
    rows: list[tuple[Row, Measured]] = []
    for method in methods:
        folder = pictures / _folder_name(method.name)
        failed = _made(method, pairs, folder, scorer, say)
        for pair in pairs:
            say(f"{method.name}: {pair.name}")
            if pair.name in failed:
                problem = failed[pair.name]
                rows.append((Row(method=method.name, picture=pair.name, scores={}, problems=(problem,)), _NOTHING))
            else:
                rows.append(_scored(method.name, pair, folder / f"{pair.name}.png", scorer))
    made = any(pair.lq is None for pair in found.pairs) and not scorer.protocol.enlarge_originals
    notes = (
        *found.notes,
        *((f"Inputs were made: {scorer.protocol.in_words(None)['inputs made by']}.",) if made else ()),
    )
    return _evaluation(
        title, Found(tuple(pairs), tuple(problems), notes), scorer, tuple(method.name for method in methods), rows
    )


_NOTHING = Measured(scores={})


def _prepared(pair: Pair, scorer: Scorer, pictures: Path) -> Pair:
    """A pair with an input, in the sizes that the protocol wants."""
    protocol, lq, gt = scorer.protocol, pair.lq, pair.gt
    if protocol.enlarge_originals:
        original = gt or lq
        assert original is not None
        return Pair(pair.name, lq=original)
    if lq is None:
        assert gt is not None
        lq = pictures / "input" / f"{pair.name}.png"
        making.shrink(gt, lq, scorer.scale, protocol.lq_kernel)
    if protocol.lq_size is not None:
        sized = pictures / "input_resized" / f"{pair.name}.png"
        making.resize_to(lq, sized, protocol.lq_size, "area")
        lq = sized
    if gt is not None and protocol.gt_size is not None:
        sized = pictures / "reference_resized" / f"{pair.name}.png"
        making.resize_to(gt, sized, protocol.gt_size, "area")
        gt = sized
    return Pair(pair.name, gt=gt, lq=lq)


def _made(method: Method, pairs: Sequence[Pair], folder: Path, scorer: Scorer, say: Progress) -> dict[str, str]:
    """Make a method's results -> the sentences about those that failed, by picture."""
    deep = not scorer.protocol.rounded
    if method.upscaler is None:
        failed: dict[str, str] = {}
        for pair in pairs:
            assert pair.lq is not None
            try:
                kernel = "bicubic" if method.name == "bicubic" else "lanczos3"
                making.enlarge(pair.lq, folder / f"{pair.name}.png", scorer.scale, kernel, deep=deep)
            except TesseraError as error:
                failed[pair.name] = str(error)
        return failed
    say(f"{method.name}: enlarging {counted(len(pairs), 'picture')}")
    tasks = [Task(pair.lq, folder / f"{pair.name}.png", named_by_user=True) for pair in pairs if pair.lq is not None]
    journal = Journal(folder)
    for task in tasks:  # this folder is ours: what an evaluation of other pictures left is made anew
        known = journal.source_of(task.output)
        if known is not None and known != journal.path_from_here(task.source):
            task.output.unlink(missing_ok=True)
    report = run_batch(tasks, method.upscaler, journal, overwrite=False)
    return {result.output.stem: result.message for result in report.results if result.state in ("failed", "dropped")}


def _scored(method: str, pair: Pair, sr: Path, scorer: Scorer) -> tuple[Row, Measured]:
    measured = scorer.measure(sr, gt=pair.gt, lq=pair.lq)
    row = Row(
        method=method,
        picture=pair.name,
        scores=measured.scores,
        problems=measured.problems,
        sr=sr,
        gt=pair.gt,
        lq=pair.lq,
    )
    return row, measured


def _evaluation(
    title: str, found: Found, scorer: Scorer, methods: tuple[str, ...], scored: Sequence[tuple[Row, Measured]]
) -> Evaluation:
    infos = [info for name in scorer.metrics if (info := metric_info(name)) is not None]
    seen = {name for row, _ in scored for name in row.scores}
    distances = [mean for method in methods if (mean := _distance(method, scored)) is not None]
    seen |= {mean.metric for mean in distances}
    metrics = tuple(info for info in infos if info.name in seen)
    rows = tuple(row for row, _ in scored)
    notes = tuple(dict.fromkeys((*found.notes, *(note for _, measured in scored for note in measured.notes))))
    means = [_mean(method, info, scored, scorer) for method in methods for info in metrics]
    for mean in means:
        if mean is not None and mean.metric == "rmse":
            region = pirm_region(mean.mean)
            words = f"region {region}" if region is not None else "beyond all regions"
            notes = (*notes, f"{mean.method}: RMSE {mean.mean:.2f} is {words} of PIRM 2018 (to 11.5, 12.5 and 16).")
    return Evaluation(
        title=title,
        scale=scorer.scale,
        protocol=scorer.protocol.in_words(scorer.scale),
        metrics=metrics,
        methods=methods,
        pictures=tuple(pair.name for pair in found.pairs),
        rows=rows,
        means=(*(mean for mean in means if mean is not None), *distances),
        differences=tuple(_differences(methods, metrics, rows)),
        problems=found.problems,
        notes=(*notes, *(_FEW_FOR_FID.format(count=len(found.pairs)) for _ in distances[:1])),
    )


_FEW_FOR_FID = (
    "FID of {count} pictures: its covariance has 2,048 rows, so papers take tens of thousands; compare only with"
    " numbers of as many pictures."
)


def _mean(method: str, info: MetricInfo, scored: Sequence[tuple[Row, Measured]], scorer: Scorer) -> Mean | None:
    mine = [(row, measured) for row, measured in scored if row.method == method and info.name in row.scores]
    if not mine:
        return None
    scores = [row.scores[info.name] for row, _ in mine]
    low, high = bootstrap_interval(scores)
    mean = float(np.mean(scores))
    if info.name == "psnr" and scorer.protocol.averaging == "pixels":
        weights = [measured.values for _, measured in mine]
        error = float(np.average([measured.squared_error for _, measured in mine], weights=weights))
        mean = 10 * math.log10(255**2 / (error + scorer.protocol.eps)) if error + scorer.protocol.eps else math.inf
        low = high = mean
    return Mean(method=method, metric=info.name, mean=mean, low=low, high=high, count=len(scores))


def _distance(method: str, scored: Sequence[tuple[Row, Measured]]) -> Mean | None:
    """FID of a method's results to their references: one number for all, without interval."""
    features = [found.features for row, found in scored if row.method == method and found.features is not None]
    if len(features) < FEWEST_PICTURES:
        return None
    both = FrechetStatistics(), FrechetStatistics()
    for pair in features:
        for statistics, rows in zip(both, pair, strict=True):
            statistics.take(rows)
    distance = both[0].distance(both[1])
    return Mean(method=method, metric="fid", mean=distance, low=math.nan, high=math.nan, count=len(features))


def _differences(methods: Sequence[str], metrics: Sequence[MetricInfo], rows: Sequence[Row]) -> list[Difference]:
    """Every two models; a single model with bicubic."""
    models = [method for method in methods if method not in BASELINES]
    pairs = list(combinations(models, 2))
    if len(models) == 1 and "bicubic" in methods:
        pairs = [(models[0], "bicubic")]
    found: list[Difference] = []
    for method, other in pairs:
        for info in metrics:
            theirs = {
                row.picture: row.scores[info.name] for row in rows if row.method == other and info.name in row.scores
            }
            apart = [
                row.scores[info.name] - theirs[row.picture]
                for row in rows
                if row.method == method and info.name in row.scores and row.picture in theirs
            ]
            if len(apart) < 2 or not np.isfinite(apart).all():
                continue
            low, high = bootstrap_interval(apart)
            found.append(
                Difference(
                    method=method,
                    other=other,
                    metric=info.name,
                    difference=float(np.mean(apart)),
                    low=low,
                    high=high,
                    p_value=paired_p_value(apart),
                    count=len(apart),
                )
            )
    return found


def _folder_name(method: str) -> str:
    return re.sub(r"[^\w.+@-]", "_", Path(method).name) or "model"
