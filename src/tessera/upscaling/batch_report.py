"""Results of a batch: per file and in total, also as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tessera.upscaling.finding import Task
from tessera.version import __version__

if TYPE_CHECKING:
    from tessera.upscaling.filejob import Outcome

State = Literal["done", "skipped", "failed", "dropped"]


@dataclass(frozen=True)
class FileResult:
    """The result of one picture."""

    source: Path
    output: Path
    state: State
    seconds: float = 0.0
    message: str = ""
    outcome: Outcome | None = None
    defect: BaseException | None = field(default=None, repr=False)
    """An unexpected exception, which indicates a bug."""


@dataclass(frozen=True)
class BatchReport:
    """The results of a batch."""

    results: tuple[FileResult, ...]
    ignored: int
    """Number of files in folders without the extension of a picture."""
    seconds: float
    model: str
    model_sha256: str
    left: int = 0
    """Number of files left for a later run, because the batch was stopped."""

    def count(self, state: State) -> int:
        """How many files ended in this state."""
        return sum(result.state == state for result in self.results)

    def as_json(self) -> dict[str, Any]:
        """The report as plain values, for --report."""
        return {
            "tessera": __version__,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "seconds": round(self.seconds, 3),
            "interrupted": self.left > 0,
            "ignored": self.ignored,
            **{state: self.count(state) for state in ("done", "skipped", "failed", "dropped")},
            "left": self.left,
            "files": [_as_json(result) for result in self.results],
        }


def report_problems(tasks: Sequence[Task], model: str, ignored: int) -> BatchReport:
    """Report a batch in which no file can be tried, without loading a network."""
    results = tuple(FileResult(task.source, task.output, "failed", message=task.problem or "") for task in tasks)
    return BatchReport(results, ignored, 0.0, model, "")


def _as_json(result: FileResult) -> dict[str, Any]:
    values: dict[str, Any] = {
        "input": str(result.source),
        "output": str(result.output),
        "state": result.state,
        "seconds": round(result.seconds, 3),
    }
    if result.message:
        values["message"] = result.message
    outcome = result.outcome
    if outcome is not None:
        forecast = outcome.forecast
        values |= {
            "input_size": [forecast.width, forecast.height],
            "output_size": [forecast.out_width, forecast.out_height],
            "frames": forecast.frames,
            "color_space": outcome.color_space,
            "engine": outcome.engine,
            "precision": outcome.precision,
            "tile": forecast.tile,
            "overlap": forecast.overlap,
            "tiles": outcome.tiles,
            "tiles_retried": outcome.tiles_retried,
            "tile_sizes_tried": list(outcome.tiles_tried),
            "notes": list(outcome.notes),
        }
        if outcome.color_error_before is not None and outcome.color_error_after is not None:
            values["color_difference"] = {
                "measure": "mean CIE 1976 between the input and the shrunken output, both blurred by 2 input pixels",
                "before": round(outcome.color_error_before, 4),
                "after": round(outcome.color_error_after, 4),
            }
    return values
