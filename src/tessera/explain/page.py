"""HTML page of attention maps: a slider over the checkpoints, curves of the agreement, a table.

The page is self-contained: pictures are embedded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tessera.explain.colormaps import table as color_table
from tessera.explain.maps import list_gates
from tessera.explain.record import ALWAYS, PictureRecord, Strip
from tessera.explain.series import CheckpointSeries
from tessera.explain.settings import ViewSettings
from tessera.explain.subject import Role
from tessera.report.curves import Curve, Panel, draw_panel
from tessera.report.page import Cell, name, page, sentences, table, text, write_page
from tessera.report.run_record import Series
from tessera.report.run_style import CURVE_SCRIPT, CURVE_STYLE


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

_PARTS = ("half", "a quarter", "an eighth")
UNTRAINED = (
    "One of the checkpoints was written before the first step. Training estimates spectral norms step by step, so they"
    " were estimated here before drawing its maps."
)

STYLE = """\
thead th { white-space: normal; min-width: 6.2rem; vertical-align: bottom; }
.strips { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 33rem), 1fr)); gap: 1rem 1.6rem; }
.strip { margin: 0; min-width: 0; break-inside: avoid; }
.strip h4 { margin: .6rem 0 .1rem; font-size: 1rem; }
.strip .frames { display: flex; flex-wrap: wrap; gap: .6rem; }
.strip .frame { margin: 0; flex: 0 1 16rem; min-width: 8rem; }
.strip .frame img { width: 100%; height: auto; display: block; image-rendering: pixelated; background: var(--panel); }
.strip .frame img[hidden], .strip .frame[hidden] { display: none; }
.strip input { width: min(100%, 32.6rem); height: 2rem; margin: .2rem 0; accent-color: var(--accent); display: none; }
.strip output { display: none; font-weight: 600; font-variant-numeric: tabular-nums; }
.subject.separate .strip input, .subject.separate .strip output { display: block; }
@media (max-width: 40rem) { .strip .frame { flex: 1 1 calc(50% - .3rem); max-width: calc(50% - .3rem); } }
.control {
  position: sticky; top: 0; z-index: 1; background: var(--paper); border-bottom: 1px solid var(--line);
  padding: .4rem 0; display: flex; flex-wrap: wrap; align-items: center; gap: .2rem .8rem;
}
.control button {
  font: inherit; min-width: 5.2rem; min-height: 2.75rem; border-radius: .3rem; cursor: pointer;
  border: 1px solid var(--line); background: var(--panel); color: var(--ink);
}
.control input { flex: 1 1 10rem; min-width: 8rem; height: 2.75rem; margin: 0; accent-color: var(--accent); }
.control output { font-weight: 600; font-variant-numeric: tabular-nums; min-width: 6.5rem; }
.bar { display: flex; align-items: center; gap: .5rem; font-size: .875rem; flex: 0 1 22rem; }
.bar i { flex: 1 1 6rem; height: .9rem; border: 1px solid var(--line); print-color-adjust: exact; }
@media (max-width: 40rem) { .bar { flex-basis: 100%; } }
@media print { .control { position: static; } .control button, .control input { display: none; } }
"""

SCRIPT = """\
// One sticky slider moves all pictures, and Play runs it; with "separate sliders" each gate has its slider.
for (const part of document.querySelectorAll(".subject")) {
  const control = part.querySelector(".control"), main = control.querySelector("input[type=range]");
  const strips = [...part.querySelectorAll(".strip")];
  const labels = JSON.parse(control.dataset.labels), last = labels.length - 1;
  const place = (scope, at) => {
    const range = scope.querySelector("input[type=range]");
    if (range) { range.value = String(at); range.setAttribute("aria-valuetext", labels[at]); }
    scope.querySelector("output").textContent = labels[at];
  };
  const show = (strip, at) => {
    for (const frame of strip.querySelectorAll(".frame")) {
      const images = [...frame.querySelectorAll("img")];
      for (const each of images) each.hidden = each.dataset.at !== undefined && each.dataset.at !== String(at);
      frame.hidden = images.every(each => each.hidden);
    }
    place(strip, at);
  };
  const move = at => { place(control, at); for (const strip of strips) show(strip, at); };
  for (const strip of strips) {
    const range = strip.querySelector("input");
    range?.addEventListener("input", () => show(strip, Number(range.value)));
  }
  move(last);
  if (!main) continue;
  const button = control.querySelector("button");
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; button.textContent = "\\u25b6\\u00a0Play"; };
  button.addEventListener("click", () => {
    if (timer) { stop(); return; }
    button.textContent = "\\u275a\\u275a\\u00a0Stop";
    if (Number(main.value) === last) move(0);
    timer = setInterval(() => {
      const at = Number(main.value) + 1;
      if (at <= last) move(at);
      if (at >= last) stop();
    }, 700);
  });
  main.addEventListener("input", () => { stop(); move(Number(main.value)); });
  const separate = part.querySelector(".choose-separate");
  separate.addEventListener("change", () => {
    part.classList.toggle("separate", separate.checked);
    if (!separate.checked) move(Number(main.value));
  });
}
"""


def write_attention_page(
    path: Path, records: Sequence[PictureRecord], series: CheckpointSeries, view: ViewSettings
) -> None:
    """Write the page atomically. Raises PictureError if it cannot be written."""
    write_page(path, page("Attention of the discriminator", _body(records, series, view), script=CURVE_SCRIPT + SCRIPT))


def _body(records: Sequence[PictureRecord], series: CheckpointSeries, view: ViewSettings) -> Iterator[str]:
    yield f"<style>\n{CURVE_STYLE}{STYLE}</style>\n"
    yield sentences(_describe_series(records, series, view))
    if len(records) > 1:
        yield f"<h2>Mean of the {len(records)} pictures</h2>\n"
        yield from _agreement(records, series)
    for record in records:
        height, width = record.size
        yield f'<div class="subject">\n<h2>{name(record.path.name)}</h2>\n'
        as_what = "a generated picture" if record.role == "generated" else "a real picture"
        yield f"<p>{width}x{height} pixels, {as_what}.</p>\n"
        yield _control(record, view)
        yield _strips(record)
        yield "<h3>Agreement with edges and errors</h3>\n"
        yield from _agreement([record], series)
        yield "</div>\n"


def _describe_series(records: Sequence[PictureRecord], series: CheckpointSeries, view: ViewSettings) -> Iterator[str]:
    first, last = series.checkpoints[0], series.checkpoints[-1]
    count, scales = len(series.checkpoints), series.config.attention_scales
    which = f"{count} checkpoints, {first.label} to {last.label}" if count > 1 else first.label
    yield f"Discriminator: {series.config.network}, {series.config.features} features; {which}."
    reads = [f"D{scale} {_PARTS[scale - 2]} of it" for scale in range(2, scales + 1)]
    yield "A1 is the deepest gate and A3 the shallowest" + (
        f"; D1 reads the full size, {' and '.join(reads)}." if reads else "."
    )
    scale = "its own scale, from minimum to maximum" if view.stretch else "the fixed scale 0 to 1"
    yield f"Each heat map has {scale}."
    if view.as_published:
        yield "As in the published scripts, the networks read BGR and ran in training mode."
    elif view.bgr:
        yield "The networks read BGR, as in the published scripts, although they were trained on RGB."
    if not view.answers:
        yield "The answers of the discriminator were not computed."
    if any(each.get("untrained") for each in records[0].numbers):
        yield UNTRAINED


def _control(record: PictureRecord, view: ViewSettings) -> str:
    """The bar that stays in sight: play button, slider, step and color bar."""
    last = len(record.labels) - 1
    parts = [f'<div class="control" data-labels="{text(json.dumps(list(record.labels)))}">\n']
    if last:
        parts.append(
            '<button type="button">▶\u00a0Play</button>\n'
            f'<input type="range" min="0" max="{last}" value="{last}" step="1" aria-label="Checkpoint">\n'
        )
    parts.append(f"<output>{text(record.labels[last])}</output>\n{_color_bar(view)}</div>\n")
    if last:
        parts.append(
            '<p><label><input type="checkbox" class="choose-separate"> A separate slider for each gate</label></p>\n'
        )
    if len(record.labels) < len(record.numbers):
        parts.append(
            f'<p class="soft">{len(record.labels)} of {len(record.numbers)} checkpoints, spread evenly; the folder'
            " has all.</p>\n"
        )
    return "".join(parts)


def _color_bar(view: ViewSettings) -> str:
    colors = color_table(view.colormap)[::15]  # 18 of 256, with both ends
    stops = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in colors.tolist())
    least, greatest = ("minimum", "maximum") if view.stretch else ("0 closed", "1 open")
    return (
        f'<span class="bar" role="img" aria-label="Colors of the maps from {least} to {greatest}">{least}'
        f'<i style="background: linear-gradient(to right, {stops})"></i>{greatest}</span>\n'
    )


def _strips(record: PictureRecord) -> str:
    last = len(record.labels) - 1
    parts = ['<div class="strips">\n']
    for strip in record.strips:
        parts.append(f'<figure class="strip">\n<h4>{text(strip.title)}</h4>\n<div class="frames">\n')
        parts += [_frame(strip, words, record.labels) for words in strip.sources]
        parts.append("</div>\n")
        if last and any(at != ALWAYS for sources in strip.sources.values() for at in sources):
            parts.append(
                f'<input type="range" min="0" max="{last}" value="{last}" step="1"'
                f' aria-label="Checkpoint of {text(strip.title)}">\n'
            )
        parts.append(
            f"<output>{text(record.labels[last])}</output>\n"
            f'<figcaption class="soft">{text(strip.note)}</figcaption>\n</figure>\n'
        )
    return "".join([*parts, "</div>\n"])


def _frame(strip: Strip, words: str, labels: Sequence[str]) -> str:
    """The pictures of one place of a strip, of which the script shows one; without it, the last one is shown."""
    parts: list[str] = []
    for at, source in strip.sources[words].items():
        when = "" if at == ALWAYS else f", {labels[at]}"
        attributes = "" if at == ALWAYS else f' data-at="{at}"{"" if at == len(labels) - 1 else " hidden"}'
        parts.append(f'<img src="{source}"{attributes} alt="{text(f"{strip.title}, {words}{when}")}">\n')
    return f'<figure class="frame">{"".join(parts)}<figcaption>{text(words)}</figcaption></figure>\n'


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
