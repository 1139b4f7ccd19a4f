"""HTML page of attention maps: sliders over the checkpoints, curves of the agreement, a table.

The page is self-contained: pictures are embedded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tessera.explain.maps import list_gates
from tessera.explain.series import CheckpointSeries
from tessera.explain.settings import ViewSettings
from tessera.explain.subject import Role
from tessera.report.curves import Curve, Panel, draw_panel
from tessera.report.page import Cell, name, page, sentences, table, text, write_page
from tessera.report.run_record import Series
from tessera.report.run_style import CURVE_SCRIPT, CURVE_STYLE


@dataclass(frozen=True)
class Strip:
    """Pictures of one gate, or of the output of one network, at each checkpoint of the page."""

    title: str
    note: str
    sources: dict[str, dict[int, str]]
    """Picture addresses by label, then by checkpoint index."""


@dataclass(frozen=True, kw_only=True)
class PictureRecord:
    """Content of the page about one picture."""

    path: Path
    role: Role
    size: tuple[int, int]
    """(H, W)"""
    labels: tuple[str, ...]
    """Of the checkpoints on the page."""
    strips: tuple[Strip, ...]
    numbers: tuple[Mapping[str, Any], ...]
    """Statistics of every checkpoint, as in attention.json."""

    def values(self, role: str, gate: str, statistic: str) -> list[float]:
        """One statistic over the checkpoints; NaN where undefined."""
        found = (each.get(role, {}).get(gate, {}).get(statistic) for each in self.numbers)
        return [math.nan if value is None else float(value) for value in found]


@dataclass(frozen=True)
class GateStatistic:
    """A statistic of a gate's attention maps, and how to read it."""

    key: str
    title: str
    note: str
    role: Role | None = None
    """The picture it is measured on; None for the one that the user named."""
    within: tuple[float, float] | None = None
    level: float | None = None


QUANTITIES = (
    GateStatistic(
        "edges_rank",
        "Rank correlation with edges",
        "Spearman's, against Sobel's gradient of the luma. Above 0: more attention where edges are stronger.",
        within=(-1.0, 1.0),
        level=0.0,
    ),
    GateStatistic(
        "edges_roc",
        "Area under the ROC for edges",
        "Attention as a detector of the tenth of the pixels with the strongest edges; 0.5 is chance, 1 is perfect.",
        within=(0.0, 1.0),
        level=0.5,
    ),
    GateStatistic(
        "error_rank",
        "Rank correlation with the error",
        "On the generated picture, against its absolute difference from the ground truth.",
        role="generated",
        within=(-1.0, 1.0),
        level=0.0,
    ),
    GateStatistic(
        "error_roc",
        "Area under the ROC for the error",
        "On the generated picture: the tenth of the pixels with the largest error against the others.",
        role="generated",
        within=(0.0, 1.0),
        level=0.5,
    ),
    GateStatistic("mean", "Mean", "Mean of the map: the share that the gate passes.", within=(0.0, 1.0)),
    GateStatistic("spread", "Spread", "Standard deviation of the map: 0 is a gate that treats all pixels alike."),
    GateStatistic(
        "entropy", "Entropy", "Of the map as a distribution over pixels, relative to the maximum: 1 is uniform."
    ),
)

UNTRAINED = (
    "One of the checkpoints was written before the first step. Training estimates spectral norms step by step, so they"
    " were estimated here before drawing its maps."
)

STYLE = """\
:root { --third: #7a2e8e; }
@media (prefers-color-scheme: dark) { :root { --third: #d79be6; } }
.curve path.line2 { stroke: var(--third); stroke-dasharray: 2 4; }
.curve .dot.line2 { fill: var(--third); stroke: var(--third); }
.key.line2::before { border-top: 3px dotted var(--third); }
.strips { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 33rem), 1fr)); gap: 1rem 1.6rem; }
.strip { margin: 0; min-width: 0; break-inside: avoid; }
.strip h4 { margin: .6rem 0 .1rem; font-size: 1rem; }
.strip .frames { display: flex; flex-wrap: wrap; gap: .6rem; }
.strip .frame { margin: 0; flex: 0 1 16rem; min-width: 8rem; }
.strip .frame img { width: 100%; height: auto; display: block; image-rendering: pixelated; background: var(--panel); }
.strip .frame img[hidden] { display: none; }
.strip input { width: min(100%, 32.6rem); height: 2rem; margin: .2rem 0; accent-color: var(--accent); display: block; }
.strip output { font-weight: 600; font-variant-numeric: tabular-nums; }
@media print { .strip input { display: none; } }
"""

SCRIPT = """\
// A slider for each gate; with "all together" checked, one moves them all.
for (const part of document.querySelectorAll(".subject")) {
  const together = part.querySelector(".together"), strips = [...part.querySelectorAll(".strip")];
  const show = (strip, at) => {
    const range = strip.querySelector("input"), label = JSON.parse(strip.dataset.labels)[at];
    for (const frame of strip.querySelectorAll(".frame"))
      frame.querySelectorAll("img").forEach(each => { each.hidden = each.dataset.at !== String(at); });
    strip.querySelector("output").textContent = label;
    if (range) { range.value = String(at); range.setAttribute("aria-valuetext", label); }
  };
  for (const strip of strips) {
    const range = strip.querySelector("input");
    range?.addEventListener("input", () => {
      for (const each of together.checked ? strips : [strip]) show(each, Number(range.value));
    });
  }
}
"""


def write_attention_page(
    path: Path, records: Sequence[PictureRecord], series: CheckpointSeries, view: ViewSettings
) -> None:
    """Write the page atomically. Raises PictureError if it cannot be written."""
    write_page(path, page("Attention of the discriminator", _body(records, series, view), script=CURVE_SCRIPT + SCRIPT))


def _body(records: Sequence[PictureRecord], series: CheckpointSeries, view: ViewSettings) -> Iterator[str]:
    yield f"<style>\n{CURVE_STYLE}{STYLE}</style>\n"
    first, last = series.checkpoints[0], series.checkpoints[-1]
    count = len(series.checkpoints)
    which = f"{count} checkpoints, {first.label} to {last.label}" if count > 1 else first.label
    scale = "its own scale, from minimum to maximum" if view.stretch else "the fixed scale 0 to 1"
    lines = [
        f"Discriminator: {series.config.network}, {series.config.features} features; {which}.",
        "A1 is the deepest gate and A3 the shallowest; D1 reads the full size and D2 half of it.",
        f"Each heat map has {scale}; probabilities have the fixed scale 0 to 1.",
    ]
    if any(each.get("untrained") for each in records[0].numbers):
        lines.append(UNTRAINED)
    yield sentences(lines)
    if len(records) > 1:
        yield f"<h2>Mean of the {len(records)} pictures</h2>\n"
        yield from _agreement(records, series)
    for record in records:
        height, width = record.size
        yield f'<div class="subject">\n<h2>{name(record.path.name)}</h2>\n'
        as_what = "a generated picture" if record.role == "generated" else "a real picture"
        yield f"<p>{width}x{height} pixels, {as_what}.</p>\n"
        yield _sliders(record)
        yield "<h3>Agreement with edges and errors</h3>\n"
        yield from _agreement([record], series)
        yield "</div>\n"


def _sliders(record: PictureRecord) -> str:
    many = len(record.labels) > 1
    parts: list[str] = []
    if many:
        parts.append('<p><label><input type="checkbox" class="together" checked> Move all sliders together</label></p>')
        if len(record.labels) < len(record.numbers):
            parts.append(
                f'<p class="soft">{len(record.labels)} of {len(record.numbers)} checkpoints, spread evenly; the folder'
                " has all.</p>\n"
            )
    parts.append('<div class="strips">\n')
    last = len(record.labels) - 1
    for strip in record.strips:
        parts.append(
            f'<figure class="strip" data-labels="{text(json.dumps(list(record.labels)))}">\n'
            f'<h4>{text(strip.title)}</h4>\n<div class="frames">\n'
        )
        for words, sources in strip.sources.items():
            images = "".join(
                f'<img src="{source}" data-at="{at}" alt="{text(f"{strip.title}, {words}, {record.labels[at]}")}"'
                f"{'' if at == last else ' hidden'}>\n"
                for at, source in sources.items()
            )
            parts.append(f'<figure class="frame">{images}<figcaption>{text(words)}</figcaption></figure>\n')
        parts.append("</div>\n")
        if many:
            parts.append(
                f'<input type="range" min="0" max="{last}" value="{last}" step="1"'
                f' aria-label="Checkpoint of {text(strip.title)}">\n'
            )
        parts.append(
            f"<output>{text(record.labels[last])}</output>\n"
            f'<figcaption class="soft">{text(strip.note)}</figcaption>\n</figure>\n'
        )
    return "".join([*parts, "</div>\n"])


def _agreement(records: Sequence[PictureRecord], series: CheckpointSeries) -> Iterator[str]:
    known = [index for index, each in enumerate(series.checkpoints) if each.step is not None]
    if len(known) > 1:
        yield f'<div class="curves">\n{"".join(_panels(records, series, known))}</div>\n'
    yield _table(records, series)


def _panels(records: Sequence[PictureRecord], series: CheckpointSeries, known: Sequence[int]) -> Iterator[str]:
    gates = list_gates(series.config)
    scales = sorted({gate.scale for gate in gates})
    steps = np.array([series.checkpoints[index].step for index in known], np.int64)
    for statistic in QUANTITIES:
        for scale in scales:
            curves: list[Curve] = []
            for gate in gates:
                if gate.scale == scale:
                    values = _average(records, statistic, gate.name)
                    points = Series(steps, np.array([values[index] for index in known], np.float64))
                    curves.append(Curve(label=gate.name, series=points))
            if all(np.isnan(curve.series.values).all() for curve in curves):
                continue
            title = statistic.title if len(scales) == 1 else f"{statistic.title}, D{scale}"
            panel = Panel(
                title=title, note=statistic.note, curves=tuple(curves), within=statistic.within, level=statistic.level
            )
            yield draw_panel(panel, last_step=int(steps[-1]))


def _average(records: Sequence[PictureRecord], statistic: GateStatistic, gate: str) -> list[float]:
    """Mean of a statistic over the pictures at each checkpoint; NaN where undefined for all."""
    each = [record.values(statistic.role or record.role, gate, statistic.key) for record in records]
    known = [[value for value in values if not math.isnan(value)] for values in zip(*each, strict=True)]
    return [sum(values) / len(values) if values else math.nan for values in known]


def _table(records: Sequence[PictureRecord], series: CheckpointSeries) -> str:
    many = len(series.checkpoints) > 1
    head, rows = [""], [[Cell(name(gate.name))] for gate in list_gates(series.config)]
    for statistic in QUANTITIES:
        columns = [_average(records, statistic, gate.name) for gate in list_gates(series.config)]
        if all(math.isnan(value) for values in columns for value in values):
            continue
        head += [text(f"{statistic.title}, {which}") for which in (("first", "last") if many else ("",))]
        for row, values in zip(rows, columns, strict=True):
            row += [
                Cell(_format_value(value), "" if math.isnan(value) else value)
                for value in _first_and_last(values, many)
            ]
    head = [each.removesuffix(", ") for each in head]
    return table("Statistics of each gate; attention.json has every checkpoint.", head, rows, sortable=False)


def _first_and_last(values: Sequence[float], many: bool) -> tuple[float, ...]:
    return (values[0], values[-1]) if many else (values[-1],)


def _format_value(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}".replace("-", "−")
