"""What a run writes down: `runs/NAME/`, its metrics as lines of JSON, its log, TensorBoard's events, its sample sheets.

The metrics are the record: `metrics.jsonl` has one object a line, {"step", "kind", ...}, of the kinds "train" (losses
and rates), "validation" (scores) and "event" (a sentence). A run that goes on from a checkpoint first drops what was
written after it, so that the record is that of one run.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import time
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from tessera.config import written_toml
from tessera.errors import TrainingError, UsageError
from tessera.place import put_in_place, temporary_name
from tessera.train.recipe import Recipe
from tessera.writer import write_picture

CONFIG_NAME = "config.toml"
METRICS_NAME = "metrics.jsonl"
LOG_NAME = "log.txt"


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.events = path / "tensorboard"

    @property
    def exists(self) -> bool:
        """Whether a run has begun here."""
        return (self.path / CONFIG_NAME).exists()

    def create(self, recipe: Recipe) -> None:
        """Begin a run. Raises TrainingError when there is one, or when nothing can be written."""
        if self.exists:
            raise TrainingError(
                f"{self.path}: a run of this name exists. Go on with it by --resume, or give another name=..."
            )
        try:
            for folder in (self.checkpoints, self.samples):
                folder.mkdir(parents=True, exist_ok=True)
            self.replace(CONFIG_NAME, written_toml(recipe))
        except OSError as error:
            raise TrainingError(f"{self.path}: nothing can be written here ({error.strerror or error}).") from error

    def replace(self, name: str, text: str) -> None:
        """Put a whole text file in its place. Raises OSError."""
        part = temporary_name(self.path / name)
        try:
            part.write_text(text, encoding="utf-8")
            put_in_place(part, self.path / name)
        finally:
            part.unlink(missing_ok=True)

    def record(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Append one line to the metrics. Raises TrainingError when the disk is full."""
        plain = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        self._append(METRICS_NAME, json.dumps({"step": step, "kind": kind, **plain}))

    def log(self, line: str) -> None:
        """Append one line to the log, with the time."""
        self._append(LOG_NAME, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")

    def _append(self, name: str, line: str) -> None:
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self.path / name}: this cannot be written ({error.strerror or error}). The last checkpoint is"
                " kept; make room, then go on with --resume."
            ) from error

    @contextlib.contextmanager
    def only_one(self) -> Generator[None]:
        """Hold the run's lock, so that two commands never write to one run. Raises TrainingError where one is held."""
        try:
            locks: Any = importlib.import_module("fcntl")
        except ModuleNotFoundError:  # on Windows
            yield
            return
        handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                locks.flock(handle, locks.LOCK_EX | locks.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(f"{self.path}: another process is training this run.") from None
            except OSError:
                pass  # a file system without locks
            yield
        finally:
            os.close(handle)

    def lines(self) -> list[dict[str, Any]]:
        """The metrics as they were written; lines that are torn are left out."""
        return read_metrics(self.path / METRICS_NAME)

    def drop_after(self, step: int) -> None:
        """Forget metrics of later steps, which a run that goes on from `step` will write again."""
        kept = [line for line in self.lines() if line["step"] <= step]
        self.replace(METRICS_NAME, "".join(json.dumps(line) + "\n" for line in kept))
        for sheet in self.samples.glob("*.png"):
            if sheet.stem.isdigit() and int(sheet.stem) > step:
                sheet.unlink()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, in order; torn ones are left out."""
    lines: list[dict[str, Any]] = []
    with contextlib.suppress(OSError):
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict) and {"step", "kind"} <= line.keys():
                    lines.append(line)
    return lines


# ------------------------------------------------------------------------------------------------------ TensorBoard


class Board:
    """TensorBoard's events of a run, or nothing when they are not wanted."""

    def __init__(self, folder: Path | None, *, purge_after: int | None = None) -> None:
        """Write into `folder`; what was written after step `purge_after` is hidden. Raises UsageError."""
        self._writer: Any = None
        if folder is None:
            return
        try:
            module: Any = importlib.import_module("torch.utils.tensorboard")
        except ModuleNotFoundError as error:
            raise UsageError(
                "TensorBoard is not installed: pip install 'tessera-sr[train]', or report.tensorboard=false."
            ) from error
        self._writer = module.SummaryWriter(str(folder), purge_step=None if purge_after is None else purge_after + 1)

    @property
    def is_on(self) -> bool:
        """Whether anything is written."""
        return self._writer is not None

    def scalars(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """Write numbers under `group/name`."""
        for name, value in values.items():
            if self._writer is not None and math.isfinite(value):
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def histogram(self, step: int, name: str, values: Tensor | None) -> None:
        """Write how values are spread."""
        if self._writer is not None and values is not None and values.numel():
            numbers = values.detach().float().cpu().numpy().ravel()
            if np.isfinite(numbers).all():
                self._writer.add_histogram(name, numbers, step)

    def ends_of(self, step: int, name: str, network: nn.Module) -> None:
        """Write weights and gradients of a network's first and last layer."""
        layers = [(layer, module) for layer, module in network.named_modules() if _has_weight(module)]
        for layer, module in {id(pair[1]): pair for pair in (layers[0], layers[-1])}.values() if layers else ():
            for parameter_name, parameter in module.named_parameters(recurse=False):
                self.histogram(step, f"{name}/{layer}.{parameter_name}", parameter)
                self.histogram(step, f"{name}/{layer}.{parameter_name}.gradient", parameter.grad)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Write a picture (H, W, 3) of uint8."""
        if self._writer is not None:
            self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


def _has_weight(module: nn.Module) -> bool:
    return any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))


# ----------------------------------------------------------------------------------------------------- sample sheets


def sheet(rows: Iterable[Iterable[np.ndarray]], *, gap: int = 8) -> np.ndarray:
    """Pictures (H, W, 3) of uint8 in rows on light gray, each row as wide as its pictures."""
    strips = [_joined(list(row), gap, axis=1) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=_GROUND) for strip in strips]
    return _joined(padded, gap, axis=0)


_GROUND = 230


def _joined(pictures: list[np.ndarray], gap: int, *, axis: int) -> np.ndarray:
    across = 1 - axis
    side = max(picture.shape[across] for picture in pictures)
    parts: list[np.ndarray] = []
    for picture in pictures:
        pads = [(0, 0)] * 3
        pads[across] = (0, side - picture.shape[across])
        pads[axis] = (0, gap)
        parts.append(np.pad(picture, pads, constant_values=_GROUND))
    joined = np.concatenate(parts, axis=axis)
    return joined[: joined.shape[0] - gap] if axis == 0 else joined[:, : joined.shape[1] - gap]


def write_sheet(path: Path, pixels: np.ndarray) -> None:
    """Write a sheet as PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(pixels, path)
