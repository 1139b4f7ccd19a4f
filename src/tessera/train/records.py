"""What a run writes down: `runs/NAME/`, its metrics as lines of JSON, its log, TensorBoard's events, its sample sheets.

The metrics are the record: `metrics.jsonl` has one object a line, {"step", "kind", ...}, of the kinds "train" (losses
and rates), "validation" (scores) and "event" (a sentence). A run that goes on from a checkpoint first drops what was
written after it, so that the record is that of one run.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from tessera.config import format_toml
from tessera.errors import TrainingError, UsageError
from tessera.images.writer import write_picture
from tessera.libraries import import_library
from tessera.storage.atomic import choose_temporary_name, put_in_place
from tessera.train.recipe import Recipe

CONFIG_NAME = "config.toml"
METRICS_NAME = "metrics.jsonl"
LOG_NAME = "log.txt"
DRAWS_NAME = "draws.jsonl"


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.attention = path / "attention"
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
            self.replace(CONFIG_NAME, format_toml(recipe))
        except OSError as error:
            raise TrainingError(f"{self.path}: nothing can be written here ({error.strerror or error}).") from error
        except UnicodeEncodeError as error:
            raise TrainingError(
                f"{self.path}: the configuration holds a name that is no UTF-8, {error.object[error.start :]!r}, and"
                " cannot be written down. Rename that file or folder."
            ) from error

    def replace(self, name: str, text: str) -> None:
        """Put a whole text file in its place. Raises OSError."""
        part = choose_temporary_name(self.path / name)
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

    def record_draw(self, number: int, draw: str) -> None:
        """Append how the batch of this number was degraded, as JSON. Raises TrainingError when the disk is full."""
        self._append(DRAWS_NAME, f'{{"number": {number}, "draw": {draw}}}')

    def log(self, line: str) -> None:
        """Append one line to the log, with the time. Raises TrainingError when the disk is full."""
        self._append(LOG_NAME, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(line.splitlines())}")

    def _append(self, name: str, line: str) -> None:
        try:
            # names of pictures need not be UTF-8, and sentences about them are written all the same
            with (self.path / name).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")
        except OSError as error:
            raise _describe_write_error(self.path / name, error) from error

    @contextlib.contextmanager
    def lock(self) -> Generator[None]:
        """Hold the run's lock, so that two commands never write to one run. Raises TrainingError where one is held."""
        try:
            locks = import_library("fcntl")
        except ModuleNotFoundError:  # on Windows
            yield
            return
        try:
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _describe_write_error(self.path / ".lock", error) from error
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

    def metrics(self) -> list[dict[str, Any]]:
        """The metrics as they were written; lines that are torn are left out."""
        return read_metrics(self.path / METRICS_NAME)

    def drop_lines_after(self, step: int, *, events: bool = True) -> None:
        """Forget metrics of later steps, which a run that goes on from `step` will write again.

        What happened stays told where `events` is false: it led back to this step.
        Line by line, because there may be millions. Raises TrainingError; the metrics are then what they were.
        """
        path = self.path / METRICS_NAME
        part = choose_temporary_name(path)
        try:
            with part.open("w", encoding="utf-8") as file:
                file.writelines(
                    json.dumps(line) + "\n"
                    for line in _metric_lines(path)
                    if line["step"] <= step or (line["kind"] == "event" and not events)
                )
            put_in_place(part, path)
            for sheet in (*self.samples.glob("*.png"), *self.attention.glob("*.png")):
                if sheet.stem.isdecimal() and int(sheet.stem) > step:
                    sheet.unlink()
        except OSError as error:
            raise _describe_write_error(path, error) from error
        finally:
            part.unlink(missing_ok=True)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, in order; torn ones are left out. Raises OSError where it cannot be read."""
    return list(_metric_lines(path))


def _metric_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            with contextlib.suppress(ValueError, RecursionError):
                line = json.loads(text)
                if isinstance(line, dict) and isinstance(line.get("step"), int) and "kind" in line:
                    yield line


def _describe_write_error(path: Path, error: OSError) -> TrainingError:
    return TrainingError(
        f"{path}: this cannot be written ({error.strerror or error}). The last checkpoint is kept; make room, then go"
        " on with --resume."
    )


# ------------------------------------------------------------------------------------------------------ TensorBoard


class Board:
    """TensorBoard's events of a run, or nothing when they are not wanted."""

    def __init__(self, folder: Path | None, *, purge_after: int | None = None) -> None:
        """Write into `folder`; what was written after step `purge_after` is hidden. Raises UsageError, TrainingError.

        So do all that write: TensorBoard tells in the next call what its own thread could not write before.
        """
        self._writer: Any = None
        self._folder = folder
        if folder is None:
            return
        try:
            module = import_library("torch.utils.tensorboard")
        except ModuleNotFoundError as error:
            raise UsageError(
                "TensorBoard is not installed: pip install 'tessera-sr[train]', or report.tensorboard=false."
            ) from error
        with self._report_errors():
            self._writer = module.SummaryWriter(
                str(folder), purge_step=None if purge_after is None else purge_after + 1
            )

    @contextlib.contextmanager
    def _report_errors(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise _describe_write_error(self._folder or Path(), error) from error

    @property
    def is_on(self) -> bool:
        """Whether anything is written."""
        return self._writer is not None

    def add_scalars(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """Write numbers under `group/name`."""
        for name, value in values.items():
            if self._writer is not None and math.isfinite(value):
                with self._report_errors():
                    self._writer.add_scalar(f"{group}/{name}", value, step)

    def add_histogram(self, step: int, name: str, values: Tensor | None) -> None:
        """Write how values are spread."""
        if self._writer is not None and values is not None and values.numel():
            numbers = values.detach().float().cpu().numpy().ravel()
            if np.isfinite(numbers).all():
                with self._report_errors():
                    self._writer.add_histogram(name, numbers, step)

    def add_end_layers(self, step: int, name: str, network: nn.Module) -> None:
        """Write weights and gradients of a network's first and last layer."""
        layers = [(layer, module) for layer, module in network.named_modules() if _has_weight(module)]
        for layer, module in {id(pair[1]): pair for pair in (layers[0], layers[-1])}.values() if layers else ():
            for parameter_name, parameter in module.named_parameters(recurse=False):
                self.add_histogram(step, f"{name}/{layer}.{parameter_name}", parameter)
                self.add_histogram(step, f"{name}/{layer}.{parameter_name}.gradient", parameter.grad)

    def add_picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Write a picture (H, W, 3) of uint8."""
        if self._writer is not None and pixels.size:
            with self._report_errors():
                self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            with self._report_errors():
                self._writer.close()


def _has_weight(module: nn.Module) -> bool:
    return any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))


# ----------------------------------------------------------------------------------------------------- sample sheets


def assemble_sheet(rows: Iterable[Iterable[np.ndarray]], *, gap: int = 8) -> np.ndarray:
    """Pictures (H, W, 3) of uint8 in rows on light gray, each row as wide as its pictures; empty without rows."""
    strips = [_join(list(row), gap, axis=1) for row in rows]
    if not strips:
        return np.zeros((0, 0, 3), np.uint8)
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=_GROUND) for strip in strips]
    return _join(padded, gap, axis=0)


_GROUND = 230


def _join(pictures: list[np.ndarray], gap: int, *, axis: int) -> np.ndarray:
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
    """Write a sheet as PNG, whole or not at all; nothing for an empty one. Raises PictureError, TrainingError."""
    if not pixels.size:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _describe_write_error(path, error) from error
    write_picture(pixels, path)
