"""The folder of a run, `runs/NAME/`: configuration, metrics, log and the places of everything else.

`metrics.jsonl` has one JSON object per line, {"step", "kind", ...}, of the kinds "train" (losses and learning rates),
"validation" (scores) and "event" (a message). A run that resumes from a checkpoint first drops the lines after it.

A run folder may come from an archive, so nothing here follows a link or opens anything but a regular file.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from tessera.errors import TrainingError
from tessera.storage.files import append_bytes, open_for_reading, replace_file, write_text
from tessera.storage.leftovers import LOCK_NAME, claim_folder
from tessera.train.history import StoredConfig, read_config

CONFIG_NAME = "config.toml"
METRICS_NAME = "metrics.jsonl"
LOG_NAME = "log.txt"
DRAWS_NAME = "draws.jsonl"
LATEST = "latest.safetensors"
BEST = "best.safetensors"
LARGEST_RECORD_BYTES = 4 << 30
"""Limit of a metrics or log file; a million lines take 0.2 GiB."""


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.discriminators = path / "discriminators"
        self.samples = path / "samples"
        self.attention = path / "attention"
        self.events = path / "tensorboard"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return (self.path / CONFIG_NAME).exists()

    def check_new(self) -> None:
        """Raise TrainingError when the folder already holds a run."""
        if self.exists:
            raise TrainingError(
                f"{self.path}: a run of this name exists. Resume it (`resume`), or choose another name (name=...)."
            )

    def check_exists(self) -> None:
        """Raise TrainingError when the folder holds no run."""
        if not self.exists:
            raise TrainingError(f"{self.path}: no run to resume. Start one without `resume`.")

    def read_config(self) -> StoredConfig:
        """Read the configuration that ran last, with its history. Raises UsageError."""
        return read_config(self.path / CONFIG_NAME)

    def create(self) -> None:
        """Create the folders of a new run. Raises TrainingError when they are not writable."""
        try:
            for folder in (self.checkpoints, self.samples):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._describe_refusal(error) from error

    @contextlib.contextmanager
    def claim(self, config: str | None = None, *, is_new: bool = False) -> Generator[None]:
        """Lock the run against other processes, and remove temporary files of killed ones.

        Args:
            config: the configuration to write; None keeps the present one.
            is_new: refuse a folder that holds a run.

        Raises:
            TrainingError: another process holds the lock, the folder holds a run, or it is not writable.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(claim_folder(self.path, self.checkpoints, self.samples, self.attention))
            except BlockingIOError:
                raise TrainingError(f"{self.path}: another process is training this run.") from None
            except OSError as error:
                raise describe_write_error(self.path / LOCK_NAME, error) from error
            if is_new:
                self.check_new()
            if config is not None:
                try:
                    write_text(self.path / CONFIG_NAME, config)
                except OSError as error:
                    raise self._describe_refusal(error) from error
                except UnicodeEncodeError as error:
                    raise TrainingError(
                        f"{self.path}: the configuration has a path that is not UTF-8,"
                        f" {error.object[error.start :]!r}, and cannot be saved. Rename that file or folder."
                    ) from error
            yield

    def _describe_refusal(self, error: OSError) -> TrainingError:
        return TrainingError(f"{self.path}: cannot write here ({error.strerror or error}).")

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
        # messages may contain file names that are not UTF-8
        data = f"{line}\n".encode(errors="backslashreplace")
        try:
            append_bytes(self.path / name, data, max_bytes=LARGEST_RECORD_BYTES)
        except OSError as error:
            raise describe_write_error(self.path / name, error) from error

    def metrics(self) -> list[dict[str, Any]]:
        """Read the lines of the metrics file, without damaged ones."""
        return read_metrics(self.path / METRICS_NAME)

    def drop_lines_after(self, step: int, *, events: bool = True) -> None:
        """Remove metrics and sheets of later steps, which a run that resumes from `step` writes again.

        With `events` False, events are kept (the run rolled back because of them). Line by line, because there may be
        millions. Raises TrainingError; the metrics are then unchanged.
        """
        path = self.path / METRICS_NAME
        try:
            with replace_file(path) as file:
                for line in _metric_lines(path):
                    if line["step"] <= step or (line["kind"] == "event" and not events):
                        file.write(json.dumps(line).encode() + b"\n")
            for sheet in (*self.samples.glob("*.png"), *self.attention.glob("*.png")):
                if sheet.stem.isdecimal() and int(sheet.stem) > step:
                    sheet.unlink()
        except OSError as error:
            raise describe_write_error(path, error) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a `metrics.jsonl`, in order, without torn ones. Raises OSError, FileError."""
    return list(_metric_lines(path))


def _metric_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with os.fdopen(open_for_reading(path, max_bytes=LARGEST_RECORD_BYTES), "rb") as file:
        for text in file:
            with contextlib.suppress(ValueError, RecursionError):
                line = json.loads(text.decode(errors="replace"))
                if isinstance(line, dict) and isinstance(line.get("step"), int) and "kind" in line:
                    yield line


def describe_write_error(path: Path, error: OSError) -> TrainingError:
    """Describe a failed write to a file of the run, and how to resume."""
    return TrainingError(
        f"{path}: cannot write this file ({error.strerror or error}). The last checkpoint is kept; make room, then"
        " resume the run (`resume`)."
    )
