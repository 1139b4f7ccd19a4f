"""The folder of a training run, read for a report, even while the run is active or parts are damaged.

The folder is `runs/NAME/`: `config.toml`, `metrics.jsonl` (an object per line: {"step", "kind", ...}), `log.txt` (a
time and a sentence per line), `samples/` with a sheet for each validation, `best.safetensors`. Unreadable parts are
listed in `problems`; a truncated line is skipped silently, since an active run may have one. Shapes: N recorded values.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from tessera.errors import UsageError

T = TypeVar("T")

_LONGEST_LINE = 2**16
_MOST_NAMES = 60
"""Limit for damaged files; a run writes about a dozen names."""
_MOST_SENTENCES = 500
_LAST_STEP = 2**53
_LOG_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (.*)")
_PROGRESS = re.compile(r"step ([0-9,]{1,19}): ")
_STEP_NAMED = re.compile(r"\b[Ss]tep ([0-9,]{1,19})\b")
_SESSION = re.compile(r"(?:Starting|Resuming|Beginning|Going on) at step ([0-9,]{1,19}) of ([0-9,]{1,19}): ")
_SPEED = re.compile(r"(?:^|; )([^;]*crops (?:a|per) second.*)")
_TIME = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Series:
    """A value over the steps; NaN where it was recorded as null."""

    steps: npt.NDArray[np.int64]
    """(N,), increasing"""
    values: npt.NDArray[np.float64]
    """(N,)"""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A message of a run."""

    step: int | None
    time: str
    """As in the log; empty for messages that are only in the metrics."""
    sentence: str
    warning: bool
    """Whether it is one of the recorded events, and not only in the log."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session of a run, from its start or resumption to the last line of the log before the next one."""

    first_step: int
    last_step: int
    steps: int
    """The planned number of steps."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as recorded in its folder."""

    folder: Path
    config: dict[str, Any]
    train: dict[str, Series]
    validation: dict[str, Series]
    events: tuple[Event, ...]
    events_left_out: int
    sessions: tuple[Session, ...]
    speed: str
    """The last message about the speed."""
    last_written: str
    sheets: dict[int, Path]
    attention: dict[str, Series]
    """Statistics of the discriminator's attention maps."""
    attention_sheets: dict[int, Path]
    best: dict[str, str]
    """The metadata of `best.safetensors`; empty without one."""
    checkpoints: tuple[int, ...]
    problems: tuple[str, ...]

    @property
    def step(self) -> int:
        """The last recorded step."""
        known = [int(each.steps[-1]) for each in (*self.train.values(), *self.validation.values()) if len(each.steps)]
        return max([0, *known, *self.checkpoints, *(session.last_step for session in self.sessions)])

    @property
    def steps(self) -> int:
        """The planned number of steps; 0 if unknown."""
        wanted: object = self.config.get("steps")
        return self.sessions[-1].steps if self.sessions else wanted if isinstance(wanted, int) else 0

    def value(self, *path: str) -> Any:
        """A value of the configuration; None if missing."""
        found: Any = self.config
        for key in path:
            found = cast("dict[str, Any]", found).get(key) if isinstance(found, dict) else None
        return found


def read_run(folder: Path) -> RunRecord:
    """Read a run's folder. Raises UsageError if it contains no run."""
    config_path, metrics_path = folder / "config.toml", folder / "metrics.jsonl"
    try:
        there = config_path.is_file() or metrics_path.is_file()
    except (OSError, ValueError):  # a name that the system does not allow
        there = False
    if not there:
        raise UsageError(
            f"{folder}: expected the folder of a training run, found neither config.toml nor metrics.jsonl. Name a run,"
            " as in `tessera report runs/NAME`."
        )
    problems: list[str] = []
    config = _attempt(lambda: _read_config(config_path), config_path, problems) or {}
    metrics = _Metrics()
    _attempt(lambda: metrics.read(metrics_path), metrics_path, problems)
    log = _Log(metrics.sentences)
    log_path = folder / "log.txt"
    if log_path.exists():
        _attempt(lambda: log.read(log_path), log_path, problems)
    events = log.events()
    return RunRecord(
        folder=folder,
        config=config,
        train=metrics.series("train"),
        validation=metrics.series("validation"),
        events=tuple(events),
        events_left_out=log.left_out,
        sessions=tuple(log.sessions()),
        speed=log.speed,
        last_written=log.last_written,
        sheets=_attempt(lambda: _find_sheets(folder / "samples"), folder / "samples", problems) or {},
        attention=metrics.series("attention"),
        attention_sheets=_attempt(lambda: _find_sheets(folder / "attention"), folder / "attention", problems) or {},
        best=_attempt(lambda: _read_metadata(folder / "best.safetensors"), folder / "best.safetensors", problems) or {},
        checkpoints=tuple(_find_checkpoints(folder / "checkpoints")),
        problems=tuple(problems),
    )


def _attempt(read: Callable[[], T], path: Path, problems: list[str]) -> T | None:
    """Read a part, or add a sentence to `problems` and return None."""
    try:
        return read()
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror or error}.")
    except (ValueError, RecursionError, SafetensorError) as error:
        problems.append(f"{path.name} is damaged: {error}.")
    return None


def _read_config(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.load(file)


def _find_sheets(folder: Path) -> dict[int, Path]:
    """Find the sample sheets, by step."""
    if not folder.is_dir():
        return {}
    found = [path for path in folder.iterdir() if path.suffix == ".png" and _is_number(path.stem)]
    return {int(path.stem): path for path in sorted(found)}


def _find_checkpoints(folder: Path) -> list[int]:
    try:
        return sorted(int(path.name) for path in folder.iterdir() if _is_number(path.name) and path.is_dir())
    except OSError:
        return []


def _is_number(name: str) -> bool:
    return re.fullmatch(r"[0-9]{1,15}", name) is not None


def _read_metadata(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with safe_open(path, framework="np") as file:
        return dict(file.metadata() or {})


def _read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file; an oversized line comes in pieces."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        while line := file.readline(_LONGEST_LINE):
            yield line


# ---------------------------------------------------------------------------------------------------------- metrics


@dataclass
class _Table:
    """Lines with the same names of values."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    """The values of all lines, concatenated."""


class _Metrics:
    """Parses the lines of `metrics.jsonl` (possibly millions), one table per set of names."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, tuple[str, ...]], _Table] = {}
        self.sentences: dict[str, int] = {}
        """Events, by message, with their step."""

    def read(self, path: Path) -> None:
        """Read the file. Raises OSError."""
        for text in _read_lines(path):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):  # truncated
                continue
            if isinstance(line, dict):
                self._take(cast("dict[str, Any]", line))

    def _take(self, line: dict[str, Any]) -> None:
        step, kind = line.pop("step", None), line.pop("kind", None)
        if type(step) is not int or not 0 <= step < _LAST_STEP:
            return
        if kind == "event":
            sentence: object = line.get("sentence")
            if isinstance(sentence, str) and len(self.sentences) < _LONGEST_LINE:
                self.sentences[sentence] = step
        elif kind in ("train", "validation", "attention"):
            try:
                row = array("d", line.values())
            except (TypeError, OverflowError):
                line = {name: _to_float(value) for name, value in line.items() if _is_numeric(value)}
                row = array("d", line.values())
            key = (kind, tuple(line))
            table = self._tables.get(key)
            if table is None:
                if len(self._tables) == _MOST_NAMES:
                    return
                table = self._tables[key] = _Table()
            table.steps.append(step)
            table.values.extend(row)

    def series(self, kind: str) -> dict[str, Series]:
        """The values of one kind of line, by name."""
        parts: dict[str, list[Series]] = {}
        for (of_kind, names), table in self._tables.items():
            if of_kind == kind and names:
                steps = np.frombuffer(table.steps, np.int64)
                values = np.frombuffer(table.values, np.float64).reshape(len(steps), len(names))
                for column, name in enumerate(names):
                    if name in parts or len(parts) < _MOST_NAMES:
                        parts.setdefault(name, []).append(Series(steps, values[:, column]))
        return {name: _join_parts(found) for name, found in parts.items()}


def _join_parts(parts: list[Series]) -> Series:
    steps = np.concatenate([part.steps for part in parts])
    values = np.concatenate([part.values for part in parts])
    order = steps.argsort(kind="stable")
    values = values[order]
    sound = np.abs(values) <= np.finfo(np.float32).max  # losses and scores are computed in single precision
    return Series(steps[order], np.where(sound, values, np.nan))


def _is_numeric(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _to_float(value: float | None) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.nan


# -------------------------------------------------------------------------------------------------------------- log


@dataclass
class _LoggedSession:
    step: int
    steps: int
    begun: str
    last: str
    last_step: int


class _Log:
    """Parses the lines of `log.txt`: all messages, and only the last line about steps."""

    def __init__(self, recorded: dict[str, int]) -> None:
        self._recorded = recorded
        self._unlogged = dict(recorded)
        self._first: list[Event] = []
        self._later: deque[Event] = deque(maxlen=_MOST_SENTENCES - _MOST_SENTENCES // 10)
        self._logged_sessions: list[_LoggedSession] = []
        self._step: int | None = None
        self.left_out = 0
        self.speed = ""
        self.last_written = ""

    def read(self, path: Path) -> None:
        """Read the file. Raises OSError."""
        last_speed = ""
        for text in _read_lines(path):
            found = _LOG_LINE.match(text)
            if found is None:
                continue
            time, sentence = found.groups()
            self.last_written = time
            step = _PROGRESS.match(sentence)
            if step is not None:
                self._step = _parse_step(step[1])
            if "crops per second" in sentence or "crops a second" in sentence:
                last_speed = sentence
            elif step is None:
                self._add_sentence(time, sentence)
            if self._logged_sessions:
                self._logged_sessions[-1].last = time
                self._logged_sessions[-1].last_step = max(self._logged_sessions[-1].last_step, self._step or 0)
        speed = _SPEED.search(last_speed)
        if speed is not None:
            self.speed = speed[1]

    def _add_sentence(self, time: str, sentence: str) -> None:
        begun = _SESSION.match(sentence)
        if begun is not None:
            self._step = _parse_step(begun[1])
            self._logged_sessions.append(_LoggedSession(self._step, _parse_step(begun[2]), time, time, self._step))
        step = self._unlogged.pop(sentence, None)
        named = _STEP_NAMED.search(sentence)
        if step is None:
            step = self._recorded.get(sentence, _parse_step(named[1]) if named is not None else self._step)
        self._store(Event(step=step, time=time, sentence=sentence, warning=sentence in self._recorded))

    def _store(self, event: Event) -> None:
        if len(self._first) < _MOST_SENTENCES // 10:
            self._first.append(event)
            return
        self.left_out += len(self._later) == self._later.maxlen
        self._later.append(event)

    def events(self) -> list[Event]:
        """The messages in order, then those that are only in the metrics."""
        for sentence, step in self._unlogged.items():
            self._store(Event(step=step, time="", sentence=sentence, warning=True))
        self._unlogged = {}
        return [*self._first, *self._later]

    def sessions(self) -> Iterator[Session]:
        """The sessions of the run."""
        for each in self._logged_sessions:
            seconds = (_parse_time(each.last) - _parse_time(each.begun)).total_seconds()
            yield Session(first_step=each.step, last_step=each.last_step, steps=each.steps, seconds=max(0.0, seconds))


def _parse_step(text: str) -> int:
    digits = text.replace(",", "")
    return int(digits) if digits else 0


def _parse_time(text: str) -> datetime:
    try:
        return datetime.strptime(text, _TIME)
    except ValueError:  # digits that are not a date
        return datetime.min
