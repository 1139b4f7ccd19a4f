"""The folder of a run, `runs/NAME/`: configuration, metrics, log, TensorBoard events and sample sheets.

`metrics.jsonl` has one JSON object per line, {"step", "kind", ...}, of the kinds "train" (losses and learning rates),
"validation" (scores) and "event" (a message). A run that resumes from a checkpoint first drops the lines after it.
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

from tessera.config import format_toml, read_toml, validate
from tessera.errors import TrainingError, UsageError
from tessera.images.writer import write_picture
from tessera.libraries import import_library
from tessera.storage.atomic import choose_temporary_name, put_in_place
from tessera.train.recipe import Recipe, find_fixed_differences

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
        """Whether the folder holds a run."""
        return (self.path / CONFIG_NAME).exists()

    @property
    def _no_run(self) -> str:
        return f"{self.path}: no run to resume. Start one without `resume`."

    def check_new(self) -> None:
        """Raise TrainingError when the folder already holds a run."""
        if self.exists:
            raise TrainingError(
                f"{self.path}: a run of this name exists. Resume it (`resume`), or choose another name (name=...)."
            )

    def check_exists(self) -> None:
        """Raise TrainingError when the folder holds no run."""
        if not self.exists:
            raise TrainingError(self._no_run)

    def check_resumable(self, recipe: Recipe) -> None:
        """Raise UsageError when there is no run here, or its recipe differs in what a resumed run must keep."""
        if not self.exists:
            raise UsageError(self._no_run)
        path = self.path / CONFIG_NAME
        different = find_fixed_differences(validate(Recipe, read_toml(path), str(path)), recipe)
        if different:
            raise UsageError(
                f"{self.path}: a resumed run cannot change {' and '.join(different)}. Resume it with its own"
                f" configuration ({path}), or start a new run with another name (name=...)."
            )

    def create(self, recipe: Recipe) -> None:
        """Create the folder of a new run. Raises TrainingError when it holds a run or is not writable."""
        self.check_new()
        try:
            for folder in (self.checkpoints, self.samples):
                folder.mkdir(parents=True, exist_ok=True)
            self.replace(CONFIG_NAME, format_toml(recipe))
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot write here ({error.strerror or error}).") from error
        except UnicodeEncodeError as error:
            raise TrainingError(
                f"{self.path}: the configuration has a path that is not UTF-8, {error.object[error.start :]!r}, and"
                " cannot be saved. Rename that file or folder."
            ) from error

    def replace(self, name: str, text: str) -> None:
        """Write a text file atomically. Raises OSError."""
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
            # messages may contain file names that are not UTF-8
            with (self.path / name).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")
        except OSError as error:
            raise _describe_write_error(self.path / name, error) from error

    @contextlib.contextmanager
    def lock(self) -> Generator[None]:
        """Lock the run against other processes. Raises TrainingError when another process holds the lock."""
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
        """The lines of the metrics file, without damaged ones."""
        return read_metrics(self.path / METRICS_NAME)

    def drop_lines_after(self, step: int, *, events: bool = True) -> None:
        """Remove metrics and sheets of later steps, which a run that resumes from `step` writes again.

        With `events` False, events are kept (the run rolled back because of them). Line by line, because there may be
        millions. Raises TrainingError; the metrics are then unchanged.
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
        f"{path}: cannot write this file ({error.strerror or error}). The last checkpoint is kept; make room, then"
        " resume the run (`resume`)."
    )


# ------------------------------------------------------------------------------------------------------ TensorBoard


class Board:
    """TensorBoard events of a run; without a folder, nothing is written."""

    def __init__(self, folder: Path | None, *, purge_after: int | None = None) -> None:
        """Write to `folder`; earlier events after step `purge_after` are hidden. Raises UsageError, TrainingError.

        All writing methods raise TrainingError too: TensorBoard reports write errors of its thread in the next call.
        """
        self._writer: Any = None
        self._folder = folder
        if folder is None:
            return
        try:
            module = import_library("torch.utils.tensorboard")
        except ModuleNotFoundError as error:
            raise UsageError(
                "TensorBoard is not installed: pip install 'tessera-sr[train]', or set report.tensorboard=false."
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
