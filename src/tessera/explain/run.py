"""Pictures and a series of checkpoints -> a folder of maps, overlays, grids, statistics and one HTML page.

Memory holds one network at a time and only the drawings that the sheets need, so a long series takes no more memory
than a short one.

Shapes: H, W height and width of the picture.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tessera.errors import PictureError
from tessera.explain.agreement import average_blocks, compute_edge_strength, compute_error, measure_gate
from tessera.explain.colormaps import apply_colormap, blend_heat, stretch_to_gray, to_levels
from tessera.explain.maps import Gate, compute_attention_maps, compute_logits, estimate_norms, list_gates, upsample_map
from tessera.explain.page import PictureRecord, Strip, write_attention_page
from tessera.explain.series import CheckpointSeries, SeriesCheckpoint
from tessera.explain.settings import ViewSettings, check_device
from tessera.explain.sheets import (
    FRAME_SIDE,
    GRID_SIDE,
    MOST_COLUMNS,
    MOST_FRAMES,
    Cell,
    draw_grid,
    fit_within,
    pick_evenly,
    write_animation,
)
from tessera.explain.subject import Role, Shown, Subject, check_memory, open_generator, to_pixels
from tessera.images.writer import write_picture
from tessera.report.views import encode_data_uri
from tessera.storage.files import check_inside, write_text
from tessera.version import __version__
from tessera.weights.discriminator_file import load_discriminator

NUMBERS_NAME = "attention.json"
PAGE_NAME = "attention.html"
UPSCALED, COMBINED, PROBABILITIES = "upscaled", "combined", "probabilities"
MOST_ON_PAGE = 24
"""Maximum number of checkpoints on a slider; the folder has all."""
_PAGE_SIDE = 256
_EXACT_SIDE = 96

ReadSubject = Callable[[], Subject]
_Found = dict[Role, dict[str, Tensor]]
Progress = Callable[[str], None]
"""Called with the step just finished."""


@dataclass(frozen=True)
class ExplainedSeries:
    """The pictures of a report, and sentences about pictures that could not be read."""

    pictures: tuple[PictureRecord, ...]
    problems: tuple[str, ...]


def explain_series(
    subjects: Mapping[Path, ReadSubject],
    series: CheckpointSeries,
    output: Path,
    view: ViewSettings,
    *,
    on_done: Progress = lambda _: None,
) -> ExplainedSeries:
    """Write the maps of each picture into its folder below `output`, and statistics and page into `output`.

    `subjects` maps the folder of each picture (`Path()` is `output` itself) to a function that reads it. A picture that
    cannot be read becomes a sentence in `problems`. Raises PictureError if no picture can be read or a file cannot be
    written, FileError for a folder below `output` that leads out of it, and UsageError for an unavailable device.
    """
    check_device(view.device)
    records: list[PictureRecord] = []
    problems: list[str] = []
    for folder, read in subjects.items():
        try:
            subject = read()
            check_memory(subject.path, subject.size, series.config.features)
        except PictureError as error:
            problems.append(str(error))
            continue
        for name in ("", UPSCALED, COMBINED, PROBABILITIES):
            check_inside(output / folder / name / "any", output)
        records.append(_PictureRun(subject, series, output / folder, view).run(on_done))
    if not records:
        raise PictureError(problems[0] if problems else "expected at least one picture, found none.")
    _write_json(output / NUMBERS_NAME, _collect_statistics(records, series, view))
    write_attention_page(output / PAGE_NAME, records, series, view)
    return ExplainedSeries(tuple(records), tuple(problems))


def _collect_statistics(
    records: Sequence[PictureRecord], series: CheckpointSeries, view: ViewSettings
) -> dict[str, Any]:
    return {
        "program": f"tessera {__version__}",
        "discriminator": series.config.model_dump(mode="json"),
        "view": view.model_dump(mode="json"),
        "checkpoints": [
            {
                "file": str(each.path),
                "step": each.step,
                "sha256": each.sha256,
                "generator": None if each.generator is None else str(each.generator),
            }
            for each in series.checkpoints
        ],
        "pictures": [
            {
                "file": str(record.path),
                "height": record.size[0],
                "width": record.size[1],
                "is": record.role,
                "series": record.numbers,
            }
            for record in records
        ],
    }


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    try:
        write_text(path, json.dumps(values, indent=1, ensure_ascii=True, allow_nan=False) + "\n")
    except OSError as error:
        raise PictureError(f"{path}: cannot be written: {error.strerror}.") from None


class _PictureRun:
    """One picture through all checkpoints."""

    def __init__(self, subject: Subject, series: CheckpointSeries, folder: Path, view: ViewSettings) -> None:
        self._subject, self._series, self._folder, self._view = subject, series, folder, view
        self._gates = list_gates(series.config)
        self._device = torch.device(view.device)
        count = len(series.checkpoints)
        self._on_page = set(pick_evenly(count, MOST_ON_PAGE))
        self._in_grid = set(pick_evenly(count, MOST_COLUMNS))
        self._in_animation = set(pick_evenly(count, MOST_FRAMES))
        self._edges = {"real": compute_edge_strength(subject.real)}
        self._strips: dict[str, Strip] = {}
        self._labels: list[str] = []
        self._over_time: dict[str, list[Cell]] = {}
        self._frames: list[Shown] = []
        self._last: list[list[Cell]] = []
        self._collect_statistics: list[dict[str, Any]] = []

    def run(self, on_done: Progress) -> PictureRecord:
        """Draw, measure and write every checkpoint -> the record for the page."""
        try:
            for name in ("", UPSCALED, COMBINED, PROBABILITIES):
                (self._folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PictureError(f"{self._folder}: cannot create this folder: {error.strerror}.") from None
        for index, checkpoint in enumerate(self._series.checkpoints):
            self._process_checkpoint(index, checkpoint)
            on_done(f"{self._subject.path.name}, {checkpoint.label}")
        self._write_sheets()
        return PictureRecord(
            path=self._subject.path,
            role=self._subject.role,
            size=self._subject.size,
            labels=tuple(self._labels),
            strips=tuple(self._strips.values()),
            numbers=tuple(self._collect_statistics),
        )

    def _process_checkpoint(self, index: int, checkpoint: SeriesCheckpoint) -> None:
        network = load_discriminator(checkpoint.path).network.to(self._device)
        untrained = estimate_norms(network)
        pictures = dict(self._make_pictures(checkpoint))
        inputs: dict[Role, Tensor] = {role: each.flip(1) if self._view.bgr else each for role, each in pictures.items()}
        maps: _Found = {role: _to_cpu(compute_attention_maps(network, each)) for role, each in inputs.items()}
        logits: _Found = {role: _to_cpu(compute_logits(network, each)) for role, each in inputs.items()}
        del network
        if index in self._on_page:
            self._labels.append(checkpoint.label)
        measured: dict[str, Any] = {role: self._measure(role, maps[role], pictures) for role in pictures}
        measured["probabilities"] = _measure_logits(logits)
        self._collect_statistics.append(
            {"step": checkpoint.step, "label": checkpoint.label, "untrained": untrained, **measured}
        )
        self._draw_maps(index, checkpoint, to_pixels(pictures[self._subject.role]), maps[self._subject.role])
        self._draw_logits(index, checkpoint, logits)

    def _make_pictures(self, checkpoint: SeriesCheckpoint) -> Iterator[tuple[Role, Tensor]]:
        subject = self._subject
        real = subject.real.to(self._device)
        yield "real", real
        if subject.generated is not None:
            yield "generated", subject.generated.to(self._device)
        elif not self._view.real_only:
            make = open_generator(checkpoint.generator)
            made = None if make is None else make(real)
            if made is not None and bool(torch.isfinite(made).all()):
                yield "generated", made

    # -------------------------------------------------------------------------------------------------- numbers

    def _measure(
        self, role: Role, maps: Mapping[str, Tensor], pictures: Mapping[Role, Tensor]
    ) -> dict[str, dict[str, float | None]]:
        edges = self._edges.get(role)
        if edges is None:
            edges = compute_edge_strength(pictures[role])
            if self._subject.generated is not None:  # equal at every checkpoint
                self._edges[role] = edges
        error = compute_error(pictures[role], pictures["real"]) if role == "generated" else None
        found: dict[str, dict[str, float | None]] = {}
        for gate in self._gates:
            at_size = None if error is None else average_blocks(error, gate.divisor)
            numbers = measure_gate(maps[gate.name], average_blocks(edges, gate.divisor), at_size)
            found[gate.name] = numbers.as_json()
        return found

    # ------------------------------------------------------------------------------------------------- pictures

    def _draw_maps(self, index: int, checkpoint: SeriesCheckpoint, pixels: Shown, maps: Mapping[str, Tensor]) -> None:
        rows: dict[int, list[Cell]] = {}
        for gate in self._gates:
            name = f"{gate.name}{checkpoint.suffix}.png"
            shown = self._stretch(maps[gate.name])
            whole = upsample_map(shown, gate.divisor, self._subject.size)[0, 0].numpy()
            heat = apply_colormap(whole, self._view.colormap)
            over = blend_heat(pixels, heat, self._view.mix)
            write_picture(apply_colormap(shown[0, 0].numpy(), self._view.colormap), self._folder / name)
            write_picture(heat, self._folder / UPSCALED / name)
            write_picture(over, self._folder / COMBINED / name)
            if index in self._on_page:
                self._add_strip(gate.name, _describe_gate(gate), ("map", heat), ("blended with the picture", over))
            if index in self._in_grid:
                self._over_time.setdefault(gate.name, []).append(
                    (f"{gate.name} {checkpoint.label}", fit_within(heat, GRID_SIDE))
                )
            rows.setdefault(gate.scale, [("picture", fit_within(pixels, FRAME_SIDE))])
            rows[gate.scale].append((gate.name, fit_within(over, FRAME_SIDE)))
        if index in self._in_animation and self._view.animation != "none":
            self._frames.append(draw_grid(list(rows.values()), checkpoint.label))
        if index == len(self._series.checkpoints) - 1:
            self._last = [
                [("picture", fit_within(pixels, GRID_SIDE)), *self._draw_depths(maps, scale)] for scale in rows
            ]

    def _stretch(self, values: Tensor) -> Tensor:
        if not self._view.stretch:
            return values
        least, greatest = values.min(), values.max()
        return (values - least) / (greatest - least).clamp(min=torch.finfo(values.dtype).tiny)

    def _draw_depths(self, maps: Mapping[str, Tensor], scale: int) -> Iterator[Cell]:
        """Draw the maps of one network at native resolution, upscaled by repeating pixels."""
        for gate in self._gates:
            if gate.scale == scale:
                small = apply_colormap(self._stretch(maps[gate.name])[0, 0].numpy(), self._view.colormap)
                blocks = small.repeat(gate.divisor, axis=0).repeat(gate.divisor, axis=1)
                height, width = self._subject.size
                yield f"{gate.name}, 1/{gate.divisor}", fit_within(blocks[:height, :width], GRID_SIDE)

    def _draw_logits(
        self, index: int, checkpoint: SeriesCheckpoint, logits: Mapping[Role, Mapping[str, Tensor]]
    ) -> None:
        for number, scale in enumerate(logits["real"], 1):
            shown: list[Cell] = []
            for role, found in logits.items():
                values = found[scale][0, 0].numpy()
                more = "" if role == "real" else f"_{role}"
                write_picture(stretch_to_gray(values), self._folder / f"output_{number}{checkpoint.suffix}{more}.png")
                probability = to_levels(found[scale].sigmoid()[0, 0].numpy())
                write_picture(probability, self._folder / PROBABILITIES / f"{scale}{checkpoint.suffix}_{role}.png")
                shown.append((role, probability[..., None].repeat(3, axis=2)))
            if "generated" in logits:
                real, generated = (logits[role][scale].sigmoid()[0, 0].numpy() for role in ("real", "generated"))
                difference = to_levels((1 + real - generated) / 2)
                write_picture(difference, self._folder / PROBABILITIES / f"{scale}{checkpoint.suffix}_difference.png")
                shown.append(("real − generated", difference[..., None].repeat(3, axis=2)))
            if index in self._on_page:
                self._add_strip(f"Output of {scale}", _LOGITS_NOTE, *shown)

    def _add_strip(self, title: str, note: str, *cells: Cell) -> None:
        strip = self._strips.setdefault(title, Strip(title, note, {}))
        for words, picture in cells:
            shown = fit_within(picture, _PAGE_SIDE)
            exact = max(shown.shape[:2]) <= _EXACT_SIDE
            sources = strip.sources.setdefault(words, {})
            sources[len(self._labels) - 1] = encode_data_uri(shown, exact=exact)

    def _write_sheets(self) -> None:
        write_picture(
            draw_grid(list(self._over_time.values()), self._subject.path.name), self._folder / "over_time.png"
        )
        last = self._series.checkpoints[-1].label
        write_picture(draw_grid(self._last, f"{self._subject.path.name}, {last}"), self._folder / "over_depth.png")
        if len(self._frames) > 1:
            write_animation(self._folder / f"over_time.{self._view.animation}", self._frames)


_LOGITS_NOTE = (
    "Probability that a pixel is real: black is 0 (generated), white is 1 (real), at every checkpoint."
    " In the difference, gray is equal, and brighter pixels are those that the discriminator distinguishes correctly."
)


def _describe_gate(gate: Gate) -> str:
    reads = "the full size" if gate.scale == 1 else f"1/{1 << (gate.scale - 1)} of the size"
    size = "the size of the picture" if gate.divisor == 1 else f"1/{gate.divisor} of the picture's size"
    depth = ("deepest", "middle", "shallowest")[gate.depth - 1]
    return f"The {depth} gate of the network that reads {reads}; its map has {size}."


def _measure_logits(logits: Mapping[Role, Mapping[str, Tensor]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for scale in logits["real"]:
        probability = {role: each[scale].double().sigmoid() for role, each in logits.items()}
        found[scale] = {f"{role}_mean": _round_digits(each.mean()) for role, each in probability.items()}
        if "generated" in probability:
            difference = probability["real"] - probability["generated"]
            found[scale] |= {
                "difference_mean": _round_digits(difference.mean()),
                "difference_absolute": _round_digits(difference.abs().mean()),
            }
    return found


def _round_digits(value: Tensor) -> float:
    return float(f"{value.item():.7g}")


def _to_cpu(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.float().cpu() for name, each in found.items()}
