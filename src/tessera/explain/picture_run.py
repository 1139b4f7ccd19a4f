"""One picture through all checkpoints: maps, overlays, answers and statistics of each, and sheets over all.

Shapes: H, W height and width of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tessera.errors import PictureError
from tessera.explain.agreement import average_blocks, compute_edge_strength, compute_error, measure_gate
from tessera.explain.colormaps import apply_colormap, blend_heat, stretch_to_gray, to_levels
from tessera.explain.maps import Analysis, Gate, analyze, upsample_map
from tessera.explain.record import ALWAYS, PictureRecord, Strip
from tessera.explain.series import SeriesCheckpoint
from tessera.explain.settings import ViewSettings
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
from tessera.explain.subject import Role, SeriesGenerator, Shown, Subject, generate, to_pixels
from tessera.images.writer import write_picture
from tessera.report.views import encode_data_uri

UPSCALED, COMBINED, PROBABILITIES = "upscaled", "combined", "probabilities"
MOST_ON_PAGE = 24
"""Maximum number of checkpoints on a slider; the folder has all."""
_PAGE_SIDE = 256
_EXACT_SIDE = 96


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint, its discriminator on the device, and its generator, if it is needed and there is one."""

    place: SeriesCheckpoint
    network: nn.Module
    untrained: bool
    generator: SeriesGenerator | None


class PictureRun:
    """The files and the record of one picture, filled checkpoint by checkpoint."""

    def __init__(self, subject: Subject, gates: tuple[Gate, ...], count: int, folder: Path, view: ViewSettings) -> None:
        self.subject = subject
        self._gates, self._folder, self._view = gates, folder, view
        self._device = torch.device(view.device)
        self._on_page = set(pick_evenly(count, MOST_ON_PAGE))
        self._in_sheet = set(pick_evenly(count, MOST_COLUMNS))
        self._in_animation = set(pick_evenly(count, MOST_FRAMES))
        self._edges = {"real": compute_edge_strength(subject.real)}
        self._strips: dict[str, Strip] = {}
        self._labels: list[str] = []
        self._over_time: dict[str, list[Cell | None]] = {}
        self._frames: list[Shown] = []
        self._last: _Drawn | None = None
        self._numbers: list[dict[str, Any]] = []

    @property
    def needs_generator(self) -> bool:
        """Whether the generator of each checkpoint makes the generated picture."""
        return self.subject.generated is None and not self._view.real_only

    def make_folders(self) -> None:
        """Make the folders of the pictures. Raises PictureError."""
        answers = (PROBABILITIES,) if self._view.answers else ()
        try:
            for name in ("", UPSCALED, COMBINED, *answers):
                (self._folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PictureError(f"{self._folder}: cannot create this folder: {error.strerror}.") from None

    def process(self, index: int, checkpoint: LoadedCheckpoint) -> None:
        """Draw, measure and write one checkpoint."""
        place = checkpoint.place
        pictures = dict(self._make_pictures(checkpoint.generator))
        found: dict[Role, Analysis] = {role: self._analyze(checkpoint.network, each) for role, each in pictures.items()}
        words = self._name_generated(checkpoint.generator)
        if index in self._on_page:
            self._labels.append(place.label)
        measured: dict[str, Any] = {role: self._measure(role, found[role].maps, pictures) for role in pictures}
        numbers: dict[str, Any] = {"step": place.step, "label": place.label, "untrained": checkpoint.untrained}
        if "generated" in pictures and self.needs_generator and checkpoint.generator is not None:
            numbers["generator"] = {
                "file": str(checkpoint.generator.network.source),
                "weights": checkpoint.generator.weights,
            }
        numbers |= measured
        if self._view.answers:
            numbers["probabilities"] = _measure_logits({role: each.logits for role, each in found.items()})
        self._numbers.append(numbers)
        drawn = _Drawn(place.label, {role: to_pixels(each) for role, each in pictures.items()}, found, words)
        if index in self._on_page:
            self._add_pictures(drawn)
        self._draw_maps(index, place, drawn)
        if self._view.answers:
            self._draw_answers(index, place, drawn)
        self._last = drawn

    def finish(self) -> PictureRecord:
        """Write the sheets and the animation -> the record for the page."""
        if self._last is not None:
            self._write_sheets(self._last)
        return PictureRecord(
            path=self.subject.path,
            role=self.subject.role,
            size=self.subject.size,
            labels=tuple(self._labels),
            strips=tuple(self._strips.values()),
            numbers=tuple(self._numbers),
        )

    def _make_pictures(self, generator: SeriesGenerator | None) -> Iterator[tuple[Role, Tensor]]:
        real = self.subject.real.to(self._device)
        yield "real", real
        if self.subject.generated is not None:
            yield "generated", self.subject.generated.to(self._device)
        elif self.needs_generator and generator is not None:
            made = generate(generator.network, real)
            if bool(torch.isfinite(made).all()):
                yield "generated", made

    def _name_generated(self, generator: SeriesGenerator | None) -> str:
        if not self.needs_generator or generator is None:
            return "generated"
        return f"generated by the {generator.weights} generator"

    def _analyze(self, network: nn.Module, picture: Tensor) -> Analysis:
        view = self._view
        found = analyze(
            network,
            picture.flip(1) if view.feeds_bgr else picture,
            with_logits=view.answers,
            as_published=view.as_published,
        )
        return Analysis(_to_cpu(found.maps), _to_cpu(found.logits))

    # -------------------------------------------------------------------------------------------------- numbers

    def _measure(
        self, role: Role, maps: Mapping[str, Tensor], pictures: Mapping[Role, Tensor]
    ) -> dict[str, dict[str, float | None]]:
        edges = self._edges.get(role)
        if edges is None:
            edges = compute_edge_strength(pictures[role])
            if self.subject.generated is not None:  # equal at every checkpoint
                self._edges[role] = edges
        error = compute_error(pictures[role], pictures["real"]) if role == "generated" else None
        found: dict[str, dict[str, float | None]] = {}
        for gate in self._gates:
            at_size = None if error is None else average_blocks(error, gate.divisor)
            numbers = measure_gate(maps[gate.name], average_blocks(edges, gate.divisor), at_size)
            found[gate.name] = numbers.as_json()
        return found

    # ------------------------------------------------------------------------------------------------- pictures

    def _add_pictures(self, drawn: _Drawn) -> None:
        for role, pixels in drawn.pixels.items():
            same = role == "real" or not self.needs_generator
            words = role if role == "real" else drawn.generated
            self._add_strip("Picture", _describe_pictures(drawn), (words, pixels), same=same)

    def _draw_maps(self, index: int, checkpoint: SeriesCheckpoint, drawn: _Drawn) -> None:
        role = self.subject.role
        pixels, maps = drawn.pixels[role], drawn.found[role].maps
        rows: dict[int, list[Cell | None]] = {}
        for gate in self._gates:
            name = f"{gate.name}{checkpoint.suffix}.png"
            shown = self._stretch(maps[gate.name])
            whole = upsample_map(shown, gate.divisor, self.subject.size)[0, 0].numpy()
            heat = apply_colormap(whole, self._view.colormap)
            over = blend_heat(pixels, heat, self._view.mix)
            write_picture(apply_colormap(shown[0, 0].numpy(), self._view.colormap), self._folder / name)
            write_picture(heat, self._folder / UPSCALED / name)
            write_picture(over, self._folder / COMBINED / name)
            if index in self._on_page:
                self._add_strip(gate.name, _describe_gate(gate), ("map", heat), ("blended with the picture", over))
            if index in self._in_sheet:
                for kind, picture in (("map", heat), ("overlay", over)):
                    self._over_time.setdefault(f"{gate.name} {kind}", []).append(
                        (f"{gate.name} {checkpoint.label}", fit_within(picture, GRID_SIDE))
                    )
            rows.setdefault(gate.scale, [("picture", fit_within(pixels, FRAME_SIDE))])
            rows[gate.scale].append((gate.name, fit_within(over, FRAME_SIDE)))
        if index in self._in_animation and self._view.animation != "none":
            self._frames.append(draw_grid(list(rows.values()), checkpoint.label))

    def _stretch(self, values: Tensor) -> Tensor:
        if not self._view.stretch:
            return values
        least, greatest = values.min(), values.max()
        return (values - least) / (greatest - least).clamp(min=torch.finfo(values.dtype).tiny)

    def _draw_answers(self, index: int, checkpoint: SeriesCheckpoint, drawn: _Drawn) -> None:
        logits = {role: each.logits for role, each in drawn.found.items()}
        note = _ANSWERS_NOTE + (_DIFFERENCE_NOTE if "generated" in logits else "")
        for number, scale in enumerate(logits["real"], 1):
            shown: list[Cell] = []
            for role, found in logits.items():
                more = "" if role == "real" else f"_{role}"
                stretched = stretch_to_gray(found[scale][0, 0].numpy())
                probability = to_levels(found[scale].sigmoid()[0, 0].numpy())
                write_picture(stretched, self._folder / f"output_{number}{checkpoint.suffix}{more}.png")
                write_picture(probability, self._folder / PROBABILITIES / f"{scale}{checkpoint.suffix}_{role}.png")
                shown += [
                    (f"{role}, minimum to maximum", _to_rgb(stretched)),
                    (f"{role}, probability", _to_rgb(probability)),
                ]
            if "generated" in logits:
                real, generated = (logits[role][scale].sigmoid()[0, 0].numpy() for role in ("real", "generated"))
                difference = to_levels((1 + real - generated) / 2)
                write_picture(difference, self._folder / PROBABILITIES / f"{scale}{checkpoint.suffix}_difference.png")
                shown.append(("real − generated, probability", _to_rgb(difference)))
            if index in self._on_page:
                self._add_strip(f"Answers of {scale}" if len(logits["real"]) > 1 else "Answers", note, *shown)

    def _add_strip(self, title: str, note: str, *cells: Cell, same: bool = False) -> None:
        strip = self._strips.get(title) or Strip(title, note, {})
        if len(note) >= len(strip.note):  # a later checkpoint may have more to explain
            strip = self._strips[title] = Strip(title, note, strip.sources)
        for words, picture in cells:
            shown = fit_within(picture, _PAGE_SIDE)
            exact = max(shown.shape[:2]) <= _EXACT_SIDE
            sources = strip.sources.setdefault(words, {})
            sources[ALWAYS if same else len(self._labels) - 1] = encode_data_uri(shown, exact=exact)

    # --------------------------------------------------------------------------------------------------- sheets

    def _write_sheets(self, last: _Drawn) -> None:
        name, pixels = self.subject.path.name, last.pixels[self.subject.role]
        plain = ("picture", fit_within(pixels, GRID_SIDE))
        rows = [[plain if title.endswith(" map") else None, *cells] for title, cells in self._over_time.items()]
        write_picture(draw_grid(rows, f"{name}: maps and overlays"), self._folder / "over_time.png")
        maps = last.found[self.subject.role].maps
        scales = dict.fromkeys(gate.scale for gate in self._gates)
        depths = [[plain, *self._draw_depths(maps, scale)] for scale in scales]
        write_picture(draw_grid(depths, f"{name}, {last.label}"), self._folder / "over_depth.png")
        if self._view.answers:
            answers = [list(self._lay_out_answers(last, role)) for role in last.found]
            write_picture(draw_grid(answers, f"{name}, {last.label}: answers"), self._folder / "answers.png")
        if len(self._frames) > 1:
            write_animation(self._folder / f"over_time.{self._view.animation}", self._frames)

    def _draw_depths(self, maps: Mapping[str, Tensor], scale: int) -> Iterator[Cell]:
        """Draw the maps of one network at native resolution, upscaled by repeating pixels."""
        for gate in self._gates:
            if gate.scale == scale:
                small = apply_colormap(self._stretch(maps[gate.name])[0, 0].numpy(), self._view.colormap)
                yield f"{gate.name}, 1/{gate.divisor}", self._repeat(small, gate.divisor)

    def _lay_out_answers(self, last: _Drawn, role: Role) -> Iterator[Cell]:
        """Lay out the input, then the answers of each network: from minimum to maximum, as published, and 0 to 1."""
        yield f"{role} picture", fit_within(last.pixels[role], GRID_SIDE)
        for number, (scale, logits) in enumerate(last.found[role].logits.items()):
            values = logits[0, 0].numpy()
            yield f"{scale}, min to max", self._repeat(_to_rgb(stretch_to_gray(values)), 1 << number)
            yield f"{scale}, probability", self._repeat(_to_rgb(to_levels(logits.sigmoid()[0, 0].numpy())), 1 << number)

    def _repeat(self, picture: Shown, times: int) -> Shown:
        height, width = self.subject.size
        return fit_within(picture.repeat(times, axis=0).repeat(times, axis=1)[:height, :width], GRID_SIDE)


@dataclass(frozen=True)
class _Drawn:
    """One checkpoint's pictures, maps and logits."""

    label: str
    pixels: dict[Role, Shown]
    found: dict[Role, Analysis]
    generated: str
    """The words for the generated picture."""


_ANSWERS_NOTE = (
    "The answer of each pixel is the probability that it is real: black is 0 (generated), white is 1 (real). From"
    " minimum to maximum, as in the published pictures, each answer has its own scale, which shows faint structure"
    " but cannot be compared between pictures."
)
_DIFFERENCE_NOTE = (
    " In the difference, gray is equal, and brighter pixels are those that the discriminator distinguishes correctly."
)


def _describe_pictures(drawn: _Drawn) -> str:
    if "raw" in drawn.generated:
        return "The discriminator saw pictures of the raw generator in training, not of the averaged one."
    if "averaged" in drawn.generated:
        return "The discriminator saw pictures of the raw generator in training; these are of the averaged one."
    return "What the discriminator reads."


def _describe_gate(gate: Gate) -> str:
    reads = ("the full size", "half the size", "a quarter of the size", "an eighth of the size")[gate.scale - 1]
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


def _to_rgb(gray: Any) -> Shown:
    return gray[..., None].repeat(3, axis=2)


def _to_cpu(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.float().cpu() for name, each in found.items()}
