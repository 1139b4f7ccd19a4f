"""An evaluation as one HTML file: summary, differences, a plot, best and worst pictures, all scores, protocol.

The same evaluation gives the same bytes: no date, machine name or path is written into it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.errors import PictureError
from tessera.evaluate.scores import Evaluation, PairedDifference, ScoreRow
from tessera.evaluate.tables import describe_coverage
from tessera.images.picture_format import Limits
from tessera.metrics.metric import MetricInfo
from tessera.report.axis import AxisLabel
from tessera.report.page import Cell, name, page, section, sentences, table, text, write_page
from tessera.report.plot import Point, draw_scatter
from tessera.report.views import (
    Region,
    Shown,
    Size,
    encode_data_uri,
    find_difference,
    fit,
    read_region,
    read_size,
    read_whole,
    shrink_size,
)
from tessera.wording import format_count

BASELINES = frozenset({"nearest", "bilinear", "bicubic", "lanczos"})
"""Methods of comparison."""

_MOST_OF_EACH = 3
_MOST_METHODS = 10
_CROP_SIDE = 128
_SEARCH_SIDE = 1536
_SIGNIFICANT = 0.05
_LIMITS = Limits(max_pixels=None)
"""No limit: the pictures were already read when they were scored."""


def write_report(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write the report of one or more test sets, whole or not at all. Raises PictureError when it cannot be written."""
    title = ", ".join(evaluation.title for evaluation in evaluations)
    write_page(path, page(title, render_body(evaluations), script=""))


def render_body(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """The parts of the report between heading and footer; each part has all test sets, under their titles."""
    methods = {method for each in evaluations for method in each.methods}
    measured = sum(len({row.picture for row in each.rows}) for each in evaluations)
    sets = f"{format_count(len(evaluations), 'test set')}, " if len(evaluations) > 1 else ""
    scale = f", x{evaluations[0].scale}" if evaluations[0].scale else ""
    failures = list(dict.fromkeys(failure for each in evaluations for failure in each.failures))
    notes = list(dict.fromkeys(note for each in evaluations for note in each.notes))
    trouble = f'; <a href="#problems">{format_count(len(failures), "problem")}</a>' if failures else ""
    protocol = name(evaluations[0].protocol.get("protocol", ""))
    under = f', measured by the protocol <a href="#protocol">{protocol}</a>' if protocol else ""
    counts = f"{sets}{format_count(len(methods), 'method')}, {format_count(measured, 'picture')}"
    yield f"<p>{counts}{scale}{under}{trouble}.</p>\n"
    parts: list[tuple[str, Callable[[Evaluation], str]]] = [
        ("Summary", _summary),
        ("Paired differences", _differences),
        ("Trade-off", _plot),
        ("Best and worst pictures", functools.partial(_extremes, level=4 if len(evaluations) > 1 else 3)),
        ("All scores", _scores),
    ]
    for title, build in parts:
        found = [(each.title, content) for each in evaluations if (content := build(each))]
        if found:
            heads = [f"<h3>{name(head)}</h3>\n" if len(evaluations) > 1 else "" for head, _ in found]
            contents = (content for _, content in found)
            yield section(title, *itertools.chain(*zip(heads, contents, strict=True)))
    folded = (
        f"<details>\n<summary>How the scores were measured</summary>\n{_pairs(evaluations[0].protocol)}</details>\n"
    )
    yield section("Protocol", folded)
    yield section("Metrics", _meanings(evaluations))
    if notes:
        yield section("Notes", sentences(notes))
    if failures:
        yield section("Problems", sentences(failures, "problems"))


def main_method(evaluation: Evaluation) -> str | None:
    """The method that the report is about: the first that is not a baseline."""
    own = [method for method in evaluation.methods if method.lower() not in BASELINES]
    return (own or [*evaluation.methods, None])[0]


def ranking_metric(evaluation: Evaluation) -> MetricInfo | None:
    """The metric that pictures are ranked by: the first that reads the reference, else the first of all."""
    with_reference = [metric for metric in evaluation.metrics if "gt" in metric.needs]
    return (with_reference or [*evaluation.metrics, None])[0]


def format_number(value: float, decimals: int, sign: str = "") -> str:
    """Format a number for people: ∞ for infinity, a dash for NaN.

    >>> [format_number(value, 1) for value in (28.42, -0.5, float("inf"), float("nan"))]
    ['28.4', '−0.5', '∞', '–']
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:{sign}.{decimals}f}".replace("-", "−")


def _pairs(pairs: dict[str, str]) -> str:
    return (
        "<dl>\n" + "".join(f"<dt>{name(key)}</dt><dd>{name(value)}</dd>\n" for key, value in pairs.items()) + "</dl>\n"
    )


def _head(metric: MetricInfo) -> str:
    words = "higher is better" if metric.higher_is_better else "lower is better"
    return f'{text(metric.title)} <span aria-hidden="true">{metric.arrow}</span><span class="hidden">, {words}</span>'


def _summary(evaluation: Evaluation) -> str:
    best = {metric.name: _find_best_methods(evaluation, metric) for metric in evaluation.metrics}
    rows: list[list[Cell]] = []
    for method in evaluation.methods:
        cells = [Cell(name(method), method)]
        for metric in evaluation.metrics:
            mean = evaluation.mean(method, metric.name)
            if mean is None:
                cells.append(Cell("–", ""))
                continue
            is_best = method in best[metric.name]
            content = format_number(mean.mean, metric.decimals)
            if is_best:
                content = f'<span aria-hidden="true">★ </span>{content}<span class="hidden"> (best)</span>'
            if mean.has_interval:
                low, high = format_number(mean.low, metric.decimals), format_number(mean.high, metric.decimals)
                content += f' <span class="interval">[{low}, {high}]</span>'
            if coverage := describe_coverage(mean):
                content += f' <span class="interval">({coverage})</span>'
            cells.append(Cell(content, mean.mean, "best" if is_best else ""))
        rows.append(cells)
    names = [metric.name for metric in evaluation.metrics]
    for each in evaluation.published:
        if each.metric in names:
            found = (Cell(f"{each.score:g}", each.score) if name_ == each.metric else Cell("–", "") for name_ in names)
            rows.append([Cell(name(each.label), each.label), *found])
    caption = "Mean over the pictures [95 % interval of the mean]; ★ best."
    if evaluation.published:
        caption += " Rows marked published are a paper's numbers, not measured here."
    if any(describe_coverage(mean) for mean in evaluation.means):
        caption += (
            " (7 of 8): pictures that have a score; (1 equal): pictures equal to their reference, whose infinite scores"
            " are not part of the mean. ★ only where all means are over the same number of pictures."
        )
    return table(caption, ["Method", *map(_head, evaluation.metrics)], rows, sortable=True)


def _find_best_methods(evaluation: Evaluation, metric: MetricInfo) -> set[str]:
    """The methods with the best printed mean; none when means of different pictures would be compared."""
    means = [mean for mean in evaluation.means if mean.metric == metric.name and not math.isnan(mean.mean)]
    if len(means) < 2 or len({(mean.count, mean.equal) for mean in means}) > 1:
        return set()
    best = (max if metric.higher_is_better else min)(mean.mean for mean in means)
    return {
        mean.method
        for mean in means
        if format_number(mean.mean, metric.decimals) == format_number(best, metric.decimals)
    }


def _differences(evaluation: Evaluation) -> str:
    if not evaluation.differences:
        return ""
    metrics = {metric.name: metric for metric in evaluation.metrics}
    rows: list[list[Cell]] = []
    for each in evaluation.differences:
        metric = metrics.get(each.metric)
        decimals = metric.decimals if metric is not None else 4
        verdict, classes = _verdict(each, metric)
        low, high = format_number(each.low, decimals, "+"), format_number(each.high, decimals, "+")
        p_value = "< 0.0001" if each.p_value < 0.0001 else format_number(each.p_value, 4)
        rows.append(
            [
                Cell(f"{name(each.method)} − {name(each.other)}", f"{each.method} {each.other}"),
                Cell(text(metric.title if metric is not None else each.metric), classes="words"),
                Cell(
                    f'{format_number(each.difference, decimals, "+")} <span class="interval">[{low}, {high}]</span>',
                    each.difference,
                ),
                Cell(p_value, each.p_value),
                Cell(str(each.count) if each.count == each.total else f"{each.count} of {each.total}", each.count),
                Cell(verdict, classes=f"words {classes}".strip()),
            ]
        )
    caption = (
        "Differences on the same pictures: mean [95 % bootstrap interval], and the p-value of the paired sign-flip"
        " test. Better or worse needs both p < 0.05 and an interval without 0. p-values are not corrected for their"
        " number."
    )
    few = [each.count for each in evaluation.differences if _compute_least_p(each.count) >= _SIGNIFICANT]
    if few:
        caption += (
            f" With {max(few)} pictures p cannot fall below {_compute_least_p(max(few)):.4g}: score more pictures."
        )
    return table(
        caption, ["Pair", "Metric", "Mean difference", "p (sign-flip)", "Pictures", "Verdict"], rows, sortable=True
    )


def _compute_least_p(count: int) -> float:
    """The least two-sided p-value of the sign-flip test: two of 2^n flips are as extreme as the most extreme."""
    return 2 / 2**count


def _verdict(difference: PairedDifference, metric: MetricInfo | None) -> tuple[str, str]:
    """The verdict on a difference in words, and the class that colors it."""
    sure = difference.p_value < _SIGNIFICANT and not difference.low <= 0 <= difference.high
    if not sure and _compute_least_p(difference.count) >= _SIGNIFICANT:
        return "too few pictures", ""
    if metric is None or not sure:
        return "no clear difference", ""
    return ("better", "better") if (difference.difference > 0) == metric.higher_is_better else ("worse", "worse")


def _scores(evaluation: Evaluation) -> str:
    problems = any(row.problems for row in evaluation.rows)
    rows: list[list[Cell]] = []
    for row in evaluation.rows:
        cells = [Cell(name(row.picture), row.picture), Cell(name(row.method), row.method, "words")]
        for metric in evaluation.metrics:
            score = row.scores.get(metric.name)
            cells.append(Cell("–", "") if score is None else Cell(format_number(score, metric.decimals), score))
        if problems:
            cells.append(Cell(name(" ".join(row.problems)), classes="words"))
        rows.append(cells)
    head = ["Picture", "Method", *map(_head, evaluation.metrics), *(["Problems"] if problems else [])]
    return table("A row per picture and method; click a column head to sort by it.", head, rows, sortable=True)


def _meanings(evaluations: Sequence[Evaluation]) -> str:
    metrics = {metric.name: metric for each in evaluations for metric in each.metrics}
    rows = [
        [
            Cell(text(metric.title)),
            Cell("higher" if metric.higher_is_better else "lower", classes="words"),
            Cell(text(metric.range), classes="words"),
            Cell(text(", ".join(["sr", *metric.needs])), classes="words"),
            Cell(text(metric.summary), classes="words"),
            Cell(text(metric.source), classes="words"),
        ]
        for metric in metrics.values()
    ]
    caption = "sr: result; gt: reference; lq: input."
    return table(caption, ["Metric", "Better", "Range", "Reads", "Measures", "Source"], rows)


def _plot(evaluation: Evaluation) -> str:
    """PSNR against NIQE, or the first two metrics; empty when no method has both."""
    by_name = {metric.name: metric for metric in evaluation.metrics}
    pair = [by_name[each] for each in ("psnr", "niqe") if each in by_name]
    across, up = (pair if len(pair) == 2 else [*evaluation.metrics, None, None])[:2]
    if across is None or up is None:
        return ""
    points: list[Point] = []
    left_out: list[str] = []
    for method in evaluation.methods:
        x, y = evaluation.mean(method, across.name), evaluation.mean(method, up.name)
        if x is None or y is None or not (math.isfinite(x.mean) and math.isfinite(y.mean)):
            left_out.append(method)
        else:
            points.append(Point(name=method, x=x.mean, y=y.mean, baseline=method.lower() in BASELINES))
    if not points:
        return ""
    caption = "Means over the pictures; squares are baselines."
    if left_out:
        caption += f" Not shown, because a mean is missing or infinite: {', '.join(map(name, left_out))}."
    svg = draw_scatter(points, _label(across), _label(up))
    drawn = f'<div class="scroll" role="region" aria-label="Plot" tabindex="0">\n{svg}</div>\n'
    return f'<figure style="margin:0">\n{drawn}<figcaption>{caption}</figcaption>\n</figure>\n'


def _label(metric: MetricInfo) -> AxisLabel:
    return AxisLabel(title=metric.title, higher_is_better=metric.higher_is_better)


def _extremes(evaluation: Evaluation, level: int) -> str:
    """The best and the worst pictures of the main method, each as aligned crops."""
    method, metric = main_method(evaluation), ranking_metric(evaluation)
    if method is None or metric is None:
        return ""
    scored = [
        row for row in evaluation.rows if row.method == method and not math.isnan(row.scores.get(metric.name, math.nan))
    ]
    scored = [row for row in scored if row.sr is not None]
    scored.sort(key=lambda row: row.scores[metric.name], reverse=metric.higher_is_better)
    many = min(_MOST_OF_EACH, len(scored) // 2)
    parts = [("Best", scored[:many]), ("Worst", scored[::-1][:many])] if many else [("Picture", scored)]
    if not scored:
        return ""
    intro = (
        f"By {text(metric.title)} of {name(method)}. Each row shows one region of {_CROP_SIDE}x{_CROP_SIDE} pixels,"
        " where the results differ most: of the input (upscaled by nearest), of each method and of the reference."
    )
    pieces = [f"<p>{intro}</p>\n"]
    for title, rows in parts:
        for row in rows:
            pieces.append(
                f"<h{level}>{title}: {name(row.picture)},"
                f" {format_number(row.scores[metric.name], metric.decimals)} {text(metric.unit)}".rstrip()
                + f"</h{level}>\n"
            )
            pieces.append(_crops(evaluation, row, metric))
    return "".join(pieces)


@dataclass(frozen=True, kw_only=True)
class _View:
    """One picture of a subject, shown next to the others."""

    caption: str
    path: Path
    score: str = ""
    is_result: bool = False
    is_input: bool = False


def _crops(evaluation: Evaluation, main: ScoreRow, metric: MetricInfo) -> str:
    views: list[_View] = []
    rows = [row for each in evaluation.methods if (row := evaluation.row(each, main.picture)) is not None]
    rows = [row for row in rows if row.sr is not None]
    kept = [main, *(row for row in rows if row is not main)][:_MOST_METHODS]
    for row in rows:
        if row in kept and row.sr is not None:
            score = row.scores.get(metric.name)
            shown = "" if score is None else format_number(score, metric.decimals)
            views.append(_View(caption=row.method, path=row.sr, score=shown, is_result=True))
    if main.lq is not None:
        views.insert(0, _View(caption="input (lq)", path=main.lq, is_input=True))
    if main.gt is not None:
        views.append(_View(caption="reference (gt)", path=main.gt))
    lines: list[str] = []
    try:
        views, full, lost = _select_same_subject(views, main)
        region = _choose_region(views, full, evaluation.scale)
        for view in views:
            placed = fit(read_size(view.path, _LIMITS), full)
            picture = read_region(view.path, placed, region, _LIMITS)
            how = f" · {text(placed.how)}" if placed.how != "as it is" else ""
            score = f" · {text(view.score)}" if view.score else ""
            lines.append(
                f'<figure><img src="{encode_data_uri(picture)}" width="{region.width}" height="{region.height}"'
                f' style="width:{region.width * 1.5:g}px" alt="{text(view.caption)}">'
                f'<figcaption style="max-width:{max(120, region.width * 1.5):g}px">'
                f"<strong>{name(view.caption)}</strong>"
                f"{score}<span class=soft>{how}</span></figcaption></figure>\n"
            )
    except PictureError as error:
        return f"<p>The crops cannot be shown: {name(error)}</p>\n"
    said = f"<p class=soft>Region {region} (x, y, size) of {full[1]}x{full[0]}.</p>\n"
    return f'<div class="crops row">\n{"".join(lines)}</div>\n{said}{sentences(lost) if lost else ""}'


def _select_same_subject(views: list[_View], main: ScoreRow) -> tuple[list[_View], Size, list[str]]:
    """The views of matching size, that size, and sentences about the others.

    The size is that of the reference, or of the main method's result.
    """
    sizes: dict[Path, Size] = {}
    lost: list[str] = []
    for view in views:
        try:
            sizes[view.path] = read_size(view.path, _LIMITS)
        except PictureError as error:
            lost.append(f"{view.caption} is not shown: {error}")
    readable = [view for view in views if view.path in sizes]
    anchor = next((path for path in (main.gt, main.sr) if path in sizes), None)
    if anchor is None:
        raise PictureError(f"{main.picture}: neither its result nor its reference can be read.")
    full = sizes[anchor]
    kept: list[_View] = []
    for view in readable:
        placed = fit(sizes[view.path], full)
        if view.is_input or placed.factor == 1:
            kept.append(view)
        else:
            height, width = sizes[view.path]
            lost.append(f"{view.caption} is not shown: it is {width}x{height}, the others {full[1]}x{full[0]}.")
    return kept, full, lost


def _choose_region(views: list[_View], full: Size, scale: int | None) -> Region:
    results = [view for view in views if view.is_result]
    if len(results) < 2:  # compare with the reference
        results = [view for view in views if not view.is_input]
    target = shrink_size(full, _SEARCH_SIDE)
    wholes: list[Shown] = []
    for view in results:
        with contextlib.suppress(PictureError):  # damaged pictures are reported when they are shown
            wholes.append(read_whole(view.path, fit(read_size(view.path, _LIMITS), full), target, _LIMITS))
    if not wholes:
        return Region(x=0, y=0, width=_CROP_SIDE, height=_CROP_SIDE).inside(full)
    unit = next(unit for unit in itertools.count(8) if unit % (scale or 1) == 0)
    return find_difference(wholes, full, side=_CROP_SIDE, unit=unit)
