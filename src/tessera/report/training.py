"""A training run as one HTML file: progress, samples, curves, events, configuration.

It can be written at any time, also during the run. The same folder gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from tessera.report.curves import MOST_POINTS, Curve, Panel, draw_panel, format_short
from tessera.report.page import Cell, name, page, section, sentences, table, text, write_page
from tessera.report.quantities import (
    ATTENTION_LEAD,
    DISCRIMINATOR,
    LOSSES,
    OUTPUTS_NOTE,
    RUNNING,
    SCORES,
    Better,
    RunQuantity,
)
from tessera.report.run_record import Event, RunRecord, Series, read_run
from tessera.report.run_style import CURVE_SCRIPT, CURVE_STYLE, SAMPLES_SCRIPT, SAMPLES_STYLE
from tessera.report.samples import render_samples

REPORT_NAME = "report.html"

_PARTS = ("generator", "discriminator", "degradation", "optimizer", "schedule")


def write_training_report(run_folder: Path, path: Path | None = None) -> Path:
    """Write the report of `runs/NAME` to `path` (default: `report.html` in it), atomically -> the path.

    Raises UsageError if the folder contains no run, PictureError if the page cannot be written.
    """
    record = read_run(run_folder)
    place = path if path is not None else run_folder / REPORT_NAME
    title = f"Training run {record.value('name') or run_folder.resolve().name}"
    write_page(place, page(title, render_body(record), script=CURVE_SCRIPT + SAMPLES_SCRIPT))
    return place


def render_body(record: RunRecord) -> Iterator[str]:
    """The parts of the report between heading and footer."""
    yield f"<style>\n{CURVE_STYLE}{SAMPLES_STYLE}</style>\n"
    yield _overview(record)
    if record.problems:
        yield section("Problems", sentences(record.problems, "problems"))
    yield section("Validation", *_validation(record))
    samples = render_samples(record.sheets)
    if samples:
        yield section("Samples over time", samples)
    yield section("Losses", *_quantities(record, LOSSES))
    if any(each.key in record.train for each in DISCRIMINATOR):
        yield section("Discriminator", *_discriminator(record))
    if record.attention or record.attention_sheets:
        yield section("Attention", *_attention(record))
    yield section("Rates and gradients", *_running(record))
    others = [key for key in record.train if key not in {each.key for each in (*LOSSES, *DISCRIMINATOR, *RUNNING)}]
    if others:
        yield section("Other values", *_quantities(record, [RunQuantity(key, key, "", "") for key in others]))
    yield section("Timing", _timing(record))
    yield section("Events", *_events(record))
    yield section("Configuration", _configuration(record))


# -------------------------------------------------------------------------------------------------------- beginning


def _overview(record: RunRecord) -> str:
    facts: dict[str, str] = {
        "Progress": _progress(record),
        "Started from": _origin(record),
        "Trained on": _data(record),
    }
    facts["Losses"] = _terms(record)
    facts["Best checkpoint"] = _render_best(record)
    if record.checkpoints:
        facts["Checkpoints"] = ", ".join(f"{step:,}" for step in record.checkpoints[-10:])
    warnings = sum(event.warning for event in record.events)
    facts["Events"] = f"{warnings} that need attention" if warnings else "none that need attention"
    return _pairs(facts) + ('<p><a href="#events">Events of the run</a></p>\n' if warnings else "")


def _progress(record: RunRecord) -> str:
    if not record.steps:
        return f"step {record.step:,}"
    share = 100 * record.step / record.steps
    done = "done" if record.step >= record.steps else f"{share:.0f} %"
    when = f"; last written {record.last_written}" if record.last_written else ""
    return f"step {record.step:,} of {record.steps:,} ({done}){when}"


def _origin(record: RunRecord) -> str:
    begun = record.value("start", "generator")
    init = record.value("start", "init")
    said = f"{begun}" if begun else f"fresh weights ({init or 'unknown'}), seed {record.value('seed')}"
    discriminator = record.value("start", "discriminator")
    if record.value("discriminator"):
        said += f"; discriminator from {discriminator or 'fresh weights'}"
    return said


def _data(record: RunRecord) -> str:
    found: object = record.value("data", "train")
    folders = cast("list[Any]", found) if isinstance(found, list) else []
    given = record.value("data", "lq")
    how = "inputs as given" if given else f"inputs by degradation {record.value('degradation', 'kind') or 'unknown'}"
    crops = f"crops of {record.value('data', 'patch')}, {record.value('data', 'batch')} per batch"
    return f"{', '.join(map(str, folders)) or 'unknown'}; {crops}; {how}"


_TERMS = (
    ("pixel", "criterion", ""),
    ("grid", "window", "window "),
    ("perceptual", "trunk", ""),
    ("adversarial", "form", ""),
)


def _terms(record: RunRecord) -> str:
    terms: list[str] = []
    for key, what, of in _TERMS:
        weight = record.value(key, "weight")
        if isinstance(weight, int | float) and weight:
            terms.append(f"{weight:g} × {key} ({of}{record.value(key, what)})" + _describe_scales(record, key))
    teacher, share = record.value("distillation", "teacher"), record.value("distillation", "share")
    distilled = (
        f"; {100 * share:g} % of the pixel and perceptual losses compare with {teacher}"
        if teacher and isinstance(share, int | float)
        else ""
    )
    return (" + ".join(terms) or "unknown") + distilled


def _describe_scales(record: RunRecord, term: str) -> str:
    """Say that the weight of the adversarial loss is that of each scale, where the scales are added."""
    scales = record.value("discriminator", "scales")
    if term != "adversarial" or record.value("adversarial", "scales") != "sum" or not isinstance(scales, int):
        return ""
    return f" for each of {scales} scales"


def _render_best(record: RunRecord) -> str:
    if "tessera.step" in record.best:
        score = record.best.get("tessera.validation", "")
        step = record.best["tessera.step"]
        shown = f"{int(step):,}" if step.isdecimal() and len(step) < 16 else step
        rule = f", chosen by {_describe_rule(score.partition(' ')[0])}" if score else ""
        return f"best.safetensors: step {shown}" + (f", {score}" if score else "") + rule
    wanted = record.value("validation", "best") or "psnr"
    if wanted == "auto":
        wanted = next((name for name in ("perceptual", "niqe") if name in record.validation), "psnr")
    quantity = next((each for each in SCORES if each.key == wanted), None)
    series = record.validation.get(str(wanted))
    found = _find_best(series, quantity.better) if series is not None and quantity is not None else None
    if found is None:
        return "none yet: no validation"
    return f"not stored; the best {wanted} was {format_short(found[1])}, at step {found[0]:,}"


def _describe_rule(metric: str) -> str:
    """The rule that chose the best checkpoint, in words."""
    quantity = next((each for each in SCORES if each.key == metric), None)
    end = "" if quantity is None else "lowest " if quantity.better == "lower" else "highest "
    names = {"perceptual": "perceptual distance", "psnr": "PSNR", "ssim": "SSIM", "niqe": "NIQE"}
    return f"the {end}{names.get(metric, metric)} of all validations after the start"


def _pairs(facts: Mapping[str, str]) -> str:
    return (
        "<dl>\n" + "".join(f"<dt>{text(key)}</dt><dd>{name(value)}</dd>\n" for key, value in facts.items()) + "</dl>\n"
    )


# ----------------------------------------------------------------------------------------------------------- curves


def _validation(record: RunRecord) -> Iterator[str]:
    if not record.validation:
        yield "<p>No validation yet.</p>\n"
        return
    known = {each.key for each in SCORES}
    others = [RunQuantity(key, key, "", "") for key in record.validation if key not in known]
    yield from _panels_and_table(record, record.validation, [*SCORES, *others])


def _quantities(record: RunRecord, quantities: Sequence[RunQuantity]) -> Iterator[str]:
    if not any(each.key in record.train for each in quantities):
        yield "<p>No values recorded yet.</p>\n"
        return
    yield from _panels_and_table(record, record.train, quantities)


def _attention(record: RunRecord) -> Iterator[str]:
    """The maps of a fixed picture over time, and their correlation with its edges, a panel for each network."""
    yield render_samples(record.attention_sheets, ATTENTION_LEAD, ())
    networks: dict[str, list[RunQuantity]] = {}
    for key in sorted(record.attention):
        gate = key.removesuffix("_edges_rank")
        if gate != key:
            networks.setdefault(gate.partition("_")[2], []).append(RunQuantity(key, gate, "", ""))
    note = "Rank correlation of each gate's map with edge strength: 1 is attention to edges only."
    panels = [
        Panel(
            title=f"Attention to edges, {network}" if network else "Attention to edges",
            note=note,
            curves=_curves(record.attention, quantities),
            within=(-1.0, 1.0),
            level=0.0,
        )
        for network, quantities in networks.items()
    ]
    if panels:
        yield _grid(record, panels)


def _discriminator(record: RunRecord) -> Iterator[str]:
    loss, *answers = DISCRIMINATOR
    panels = [_panel(loss, record.train[loss.key])] if loss.key in record.train else []
    curves = _curves(record.train, answers)
    if curves:
        panels.append(
            Panel(title="Discriminator outputs", note=OUTPUTS_NOTE, curves=curves, within=(0.0, 1.0), level=0.5)
        )
    yield _grid(record, panels)
    yield _table(record.train, DISCRIMINATOR)


def _running(record: RunRecord) -> Iterator[str]:
    *gradients, rate, waiting = RUNNING
    panels: list[Panel] = []
    curves = _curves(record.train, gradients)
    if curves:
        note = "Norm before clipping. Spikes are steps that can destabilize training."
        panels.append(Panel(title="Gradients", note=note, curves=curves))
    panels += [_panel(each, record.train[each.key]) for each in (rate, waiting) if each.key in record.train]
    if not panels:
        yield "<p>No values recorded yet.</p>\n"
        return
    yield _grid(record, panels)
    yield _table(record.train, RUNNING)


def _curves(numbers: Mapping[str, Series], quantities: Sequence[RunQuantity]) -> tuple[Curve, ...]:
    return tuple(Curve(label=each.title, series=numbers[each.key]) for each in quantities if each.key in numbers)


def _panel(quantity: RunQuantity, series: Series) -> Panel:
    arrow = {"lower": "↓ Lower is better. ", "higher": "↑ Higher is better. ", "": ""}[quantity.better]
    return Panel(
        title=quantity.title,
        note=f"{arrow}{quantity.note}",
        curves=(Curve(label=quantity.title, series=series),),
        within=quantity.within,
    )


def _panels_and_table(
    record: RunRecord, numbers: Mapping[str, Series], quantities: Sequence[RunQuantity]
) -> Iterator[str]:
    yield _grid(record, [_panel(each, numbers[each.key]) for each in quantities if each.key in numbers])
    yield _table(numbers, quantities)


def _grid(record: RunRecord, panels: Sequence[Panel]) -> str:
    marks = [event.step for event in record.events if event.warning and event.step is not None]
    drawn = "".join(draw_panel(panel, last_step=record.step, marks=marks) for panel in panels)
    shown = [curve.series for panel in panels for curve in panel.curves]
    notes = ['Dashed vertical lines are <a href="#events">events</a>.'] if marks else []
    if any(len(series.steps) > MOST_POINTS for series in shown):
        notes.append("Where values are dense, the line is the mean and the band spans minimum to maximum.")
    if any(np.isnan(series.values).any() for series in shown):
        notes.append("Ticks on the lower edge are non-finite values.")
    return f'<div class="curves">\n{drawn}</div>\n' + (f'<p class="soft">{" ".join(notes)}</p>\n' if notes else "")


def _table(numbers: Mapping[str, Series], quantities: Sequence[RunQuantity]) -> str:
    rows: list[list[Cell]] = []
    for each in quantities:
        if each.key in numbers:
            rows.append([Cell(name(each.title[:1].upper() + each.title[1:])), *_row(numbers[each.key], each.better)])
    head = ["", "Better", "First", "Best", "Step of best", "Last", "Non-finite"]
    caption = "Over all recorded values; “non-finite” counts NaN and infinity."
    return table(caption, head, rows)


def _row(series: Series, better: Better) -> Iterator[Cell]:
    known = series.values[~np.isnan(series.values)]
    first, last = (float(known[at]) if len(known) else math.nan for at in (0, -1))
    best = _find_best(series, better)
    yield Cell(better or "–", classes="words")
    yield Cell(_format_exact(first), first)
    yield Cell("–" if best is None else _format_exact(best[1]), "" if best is None else best[1])
    yield Cell("–" if best is None else f"{best[0]:,}", "" if best is None else best[0])
    yield Cell(_format_exact(last), last)
    yield Cell(f"{len(series.values) - len(known):,}")


def _format_exact(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.6g}".replace("-", "−")


def _find_best(series: Series, better: Better) -> tuple[int, float] | None:
    """The step and value of the best, the earliest of equal ones; None if undefined."""
    if not better or np.isnan(series.values).all():
        return None
    at = int(np.nanargmin(series.values) if better == "lower" else np.nanargmax(series.values))
    return int(series.steps[at]), float(series.values[at])


# ------------------------------------------------------------------------------------------ timing, events, settings


def _timing(record: RunRecord) -> str:
    facts: dict[str, str] = {}
    waiting = record.train.get("waiting")
    if waiting is not None and not np.isnan(waiting.values[-1]):
        facts["Waiting for data"] = f"{waiting.values[-1]:.1%} of the time"
    if record.sessions:
        last = record.sessions[-1]
        facts["Time"] = _format_duration(sum(each.seconds for each in record.sessions))
        if len(record.sessions) > 1:
            facts["Sessions"] = f"{len(record.sessions)}, the last one from step {last.first_step:,}"
        done = last.last_step - last.first_step
        if done > 0 and last.seconds > 0:
            facts["Speed"] = f"{done / last.seconds:.3g} steps per second, including validation and saving"
            left = record.steps - record.step
            if left > 0:
                facts["Time left"] = _format_duration(left * last.seconds / done)
    if record.speed:
        facts["Limited by"] = record.speed
    return _pairs(facts) if facts else "<p>No timing yet.</p>\n"


def _format_duration(seconds: float) -> str:
    """Format a duration.

    >>> _format_duration(59), _format_duration(3725), _format_duration(200_000)
    ('59 s', '1 h 2 min', '2 d 7 h')
    """
    whole = round(seconds)
    for longer, shorter, unit, parts in (("d", "h", 86_400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= unit:
            return f"{whole // unit} {longer} {whole % unit // parts} {shorter}"
    return f"{whole} s"


def _events(record: RunRecord) -> Iterator[str]:
    if not record.events:
        yield "<p>No events.</p>\n"
        return
    rows = [_event(event) for event in record.events]
    yield table("Messages of the run; ! marks those that need attention.", ["Step", "Time", "", "Message"], rows)
    if record.events_left_out:
        yield f"<p class=soft>{record.events_left_out:,} messages are omitted here; log.txt has them.</p>\n"


def _event(event: Event) -> list[Cell]:
    attention = '<span aria-hidden="true">!</span><span class="hidden">attention</span>' if event.warning else ""
    return [
        Cell("–" if event.step is None else f"{event.step:,}"),
        Cell(text(event.time)),
        Cell(attention, classes="worse"),
        Cell(name(event.sentence), classes="words"),
    ]


def _configuration(record: RunRecord) -> str:
    if not record.config:
        return "<p>Unknown.</p>\n"
    short_facts = {
        key.capitalize(): _describe_part(record.value(key)) for key in _PARTS if isinstance(record.value(key), dict)
    }
    lines = "\n".join(f"{key} = {value}" for key, value in _flatten(record.config))
    return (
        f"{_pairs(short_facts)}<details>\n<summary>All values</summary>\n"
        '<div class="scroll" role="region" aria-label="All values" tabindex="0">\n'
        f"<pre>{_escape_lines(lines)}</pre>\n</div>\n"
        "</details>\n"
    )


def _escape_lines(lines: str) -> str:
    return "\n".join(text(line) for line in lines.split("\n"))


def _describe_part(part: dict[str, Any]) -> str:
    """The plain values of a part on one line; nested ones are in the list of all values."""
    kind = part.get("network", part.get("kind"))
    rest = [f"{key} {value}" for key, value in part.items() if not isinstance(value, dict) and key not in _NAMES]
    return ", ".join([*([str(kind)] if kind is not None else []), *rest])


_NAMES = ("network", "kind")


def _flatten(part: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in part.items():
        if isinstance(value, dict):
            yield from _flatten(cast("dict[str, Any]", value), f"{above}{key}.")
        else:
            yield f"{above}{key}", str(value)
