"""Pictures and a series of checkpoints -> a folder of maps, overlays, sheets, statistics and one HTML page.

Every checkpoint is loaded once for up to `GROUP` pictures, and one pass of each encoder gives maps and answers. Memory
holds one network at a time and only the drawings that the sheets need, so a long series takes no more memory than a
short one.

Shapes: H, W height and width of the picture.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tessera.errors import PictureError, UsageError, WeightsError
from tessera.explain.maps import estimate_norms, list_gates
from tessera.explain.page import write_attention_page
from tessera.explain.picture_run import COMBINED, PROBABILITIES, UPSCALED, LoadedCheckpoint, PictureRun
from tessera.explain.record import PictureRecord
from tessera.explain.series import CheckpointSeries, SeriesCheckpoint, open_checkpoint
from tessera.explain.settings import ViewSettings, check_device
from tessera.explain.subject import Subject, check_memory, open_generator
from tessera.storage.files import check_inside, write_text
from tessera.version import __version__
from tessera.weights.discriminator_file import LoadedDiscriminator

NUMBERS_NAME = "attention.json"
PAGE_NAME = "attention.html"
GROUP = 8
"""Pictures that a checkpoint is loaded for; more would hold more drawings in memory."""

ReadSubject = Callable[[], Subject]
Progress = Callable[[str], None]
"""Called with the step just finished."""


@dataclass(frozen=True)
class ExplainedSeries:
    """The checkpoints and pictures of a report, and sentences about those that could not be read."""

    series: CheckpointSeries
    pictures: tuple[PictureRecord, ...]
    problems: tuple[str, ...]


def explain_series(
    subjects: Mapping[Path, ReadSubject],
    checkpoints: Sequence[SeriesCheckpoint],
    output: Path,
    view: ViewSettings,
    *,
    on_done: Progress = lambda _: None,
) -> ExplainedSeries:
    """Write the maps of each picture into its folder below `output`, and statistics and page into `output`.

    `subjects` maps the folder of each picture (`Path()` is `output` itself) to a function that reads it. A picture or a
    later checkpoint that cannot be used becomes a sentence in `problems`. Raises WeightsError or UsageError if the
    first checkpoint cannot be used, PictureError if no picture can be read or a file cannot be written, FileError for a
    folder below `output` that leads out of it, and UsageError for an unavailable device.
    """
    check_device(view.device)
    if not checkpoints:
        raise UsageError("name the checkpoints of a discriminator, such as runs/NAME.", field="checkpoints")
    opener = _Opener(checkpoints, view)
    records: list[PictureRecord] = []
    places = list(subjects.items())
    for start in range(0, len(places), GROUP):
        runs = [*_open_pictures(dict(places[start : start + GROUP]), opener, output, view)]
        if runs:
            opener.visit(runs, on_done)
        records += [run.finish() for run in runs]
    if not records:
        raise PictureError(opener.problems[0] if opener.problems else "expected at least one picture, found none.")
    series = CheckpointSeries(opener.first.config, tuple(opener.used.values()))
    _write_json(output / NUMBERS_NAME, _collect_statistics(records, series, view))
    write_attention_page(output / PAGE_NAME, records, series, view)
    return ExplainedSeries(series, tuple(records), tuple(opener.problems))


def _open_pictures(
    subjects: Mapping[Path, ReadSubject], opener: _Opener, output: Path, view: ViewSettings
) -> list[PictureRun]:
    runs: list[PictureRun] = []
    for folder, read in subjects.items():
        try:
            subject = read()
            check_memory(subject.path, subject.size, opener.first.config.features)
        except PictureError as error:
            opener.problems.append(str(error))
            continue
        for name in ("", UPSCALED, COMBINED, PROBABILITIES):
            check_inside(output / folder / name / "any", output)
        runs.append(PictureRun(subject, list_gates(opener.first.config), opener.count, output / folder, view))
        runs[-1].make_folders()
    return runs


class _Opener:
    """Opens the checkpoints in turn, the first one already to know the architecture."""

    def __init__(self, checkpoints: Sequence[SeriesCheckpoint], view: ViewSettings) -> None:
        self._checkpoints, self._view = checkpoints, view
        self._failed: set[Path] = set()
        self._opened: LoadedDiscriminator | None = open_checkpoint(checkpoints[0])
        self.first = self._opened
        self.count = len(checkpoints)
        self.used: dict[Path, SeriesCheckpoint] = {}
        self.problems: list[str] = []

    def visit(self, runs: Sequence[PictureRun], on_done: Progress) -> None:
        """Load each checkpoint once and process it for these pictures."""
        for index, checkpoint in enumerate(self._checkpoints):
            if checkpoint.path in self._failed:
                continue
            try:
                loaded = self._load(checkpoint)
            except (WeightsError, UsageError) as error:
                self._failed.add(checkpoint.path)
                self.problems.append(str(error))
                continue
            needed = any(run.needs_generator for run in runs)
            generator = open_generator(checkpoint, self._view.generator) if needed else None
            network = loaded.network.to(self._view.device)
            untrained = not self._view.as_published and estimate_norms(network)
            for run in runs:
                run.process(index, LoadedCheckpoint(checkpoint, network, untrained, generator))
                on_done(f"{run.subject.path.name}, {checkpoint.label}")
            self.used[checkpoint.path] = replace(checkpoint, sha256=loaded.sha256)

    def _load(self, checkpoint: SeriesCheckpoint) -> LoadedDiscriminator:
        opened, self._opened = self._opened, None
        if opened is not None and opened.source == checkpoint.path:
            return opened
        return open_checkpoint(checkpoint, self.first)


def _collect_statistics(
    records: Sequence[PictureRecord], series: CheckpointSeries, view: ViewSettings
) -> dict[str, Any]:
    return {
        "program": f"tessera {__version__}",
        "discriminator": series.config.model_dump(mode="json"),
        "view": view.model_dump(mode="json"),
        "checkpoints": [
            {"file": str(each.path), "step": each.step, "sha256": each.sha256} for each in series.checkpoints
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
