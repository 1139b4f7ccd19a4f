"""Evaluations as CSV, JSON and Markdown: one of them, or one for each test set.

All three are valid UTF-8, with any file names: bytes that are not UTF-8 are written as escapes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tessera.evaluate.scores import Evaluation, Mean
from tessera.metrics.metric import MetricInfo

_LEGEND = (
    "Mean over the pictures [95 % interval of the mean]. (7 of 8): pictures that have a score, where not all have one."
    " (1 equal): pictures that equal their reference; their score is infinite, and the mean is that of the others."
)


def format_csv(rows: Iterable[Sequence[str | float | None]]) -> str:
    """Rows of a table as CSV for programs and spreadsheets; None is an empty cell.

    Text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, "CSV Injection"); numbers do not.
    Control characters become escapes, so that a row is a line.

    >>> format_csv([["picture", "psnr"], ["=1+1", -2.5], ["a,b", None]])
    'picture,psnr\\n\\'=1+1,-2.5\\n"a,b",\\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([_format_csv_cell(value) for value in row])
    return text.getvalue()


def scores_as_csv(evaluations: Sequence[Evaluation]) -> str:
    """A row per picture and method, a column per metric (empty where there is no score); several sets get a column."""
    several = len(evaluations) > 1
    names = list(_find_metrics(evaluations))
    rows: list[Sequence[str | float | None]] = [
        [*(["set"] if several else []), "picture", "model", *names, "problem"],
    ]
    for evaluation in evaluations:
        for row in evaluation.rows:
            scores = [row.scores.get(name) for name in names]
            place = [evaluation.title] if several else []
            rows.append([*place, row.picture, row.method, *scores, " ".join(row.problems)])
    return format_csv(rows)


def scores_as_json(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Plain values for JSON: infinities become the text "inf", and what is not a number becomes null.

    One evaluation is an object; several are the list `evaluations` of an object.
    """
    plain = [_simplify(dataclasses.asdict(evaluation)) for evaluation in evaluations]
    return plain[0] if len(plain) == 1 else {"title": _format_title(evaluations), "evaluations": plain}


def scores_as_markdown(evaluations: Sequence[Evaluation]) -> str:
    """The means with their intervals, the differences, and the protocol."""
    lines = [f"# {_format_line(_format_title(evaluations))}", ""]
    for evaluation in evaluations:
        if len(evaluations) > 1:
            lines += [f"## {_format_line(evaluation.title)}", ""]
        head = ["model", *(f"{metric.title} {metric.arrow}" for metric in evaluation.metrics)]
        rows = [*(_summarize(evaluation, method) for method in evaluation.methods), *_list_published(evaluation)]
        lines += [*_format_table(head, rows), ""]
        lines += _format_differences(evaluation)
    lines += [_LEGEND, "", "## Protocol", ""]
    lines += [f"- {_format_line(name)}: {_format_line(value)}" for name, value in evaluations[0].protocol.items()]
    for title, remarks in (
        ("Notes", [note for each in evaluations for note in each.notes]),
        ("Problems", [problem for each in evaluations for problem in each.failures]),
    ):
        if remarks:
            lines += ["", f"## {title}", "", *(f"- {_format_line(remark)}" for remark in dict.fromkeys(remarks))]
    return "\n".join(lines) + "\n"


def describe_mean(mean: Mean, decimals: int) -> str:
    """A mean with its interval and what it is the mean of: 28.4210 [26.1000, 30.7000] (7 of 8).

    >>> describe_mean(Mean(method="a", metric="psnr", mean=30, low=29, high=31, count=5, equal=1, total=8), 1)
    '30.0 [29.0, 31.0] (5 of 8; 1 equal)'
    """
    text = f"{mean.mean:.{decimals}f}"
    if mean.has_interval:
        text += f" [{mean.low:.{decimals}f}, {mean.high:.{decimals}f}]"
    coverage = describe_coverage(mean)
    return f"{text} ({coverage})" if coverage else text


def describe_coverage(mean: Mean) -> str:
    """Which pictures a mean is over, where it is not all of them: "7 of 8; 1 equal"; else empty."""
    parts = [f"{mean.count} of {mean.total}"] if mean.count < mean.total else []
    parts += [f"{mean.equal} equal"] if mean.equal else []
    return "; ".join(parts)


def _format_title(evaluations: Sequence[Evaluation]) -> str:
    return ", ".join(evaluation.title for evaluation in evaluations)


def _find_metrics(evaluations: Sequence[Evaluation]) -> dict[str, MetricInfo]:
    return {metric.name: metric for evaluation in evaluations for metric in evaluation.metrics}


def _summarize(evaluation: Evaluation, method: str) -> Iterator[str]:
    yield method
    for metric in evaluation.metrics:
        mean = evaluation.mean(method, metric.name)
        yield "-" if mean is None else describe_mean(mean, metric.decimals)


def _list_published(evaluation: Evaluation) -> Iterator[list[str]]:
    """A row for each method with a published score, marked as such."""
    names = [metric.name for metric in evaluation.metrics]
    for each in evaluation.published:
        if each.metric in names:
            yield [each.label, *(f"{each.score:g}" if name == each.metric else "-" for name in names)]


def _format_differences(evaluation: Evaluation) -> list[str]:
    rows = [
        [
            f"{each.method} - {each.other}",
            each.metric,
            f"{each.difference:+.4f} [{each.low:+.4f}, {each.high:+.4f}]",
            f"{each.p_value:.4f}",
            f"{each.count}" if each.count == each.total else f"{each.count} of {each.total}",
        ]
        for each in evaluation.differences
    ]
    return [*_format_table(["pair", "metric", "mean difference [95 %]", "p", "pictures"], rows), ""] if rows else []


def _format_table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    rows = [[_format_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _format_line(text: str) -> str:
    """Text on one line: control characters become escapes, as bytes that are not UTF-8 do."""
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in ("Cc", "Cs") else each for each in text
    )


def _format_csv_cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    return f"'{_format_line(value)}" if value.startswith(("=", "+", "-", "@")) else _format_line(value)


def _format_unicode(text: str) -> str:
    """The text without lone surrogates, which stand for bytes of file names that are not UTF-8.

    >>> _format_unicode("caf\\udce9.png")
    'caf\\\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _simplify(value: Any) -> Any:
    if isinstance(value, dict):
        return {_format_unicode(str(key)): _simplify(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_simplify(each) for each in value]
    if isinstance(value, str | Path):
        return _format_unicode(str(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
