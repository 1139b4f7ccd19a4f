"""Values over the steps of a run as inline SVG, with spikes visible and values under the pointer.

A long series is divided into bins; each is drawn as its mean, within a band from its minimum to its maximum. Colors
come from the page's style. Shapes: N values, M bins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.report.axis import ChartAxis, fit_axis, format_tick
from tessera.report.page import text
from tessera.report.run_record import Series

Floats = npt.NDArray[np.float64]
MOST_POINTS = 300
"""Maximum number of bins."""
_WIDTH, _HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 82, 14, 12, 40
MOST_CURVES = 6
"""Number of line styles, each with its color and its dashes."""
_DOTS = 40
"""Up to this many values are marked one by one."""


@dataclass(frozen=True)
class DownsampledSeries:
    """A series in at most `MOST_POINTS` bins; a bin without a finite value is NaN."""

    steps: npt.NDArray[np.int64]
    """(M,), the last step of each bin"""
    mean: Floats
    least: Floats
    greatest: Floats
    missing: npt.NDArray[np.bool_]
    """(M,), whether the bin contains NaN"""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a panel."""

    label: str
    series: Series


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart: a curve, or up to `MOST_CURVES` of one unit."""

    title: str
    note: str
    """How to read it, and which direction is better."""
    curves: tuple[Curve, ...]
    within: tuple[float, float] | None = None
    """A fixed range of the axis."""
    level: float | None = None
    """The value of a dashed horizontal line."""


def downsample_series(series: Series, bins: int = MOST_POINTS) -> DownsampledSeries:
    """Divide a series into bins of equally many steps."""
    steps, values = series.steps, series.values
    if len(steps) <= bins:
        return DownsampledSeries(steps, values, values, values, np.isnan(values))
    place = (steps - steps[0]) * bins // (int(steps[-1]) - int(steps[0]) + 1)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    known = ~np.isnan(values)
    counts = np.add.reduceat(known.astype(np.int64), starts)
    sizes = np.diff(starts, append=len(steps))
    empty = counts == 0
    mean = np.add.reduceat(np.where(known, values, 0.0), starts) / np.maximum(counts, 1)
    least = np.minimum.reduceat(np.where(known, values, np.inf), starts)
    greatest = np.maximum.reduceat(np.where(known, values, -np.inf), starts)
    mean, least, greatest = (np.where(empty, np.nan, each) for each in (mean, least, greatest))
    return DownsampledSeries(steps[starts + sizes - 1], mean, least, greatest, counts < sizes)


def draw_panel(panel: Panel, *, last_step: int, marks: Sequence[int] = ()) -> str:
    """Draw a panel from step 0 to `last_step` as a figure; `marks` are steps with a vertical line."""
    drawn = [downsample_series(curve.series) for curve in panel.curves]
    axis = _fit_vertical_axis(panel, drawn)
    if axis is None:
        nothing = '<p class="soft">No finite values.</p>'
        return f'<figure class="curve-box">\n<h3>{text(panel.title)}</h3>\n{nothing}</figure>\n'
    last_step = max(1, last_step)
    across = ChartAxis(least=0, greatest=last_step, start=_LEFT, end=_WIDTH - _RIGHT)
    said = text(f"{panel.title}: {'; '.join(map(_describe_curve, panel.curves))}")
    data = json.dumps([list(_list_points(each)) for each in drawn], separators=(",", ":"))
    names = json.dumps([curve.label for curve in panel.curves])
    lines = [
        f'<figure class="curve-box">\n<h3>{text(panel.title)}</h3>\n{_render_legend(panel)}'
        f'<div class="curve" data-points="{text(data)}" data-names="{text(names)}" data-left="{_LEFT}"'
        f' data-across="{_WIDTH - _LEFT - _RIGHT}" data-last="{last_step}" aria-label="{said}">\n'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{said}">\n',
        *_draw_grid(axis, across),
        *_draw_events(marks, last_step, across),
    ]
    if panel.level is not None:
        y = axis.place(panel.level)
        lines.append(f'<line class="level" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>\n')
    for index, each in enumerate(drawn):
        lines += _draw_curve(each, index % MOST_CURVES, axis, across)
    lines.append(f'<line class="cursor" x1="0" y1="{_TOP}" x2="0" y2="{_HEIGHT - _BOTTOM}"/>\n</svg>\n</div>\n')
    scale = " Logarithmic axis." if axis.log else ""
    lines.append(f"<output>&nbsp;</output>\n<figcaption>{text(panel.note)}{scale}</figcaption>\n</figure>\n")
    return "".join(lines)


def format_short(value: float) -> str:
    """Format a number in four digits.

    >>> format_short(0.000123456), format_short(-1234.5), format_short(math.nan), format_short(0.5)
    ('0.0001235', '−1234', '–', '0.5')
    """
    return "–" if math.isnan(value) else f"{value:.4g}".replace("-", "−")


# ------------------------------------------------------------------------------------------------------------- axes


def _fit_vertical_axis(panel: Panel, drawn: Sequence[DownsampledSeries]) -> ChartAxis | None:
    known = np.concatenate([each[~np.isnan(each)] for thin in drawn for each in (thin.least, thin.greatest)])
    if not len(known):
        return None
    bottom = _HEIGHT - _BOTTOM
    if panel.within is not None:
        return ChartAxis(least=panel.within[0], greatest=panel.within[1], start=bottom, end=_TOP)
    return fit_axis(known.tolist(), start=bottom, end=_TOP, may_be_log=True)


def _draw_grid(axis: ChartAxis, across: ChartAxis) -> Iterator[str]:
    bottom = _HEIGHT - _BOTTOM
    for value in axis.ticks():
        y = axis.place(value)
        yield f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{format_tick(value)}</text>\n'
    for value in across.ticks():
        if value == int(value):
            x = across.place(value)
            yield f'<line class="axis" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}"/>'
            place = f'x="{_WIDTH - 2}" text-anchor="end"' if x > _WIDTH - 40 else f'x="{x:.1f}" text-anchor="middle"'
            yield f'<text {place} y="{bottom + 18}">{_format_steps(value)}</text>\n'
    yield f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{_WIDTH - _RIGHT}"/>\n'
    yield f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 4}" text-anchor="middle">step</text>\n'


def _format_steps(value: float) -> str:
    """Format a number of steps for the axis.

    >>> _format_steps(1500), _format_steps(40000), _format_steps(2500000)
    ('1500', '40k', '2.5M')
    """
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"


# ------------------------------------------------------------------------------------------------------------ lines


def _draw_events(marks: Sequence[int], last_step: int, across: ChartAxis) -> Iterator[str]:
    places = dict.fromkeys(round(across.place(step)) for step in marks if 0 <= step <= last_step)
    for x in places:
        yield f'<line class="event" x1="{x}" y1="{_TOP}" x2="{x}" y2="{_HEIGHT - _BOTTOM}"/>\n'


def _draw_curve(thin: DownsampledSeries, index: int, axis: ChartAxis, across: ChartAxis) -> Iterator[str]:
    """Draw the band, the mean, and ticks on the lower edge for NaN."""
    xs = [across.place(float(step)) for step in thin.steps]
    known = ~np.isnan(thin.mean)
    band: list[str] = []
    mean: list[str] = []
    for run in _split_at_gaps(known):
        spots = [f"{xs[at]:.1f} {axis.place(float(thin.mean[at])):.1f}" for at in run]
        mean.append(f"M{'L'.join(spots)}" if len(spots) > 1 else f"M{spots[0]}h0")
        if (thin.greatest[run] > thin.least[run]).any():
            upper = [f"{xs[at]:.1f} {axis.place(float(thin.greatest[at])):.1f}" for at in run]
            lower = [f"{xs[at]:.1f} {axis.place(float(thin.least[at])):.1f}" for at in reversed(run)]
            band.append(f"M{'L'.join([*upper, *lower])}Z")
    if band:
        yield f'<path class="band line{index}" d="{"".join(band)}"/>\n'
    if mean:
        yield f'<path class="mean line{index}" d="{"".join(mean)}"/>\n'
    if known.sum() <= _DOTS:
        for at in np.flatnonzero(known):
            y = axis.place(float(thin.mean[at]))
            yield f'<circle class="dot line{index}" cx="{xs[at]:.1f}" cy="{y:.1f}" r="2.5"></circle>'
        yield "\n"
    bottom = _HEIGHT - _BOTTOM
    gaps = dict.fromkeys(round(xs[at], 1) for at in np.flatnonzero(thin.missing))
    if gaps:
        yield f'<path class="gap" d="{"".join(f"M{x} {bottom}v-8" for x in gaps)}"/>\n'


def _split_at_gaps(known: npt.NDArray[np.bool_]) -> Iterator[list[int]]:
    """Split the indices of known values at gaps."""
    places = np.flatnonzero(known)
    if len(places):
        for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
            yield run.tolist()


def _list_points(thin: DownsampledSeries) -> Iterator[list[float | None]]:
    """The data for the script: step, mean and, where they differ, minimum and maximum."""
    for step, mean, least, greatest in zip(
        thin.steps.tolist(), thin.mean.tolist(), thin.least.tolist(), thin.greatest.tolist(), strict=True
    ):
        if math.isnan(mean):
            yield [step, None]
        elif least == greatest:
            yield [step, _round_digits(mean)]
        else:
            yield [step, *map(_round_digits, (mean, least, greatest))]


def _round_digits(value: float) -> float:
    return float(f"{value:.5g}")


def _describe_curve(curve: Curve) -> str:
    known = curve.series.values[~np.isnan(curve.series.values)]
    if not len(known):
        return f"{curve.label}: no finite values"
    ends = f"first {format_short(float(known[0]))}, last {format_short(float(known[-1]))}"
    return f"{curve.label}: {ends}, between {format_short(float(known.min()))} and {format_short(float(known.max()))}"


def _render_legend(panel: Panel) -> str:
    if len(panel.curves) < 2:
        return ""
    sample = '<svg viewBox="0 0 38 11" aria-hidden="true"><path d="M1 5.5h36"/></svg>'
    keys = "".join(
        f'<span class="key line{index % MOST_CURVES}">{sample}{text(curve.label)}</span>\n'
        for index, curve in enumerate(panel.curves)
    )
    return f'<p class="keys">{keys}</p>\n'
