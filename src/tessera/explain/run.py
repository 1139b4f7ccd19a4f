"""From pictures and a series of checkpoints to a folder of maps, overlays, grids, numbers and one page.

One network at a time is in memory, and of what was drawn only what the sheets need: a long series takes no more memory
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
from tessera.explain.agreement import averaged_down, edge_strength, error_strength, gate_numbers
from tessera.explain.colormaps import colored, levels, mixed, stretched
from tessera.explain.looking import Gate, answers, attention_maps, enlarged, gates_of, settle_norms
from tessera.explain.page import PictureRecord, Strip, write_attention_page
from tessera.explain.series import CheckpointSeries, SeriesCheckpoint
from tessera.explain.settings import ViewSettings, check_device
from tessera.explain.sheets import (
    FRAME_SIDE,
    GRID_SIDE,
    MOST_COLUMNS,
    MOST_FRAMES,
    Cell,
    evenly,
    grid,
    within,
    write_animation,
)
from tessera.explain.subject import Role, Shown, Subject, as_pixels, check_memory, generator_of
from tessera.images.writer import write_picture
from tessera.report.views import data_uri
from tessera.storage.atomic import choose_temporary_name, put_in_place
from tessera.version import __version__
from tessera.weights.discriminator_file import load_discriminator

NUMBERS_NAME = "attention.json"
PAGE_NAME = "attention.html"
ENLARGED, COMBINED, ANSWERS = "enlarged", "combined", "answers"
MOST_ON_PAGE = 24
"""How many checkpoints a slider has at most; all are in the folder."""
_PAGE_SIDE = 256
_EXACT_SIDE = 96

ReadSubject = Callable[[], Subject]
_Found = dict[Role, dict[str, Tensor]]
Progress = Callable[[str], None]
"""Hears what was just done."""


@dataclass(frozen=True)
class ExplainedSeries:
    """What was made of it."""

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
    """Write everything about each of the pictures into its folder below `output`, and numbers and page into `output`.

    `subjects` has for the folder of each picture (`Path()` is `output` itself) what reads it. A picture that cannot be
    read is a sentence in `problems`. Raises PictureError when nothing could be read, or something cannot be written,
    and UsageError for a device that is not there.
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
        records.append(_Explaining(subject, series, output / folder, view).go(on_done))
    if not records:
        raise PictureError(problems[0] if problems else "There is no picture to show.")
    _write_json(output / NUMBERS_NAME, _numbers(records, series, view))
    write_attention_page(output / PAGE_NAME, records, series, view)
    return ExplainedSeries(tuple(records), tuple(problems))


def _numbers(records: Sequence[PictureRecord], series: CheckpointSeries, view: ViewSettings) -> dict[str, Any]:
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
    part = choose_temporary_name(path)
    try:
        text = json.dumps(values, indent=1, ensure_ascii=True, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")
        put_in_place(part, path)
    except OSError as error:
        raise PictureError(f"{path}: cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)


class _Explaining:
    """One picture through all checkpoints."""

    def __init__(self, subject: Subject, series: CheckpointSeries, folder: Path, view: ViewSettings) -> None:
        self._subject, self._series, self._folder, self._view = subject, series, folder, view
        self._gates = gates_of(series.config)
        self._device = torch.device(view.device)
        count = len(series.checkpoints)
        self._on_page = set(evenly(count, MOST_ON_PAGE))
        self._in_grid = set(evenly(count, MOST_COLUMNS))
        self._in_animation = set(evenly(count, MOST_FRAMES))
        self._edges = {"real": edge_strength(subject.real)}
        self._strips: dict[str, Strip] = {}
        self._labels: list[str] = []
        self._over_time: dict[str, list[Cell]] = {}
        self._frames: list[Shown] = []
        self._last: list[list[Cell]] = []
        self._numbers: list[dict[str, Any]] = []

    def go(self, on_done: Progress) -> PictureRecord:
        """Look, draw, measure, write -> what the page needs."""
        try:
            for name in ("", ENLARGED, COMBINED, ANSWERS):
                (self._folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PictureError(f"{self._folder}: this folder cannot be made: {error.strerror}.") from None
        for index, checkpoint in enumerate(self._series.checkpoints):
            self._one(index, checkpoint)
            on_done(f"{self._subject.path.name}, {checkpoint.label}")
        self._sheets()
        return PictureRecord(
            path=self._subject.path,
            role=self._subject.role,
            size=self._subject.size,
            labels=tuple(self._labels),
            strips=tuple(self._strips.values()),
            numbers=tuple(self._numbers),
        )

    def _one(self, index: int, checkpoint: SeriesCheckpoint) -> None:
        network = load_discriminator(checkpoint.path).network.to(self._device)
        untrained = settle_norms(network)
        pictures = dict(self._pictures(checkpoint))
        seen: dict[Role, Tensor] = {role: each.flip(1) if self._view.bgr else each for role, each in pictures.items()}
        maps: _Found = {role: _on_cpu(attention_maps(network, each)) for role, each in seen.items()}
        logits: _Found = {role: _on_cpu(answers(network, each)) for role, each in seen.items()}
        del network
        if index in self._on_page:
            self._labels.append(checkpoint.label)
        measured: dict[str, Any] = {role: self._measured(role, maps[role], pictures) for role in pictures}
        measured["answers"] = _answer_numbers(logits)
        self._numbers.append({"step": checkpoint.step, "label": checkpoint.label, "untrained": untrained, **measured})
        self._draw_maps(index, checkpoint, as_pixels(pictures[self._subject.role]), maps[self._subject.role])
        self._draw_answers(index, checkpoint, logits)

    def _pictures(self, checkpoint: SeriesCheckpoint) -> Iterator[tuple[Role, Tensor]]:
        subject = self._subject
        real = subject.real.to(self._device)
        yield "real", real
        if subject.generated is not None:
            yield "generated", subject.generated.to(self._device)
        elif not self._view.real_only:
            make = generator_of(checkpoint.generator)
            made = None if make is None else make(real)
            if made is not None and bool(torch.isfinite(made).all()):
                yield "generated", made

    # -------------------------------------------------------------------------------------------------- numbers

    def _measured(
        self, role: Role, maps: Mapping[str, Tensor], pictures: Mapping[Role, Tensor]
    ) -> dict[str, dict[str, float | None]]:
        edges = self._edges.get(role)
        if edges is None:
            edges = edge_strength(pictures[role])
            if self._subject.generated is not None:  # the same at every checkpoint
                self._edges[role] = edges
        error = error_strength(pictures[role], pictures["real"]) if role == "generated" else None
        found: dict[str, dict[str, float | None]] = {}
        for gate in self._gates:
            at_size = None if error is None else averaged_down(error, gate.divisor)
            numbers = gate_numbers(maps[gate.name], averaged_down(edges, gate.divisor), at_size)
            found[gate.name] = numbers.as_json()
        return found

    # ------------------------------------------------------------------------------------------------- pictures

    def _draw_maps(self, index: int, checkpoint: SeriesCheckpoint, pixels: Shown, maps: Mapping[str, Tensor]) -> None:
        rows: dict[int, list[Cell]] = {}
        for gate in self._gates:
            name = f"{gate.name}{checkpoint.suffix}.png"
            shown = self._shown(maps[gate.name])
            whole = enlarged(shown, gate.divisor, self._subject.size)[0, 0].numpy()
            heat = colored(whole, self._view.colormap)
            over = mixed(pixels, heat, self._view.mix)
            write_picture(colored(shown[0, 0].numpy(), self._view.colormap), self._folder / name)
            write_picture(heat, self._folder / ENLARGED / name)
            write_picture(over, self._folder / COMBINED / name)
            if index in self._on_page:
                self._strip(gate.name, _gate_words(gate), ("map", heat), ("over the picture", over))
            if index in self._in_grid:
                self._over_time.setdefault(gate.name, []).append(
                    (f"{gate.name} {checkpoint.label}", within(heat, GRID_SIDE))
                )
            rows.setdefault(gate.scale, [("picture", within(pixels, FRAME_SIDE))])
            rows[gate.scale].append((gate.name, within(over, FRAME_SIDE)))
        if index in self._in_animation and self._view.animation != "none":
            self._frames.append(grid(list(rows.values()), checkpoint.label))
        if index == len(self._series.checkpoints) - 1:
            self._last = [[("picture", within(pixels, GRID_SIDE)), *self._depths(maps, scale)] for scale in rows]

    def _shown(self, values: Tensor) -> Tensor:
        if not self._view.stretch:
            return values
        least, greatest = values.min(), values.max()
        return (values - least) / (greatest - least).clamp(min=torch.finfo(values.dtype).tiny)

    def _depths(self, maps: Mapping[str, Tensor], scale: int) -> Iterator[Cell]:
        """The maps of one network with their own pixels, as large as the picture is shown."""
        for gate in self._gates:
            if gate.scale == scale:
                small = colored(self._shown(maps[gate.name])[0, 0].numpy(), self._view.colormap)
                blocks = small.repeat(gate.divisor, axis=0).repeat(gate.divisor, axis=1)
                height, width = self._subject.size
                yield f"{gate.name}, 1/{gate.divisor}", within(blocks[:height, :width], GRID_SIDE)

    def _draw_answers(
        self, index: int, checkpoint: SeriesCheckpoint, logits: Mapping[Role, Mapping[str, Tensor]]
    ) -> None:
        for number, scale in enumerate(logits["real"], 1):
            shown: list[Cell] = []
            for role, found in logits.items():
                values = found[scale][0, 0].numpy()
                more = "" if role == "real" else f"_{role}"
                write_picture(stretched(values), self._folder / f"output_{number}{checkpoint.suffix}{more}.png")
                believed = levels(found[scale].sigmoid()[0, 0].numpy())
                write_picture(believed, self._folder / ANSWERS / f"{scale}{checkpoint.suffix}_{role}.png")
                shown.append((role, believed[..., None].repeat(3, axis=2)))
            if "generated" in logits:
                real, generated = (logits[role][scale].sigmoid()[0, 0].numpy() for role in ("real", "generated"))
                apart = levels((1 + real - generated) / 2)
                write_picture(apart, self._folder / ANSWERS / f"{scale}{checkpoint.suffix}_difference.png")
                shown.append(("real − generated", apart[..., None].repeat(3, axis=2)))
            if index in self._on_page:
                self._strip(f"Answers of {scale}", _ANSWER_WORDS, *shown)

    def _strip(self, title: str, note: str, *cells: Cell) -> None:
        strip = self._strips.setdefault(title, Strip(title, note, {}))
        for words, picture in cells:
            shown = within(picture, _PAGE_SIDE)
            exact = max(shown.shape[:2]) <= _EXACT_SIDE
            sources = strip.sources.setdefault(words, {})
            sources[len(self._labels) - 1] = data_uri(shown, exact=exact)

    def _sheets(self) -> None:
        write_picture(grid(list(self._over_time.values()), self._subject.path.name), self._folder / "over_time.png")
        last = self._series.checkpoints[-1].label
        write_picture(grid(self._last, f"{self._subject.path.name}, {last}"), self._folder / "over_depth.png")
        if len(self._frames) > 1:
            write_animation(self._folder / f"over_time.{self._view.animation}", self._frames)


_ANSWER_WORDS = (
    "What it believes of each pixel: black is generated, white is real, the same scale at every checkpoint. In the"
    " difference, gray is no difference, and brighter is where it tells real from generated rightly."
)


def _gate_words(gate: Gate) -> str:
    sees = "the whole size" if gate.scale == 1 else f"1/{1 << (gate.scale - 1)} of the size"
    size = "the size of the picture" if gate.divisor == 1 else f"1/{gate.divisor} of the picture's size"
    depth = ("deepest", "middle", "shallowest")[gate.depth - 1]
    return f"The {depth} gate of the network that sees {sees}; its map has {size}."


def _answer_numbers(logits: Mapping[Role, Mapping[str, Tensor]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for scale in logits["real"]:
        believed = {role: each[scale].double().sigmoid() for role, each in logits.items()}
        found[scale] = {f"{role}_mean": _plain(each.mean()) for role, each in believed.items()}
        if "generated" in believed:
            apart = believed["real"] - believed["generated"]
            found[scale] |= {"difference_mean": _plain(apart.mean()), "difference_absolute": _plain(apart.abs().mean())}
    return found


def _plain(value: Tensor) -> float:
    return float(f"{value.item():.7g}")


def _on_cpu(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.float().cpu() for name, each in found.items()}
