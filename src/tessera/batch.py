"""Many files: found, named, done one by one, journaled; one that fails never stops the rest."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tessera.errors import Interrupted, PictureError, TesseraError, UsageError
from tessera.formats import FORMATS, format_of_name, looks_like_a_picture
from tessera.journal import JOURNAL_NAME, Journal, file_sha256, key_of
from tessera.version import __version__
from tessera.writer import PART_MARK

if TYPE_CHECKING:
    from tessera.upscale import Outcome, Upscaler

State = Literal["done", "skipped", "failed", "dropped"]


@dataclass(frozen=True)
class Task:
    """One picture and where its output goes; `problem` says why it cannot even be tried."""

    source: Path
    output: Path
    named_by_user: bool = False
    """Whether the user gave the output's full name (then its extension is obeyed, whatever the picture holds)."""
    problem: str | None = None


@dataclass(frozen=True)
class FileResult:
    """What became of one picture."""

    source: Path
    output: Path
    state: State
    seconds: float = 0.0
    message: str = ""
    outcome: Outcome | None = None
    defect: BaseException | None = field(default=None, repr=False)
    """The exception, when it was none of ours: a bug."""


@dataclass(frozen=True)
class BatchReport:
    """What became of all of them."""

    results: tuple[FileResult, ...]
    ignored: int
    """Files met in folders that are no pictures by name."""
    seconds: float
    model: str
    model_sha256: str
    interrupted: bool = False

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
            "interrupted": self.interrupted,
            "ignored": self.ignored,
            **{state: self.count(state) for state in ("done", "skipped", "failed", "dropped")},
            "files": [_as_json(result) for result in self.results],
        }


class Watcher(Protocol):
    """Is told how a batch goes on: progress bars, JSON lines, tests."""

    def begin(self, index: int, task: Task) -> None:
        """A file is begun."""
        ...

    def tile(self, index: int, done: int, total: int, pixels: int) -> None:
        """A tile is done, which finished so many input pixels."""
        ...

    def end(self, index: int, result: FileResult) -> None:
        """A file is through."""
        ...


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How outputs are named: NAME_out.EXT in one folder, the tree of the inputs kept."""

    output: Path = Path("results")
    suffix: str = "out"
    extension: str = "auto"

    def __post_init__(self) -> None:
        known = sorted(extension.lstrip(".") for form in FORMATS for extension in form.extensions)
        if self.extension != "auto" and self.extension.lstrip(".").lower() not in known:
            raise UsageError(f"--ext {self.extension}: expected auto or one of {', '.join(known)}.")
        if re.search(r"[/\\\x00]", self.suffix):
            raise UsageError(f"--suffix {self.suffix!r} may not hold a path.")

    def name(self, source: Path, *, with_extension: bool = False) -> str:
        """The output's file name for a source; `with_extension` tells photo.jpg and photo.png apart."""
        form = format_of_name(source)
        extension = source.suffix if form is not None else ".png"
        if self.extension != "auto":
            extension = "." + self.extension.lstrip(".").lower()
        stem = f"{source.stem}_{source.suffix.lstrip('.')}" if with_extension and source.suffix else source.stem
        return f"{stem}_{self.suffix}{extension}" if self.suffix else f"{stem}{extension}"


def journal_for(inputs: Sequence[str], naming: Naming) -> Journal:
    """The journal of the folder that outputs go to."""
    return Journal(naming.output.parent if _output_is_file(inputs, naming) else naming.output)


def _output_is_file(inputs: Sequence[str], naming: Naming) -> bool:
    """Whether -o names a file: one input that is no folder, and a name that ends like a picture's."""
    one = len(inputs) == 1 and not Path(inputs[0]).is_dir()
    return one and not naming.output.is_dir() and format_of_name(naming.output) is not None


def find_tasks(inputs: Sequence[str], naming: Naming, *, recursive: bool) -> tuple[list[Task], int]:
    """Turn files, folders and patterns into tasks -> them, and how many files were no pictures by name.

    A folder gives the pictures in it, and below it when `recursive`, with the tree kept. Raises UsageError when an
    output would replace one of the inputs.
    """
    found: dict[Path, tuple[Path, Path, str | None]] = {}
    ignored = 0
    output_is_file = _output_is_file(inputs, naming)
    output_folder = naming.output.parent if output_is_file else naming.output
    ours = _outputs_of_earlier_runs(output_folder)
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            pictures, others = _in_folder(path, naming.output, ours, recursive)
            ignored += others
            for picture in pictures:
                found.setdefault(_identity(picture), (picture, picture.relative_to(path).parent, None))
        elif os.path.lexists(path) or not glob.has_magic(text):
            found.setdefault(_identity(path), (path, Path(), None))
        else:
            matches = sorted(Path(match) for match in glob.glob(text, recursive=True))  # noqa: PTH207 - patterns may be absolute
            for match in matches:
                if match.is_file() and _identity(match) not in ours:
                    found.setdefault(_identity(match), (match, Path(), None))
            if not matches:
                found.setdefault(path, (path, Path(), f"{text}: no file matches this pattern."))
    if output_is_file:
        if len(found) != 1:
            raise UsageError(f"-o {naming.output} names one file, but {inputs[0]} gives {len(found)}: name a folder.")
        [(source, _, problem)] = found.values()
        tasks = [Task(source, naming.output, named_by_user=True, problem=problem)]
    else:
        tasks = _named(list(found.values()), naming)
    _refuse_replacing_inputs(tasks)
    return tasks, ignored


def _in_folder(folder: Path, output: Path, ours: frozenset[Path], recursive: bool) -> tuple[list[Path], int]:
    pictures: list[Path] = []
    others = 0
    inside = _identity(output)
    for place, folders, files in os.walk(folder, onerror=None):
        folders.sort()
        if _identity(Path(place)) == inside and inside != _identity(folder):
            folders.clear()
            continue
        if not recursive:
            folders.clear()
        for name in sorted(files):
            path = Path(place, name)
            if looks_like_a_picture(path):
                if _identity(path) not in ours:
                    pictures.append(path)
            elif name != JOURNAL_NAME:
                others += 1
    return pictures, others


def _outputs_of_earlier_runs(folder: Path) -> frozenset[Path]:
    """Finished outputs lying in the output folder: when it is also an input folder they are no inputs."""
    with contextlib.suppress(OSError):
        lines = (folder / JOURNAL_NAME).read_text("utf-8", "replace").splitlines()
        names: set[Path] = set()
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                names.add(_identity(folder / json.loads(line)["output"]))
        return frozenset(names)
    return frozenset()


def _named(found: list[tuple[Path, Path, str | None]], naming: Naming) -> list[Task]:
    plain = [naming.output / below / naming.name(source) for source, below, _ in found]
    taken = Counter(str(output).casefold() for output in plain)
    tasks: list[Task] = []
    seen: dict[str, Path] = {}
    for (source, below, problem), output in zip(found, plain, strict=True):
        if taken[str(output).casefold()] > 1:
            output = naming.output / below / naming.name(source, with_extension=True)
        place = str(output).casefold()
        if place in seen and problem is None:
            problem = f"{source}: would have the same output as {seen[place]} ({output}); give them to separate runs."
        seen.setdefault(place, source)
        tasks.append(Task(source, output, problem=problem))
    return tasks


def _refuse_replacing_inputs(tasks: list[Task]) -> None:
    sources = {_identity(task.source): task.source for task in tasks}
    for task in tasks:
        if _identity(task.output) in sources:
            raise UsageError(
                f"{task.output}: is itself an input, and inputs are never replaced; choose another folder with -o or"
                " another --suffix."
            )


def _identity(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def run_batch(
    tasks: Sequence[Task],
    upscaler: Upscaler,
    journal: Journal,
    *,
    ignored: int = 0,
    overwrite: bool = False,
    watcher: Watcher | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> BatchReport:
    """Upscale file after file; every outcome is a result, and nothing but a stop ends the run early.

    `stopped` is asked between tiles; when it says so the file at hand is dropped without a trace and the rest is left
    for a later run.
    """
    began = time.monotonic()
    results: list[FileResult] = []
    generator = upscaler.generator
    fixed = (generator.sha256, upscaler.settings.fingerprint, upscaler.engine.name, upscaler.engine.precision)
    for folder in {task.output.parent for task in tasks}:
        remove_leftovers(folder)
    interrupted = False
    for index, task in enumerate(tasks):
        if stopped():
            interrupted = True
            break
        if watcher is not None:
            watcher.begin(index, task)
        result = _run_one(index, task, upscaler, journal, fixed, overwrite, watcher, stopped)
        results.append(result)
        if watcher is not None:
            watcher.end(index, result)
        if result.state == "dropped":
            interrupted = True
            break
    return BatchReport(
        results=tuple(results),
        ignored=ignored,
        seconds=time.monotonic() - began,
        model=generator.name,
        model_sha256=generator.sha256,
        interrupted=interrupted,
    )


def _run_one(
    index: int,
    task: Task,
    upscaler: Upscaler,
    journal: Journal,
    fixed: tuple[str, ...],
    overwrite: bool,
    watcher: Watcher | None,
    stopped: Callable[[], bool],
) -> FileResult:
    began = time.monotonic()

    def result(state: State, message: str = "", **more: Any) -> FileResult:
        return FileResult(task.source, task.output, state, time.monotonic() - began, message, **more)

    def on_tile(done: int, total: int, pixels: int) -> None:
        if watcher is not None:
            watcher.tile(index, done, total, pixels)
        if stopped():
            raise Interrupted(f"{task.source}: stopped.")

    try:
        if task.problem is not None:
            raise PictureError(task.problem)
        task = _with_room_for_alpha(task, upscaler)
        output = task.output
        _make_folder(output.parent)
        key = key_of(_sha256(task.source), *fixed, output.name)
        if journal.is_done(output, key) and not overwrite:
            return result("skipped", "already done")
        _refuse_foreign(output, journal, overwrite)
        _begin(journal, output, key)
        outcome = upscaler.upscale_file(task.source, output, on_tile=on_tile)
        journal.finish(output, key)
        return result("done", outcome=outcome)
    except Interrupted:
        return result("dropped", "stopped before it was finished")
    except TesseraError as error:
        return result("failed", str(error))
    except Exception as error:
        message = (
            f"{task.source}: Tessera failed on it ({type(error).__name__}: {error}); this is a bug, please report it."
        )
        return result("failed", message, defect=error)


def _with_room_for_alpha(task: Task, upscaler: Upscaler) -> Task:
    """RGBA goes to PNG when the format that follows from the name has no alpha, as Real-ESRGAN's users know it."""
    form = format_of_name(task.output)
    if task.named_by_user or form is None or form.alpha or not upscaler.has_visible_alpha(task.source):
        return task
    return dataclasses.replace(task, output=task.output.with_suffix(".png"))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PictureError(f"{folder}: this folder cannot be made: {error.strerror}.") from None


def _sha256(source: Path) -> str:
    try:
        return file_sha256(source) if source.is_file() else ""
    except OSError as error:
        raise PictureError(f"{source}: cannot be read: {error.strerror}.") from None


def _refuse_foreign(output: Path, journal: Journal, overwrite: bool) -> None:
    """Files that are none of ours are not replaced unless asked for (an empty one is a placeholder)."""
    if output.is_dir():
        raise PictureError(f"{output}: is a folder, so no picture can be written under this name.")
    if output.exists() and output.stat().st_size and not overwrite and not journal.knows(output):
        raise PictureError(
            f"{output}: exists and was not made by Tessera (its journal does not know it); --overwrite replaces it."
        )


def _begin(journal: Journal, output: Path, key: str) -> None:
    try:
        journal.begin(output, key)
    except OSError as error:
        raise PictureError(f"{output.parent}: cannot be written to: {error.strerror}.") from None


def remove_leftovers(folder: Path) -> None:
    """Delete unfinished files of runs that were killed (their process is gone)."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            found = re.search(re.escape(PART_MARK) + r"(\d+)", path.name)
            if found and path.name.startswith(".") and not _is_running(int(found[1])):
                path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


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
                "measure": "mean CIE 1976 between the shrunken output and the input",
                "before": round(outcome.color_error_before, 4),
                "after": round(outcome.color_error_after, 4),
            }
    return values


def forecasts(tasks: Sequence[Task], upscaler: Upscaler) -> Iterator[tuple[Task, Any]]:
    """For --dry-run: each task with its Forecast, or with the error it would meet."""
    for task in tasks:
        try:
            if task.problem is not None:
                raise PictureError(task.problem)
            yield task, upscaler.forecast(task.source, task.output)
        except TesseraError as error:
            yield task, error
