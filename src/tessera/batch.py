"""Many files: found, named, done one by one, journaled; one that fails never stops the rest."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
import re
import stat
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tessera.errors import Interrupted, LimitError, PictureError, TesseraError, UsageError
from tessera.formats import FORMATS, READABLE_EXTENSIONS, format_of_name, looks_like_a_picture
from tessera.journal import Journal, file_sha256, key_of
from tessera.version import __version__
from tessera.writer import PART_MARK

if TYPE_CHECKING:
    from tessera.upscaler import Forecast, Outcome, Upscaler

State = Literal["done", "skipped", "failed", "dropped"]

_OF_THE_SYSTEM = frozenset({"desktop.ini", "thumbs.db"})


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
    left: int = 0
    """Files that a later run has still to do, because the batch was stopped."""

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


# ----------------------------------------------------------------------------------------------------- finding, naming


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

    def is_file_for(self, inputs: Sequence[str]) -> bool:
        """Whether -o names a file: one input that is no folder, and a name that ends like a picture's.

        Raises UsageError when it does and no such file can be written.
        """
        one = len(inputs) == 1 and not os.path.isdir(inputs[0])  # noqa: PTH112 - False, not an error, for any text
        extension = self.output.suffix.lower()
        if not one or extension not in READABLE_EXTENSIONS or self.output.is_dir():
            return False
        form = format_of_name(self.output)
        if form is None:
            raise UsageError(
                f"-o {self.output}: {extension} can be read, not written; choose .png, .jpg, .tif or .webp."
            )
        if self.extension != "auto" and format_of_name(Path(f"x.{self.extension.lstrip('.')}")) is not form:
            raise UsageError(f"-o {self.output} and --ext {self.extension} ask for two formats; leave one out.")
        return True

    def journal_folder(self, inputs: Sequence[str]) -> Path:
        """The folder that outputs go to, where their journal lies."""
        return self.output.parent if self.is_file_for(inputs) else self.output


@dataclass(frozen=True)
class _Found:
    source: Path
    below: Path = Path()
    """Its folder below the input folder, which is kept."""
    problem: str | None = None


def find_tasks(
    inputs: Sequence[str], naming: Naming, journal: Journal, *, recursive: bool = False
) -> tuple[list[Task], int]:
    """Turn files, folders and patterns into tasks -> them, and how many files were no pictures by name.

    A folder gives the pictures in it, and below it when `recursive`, with the tree kept; outputs of earlier runs are no
    inputs. Raises UsageError when there is nothing to do, or every output would replace an input.
    """
    search = _Search(naming, journal, recursive)
    for text in inputs:
        search.add(text)
    found = list(search.found.values())
    if not found:
        raise UsageError(search.nothing_found(inputs))
    if naming.is_file_for(inputs):
        if len(found) != 1:
            raise UsageError(f"-o {naming.output} names one file, but {inputs[0]} gives {len(found)}: name a folder.")
        tasks = [Task(found[0].source, naming.output, named_by_user=True, problem=found[0].problem)]
    else:
        if naming.output.exists() and not naming.output.is_dir():
            raise UsageError(f"-o {naming.output}: is a file; outputs go to a folder, so name another one.")
        tasks = _named(found, naming)
    return _inputs_spared(tasks), search.ignored


class _Search:
    """Collects pictures from what the user named, each once."""

    def __init__(self, naming: Naming, journal: Journal, recursive: bool) -> None:
        self._recursive = recursive
        self._output = _inode(naming.output)
        real = os.path.realpath(journal.folder)
        self._ours = frozenset(os.path.join(real, *name.split("/")) for name in journal.outputs)  # noqa: PTH118
        self.found: dict[str, _Found] = {}
        self.ignored = 0
        self._below = False

    def add(self, text: str) -> None:
        """Take one word of the command line."""
        if not text:
            raise UsageError("One of the inputs is an empty text: name pictures or folders.")
        if os.path.isdir(text):  # noqa: PTH112 - False, not an error, for any text
            self._add_folder(Path(text))
        elif os.path.lexists(text):
            self._add(_Found(Path(text), problem=None if os.path.exists(text) else f"{text}: {_BROKEN_LINK}"))  # noqa: PTH110
        elif glob.has_magic(text):
            self._add_pattern(text)
        else:
            self._add(_Found(Path(text), problem=f"{text}: there is no such file or folder."))

    def nothing_found(self, inputs: Sequence[str]) -> str:
        """The sentence for a search without result."""
        hint = "; --recursive looks into the folders below" if self._below and not self._recursive else ""
        others = f" ({self.ignored} other files)" if self.ignored else ""
        return f"There are no pictures in {', '.join(inputs)}{others}{hint}."

    def _add(self, found: _Found) -> None:
        self.found.setdefault(_identity(found.source), found)

    def _add_folder(self, folder: Path) -> None:
        def cannot_list(error: OSError) -> None:
            place = Path(os.fsdecode(error.filename or folder))
            self._add(_Found(place, problem=f"{place}: this folder cannot be listed: {error.strerror}."))

        for place, folders, files in os.walk(folder, onerror=cannot_list):
            if _inode(place) == self._output and Path(place) != folder:
                folders.clear()
                continue
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            self._below = self._below or bool(folders)
            if not self._recursive:
                folders.clear()
            real, below = os.path.realpath(place), Path(place).relative_to(folder)
            for name in sorted(files):
                if name.startswith(".") or name.lower() in _OF_THE_SYSTEM:
                    continue
                if not looks_like_a_picture(Path(name)):
                    self.ignored += 1
                elif (identity := os.path.join(real, name)) not in self._ours:  # noqa: PTH118 - thousands of these
                    self.found.setdefault(identity, _Found(Path(place, name), below))

    def _add_pattern(self, pattern: str) -> None:
        files = [path for path in _matches(pattern) if path.is_file()]
        pictures = [path for path in files if looks_like_a_picture(path)]
        self.ignored += len(files) - len(pictures)
        if not pictures:
            self._add(_Found(Path(pattern), problem=f"{pattern}: no picture matches this pattern."))
        for path in pictures:
            if _identity(path) not in self._ours:
                self._add(_Found(path))


def _matches(pattern: str) -> list[Path]:
    """What a pattern names; ** goes down folders and not through links, which may lead round in circles."""
    anchor = Path(pattern).anchor
    below = pattern[len(anchor) :] + ("/*" if pattern.endswith("**") else "")
    named = set(Path(pattern).parts)
    try:
        found = sorted(Path(anchor).glob(below))
    except (ValueError, NotImplementedError, OSError):
        return []
    return [path for path in found if not any(part.startswith(".") and part not in named for part in path.parts)]


_BROKEN_LINK = "is a link to a file that is not there."


def _named(found: list[_Found], naming: Naming) -> list[Task]:
    """NAME_out.EXT where that is one picture's alone; NAME_EXT_out.EXT, and then a number, tell the others apart."""
    plain = [naming.output / each.below / naming.name(each.source) for each in found]
    taken = Counter(_folded(output) for output in plain)
    used = {place for place, count in taken.items() if count == 1}
    numbers: Counter[str] = Counter()
    tasks: list[Task] = []
    for each, output in zip(found, plain, strict=True):
        if taken[_folded(output)] > 1:
            output = output.with_name(naming.name(each.source, with_extension=True))
            first, base = output, _folded(output)
            while _folded(output) in used:
                numbers[base] += 1
                output = first.with_name(f"{first.stem}-{numbers[base] + 1}{first.suffix}")
            used.add(_folded(output))
        tasks.append(Task(each.source, output, problem=each.problem))
    return tasks


def _folded(path: Path) -> str:
    """One text for all names that some file system takes for the same."""
    return unicodedata.normalize("NFC", str(path).casefold())


def _inputs_spared(tasks: list[Task]) -> list[Task]:
    """Turn tasks down whose output is one of the inputs, however it is spelled."""
    sources = {_inode(task.source) for task in tasks} - {None}
    refused = {task.output for task in tasks if _inode(task.output) in sources}
    if not refused:
        return tasks
    because = "is itself an input, and inputs are never replaced; choose another folder with -o or another --suffix."
    if len(refused) == len(tasks):
        raise UsageError(f"{tasks[0].output}: {because}")
    return [
        dataclasses.replace(task, problem=f"{task.source}: its output {task.output} {because}")
        if task.output in refused
        else task
        for task in tasks
    ]


def _identity(path: Path) -> str:
    """One text for each name of a file, links in its folder followed, a link itself not."""
    return os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118 - thousands of these


def _inode(path: str | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands of these
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


# ------------------------------------------------------------------------------------------------------------- running


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
    for a later run. KeyboardInterrupt has the same effect at once.
    """
    began = time.monotonic()
    run = _Run(tasks, upscaler, journal, overwrite, watcher, stopped)
    folders = {task.output.parent for task in tasks}
    for folder in folders:
        remove_leftovers(folder)
    results: list[FileResult] = []
    for index, task in enumerate(tasks):
        if stopped():
            break
        if watcher is not None:
            watcher.begin(index, task)
        result = run.one(index, task)
        results.append(result)
        if watcher is not None:
            watcher.end(index, result)
        if result.state == "dropped":
            remove_leftovers(result.output.parent, of_this_process=True)
            break
    return BatchReport(
        results=tuple(results),
        ignored=ignored,
        seconds=time.monotonic() - began,
        model=upscaler.generator.name,
        model_sha256=upscaler.generator.sha256,
        left=len(tasks) - sum(result.state != "dropped" for result in results),
    )


def report_problems(tasks: Sequence[Task], model: str, ignored: int) -> BatchReport:
    """The report of a batch none of whose files can even be tried, so that no network need be loaded for it."""
    results = tuple(FileResult(task.source, task.output, "failed", message=task.problem or "") for task in tasks)
    return BatchReport(results, ignored, 0.0, model, "")


def forecasts(
    tasks: Sequence[Task], upscaler: Upscaler, journal: Journal, *, overwrite: bool = False
) -> Iterator[tuple[Task, Forecast | TesseraError | None]]:
    """For --dry-run: each task with its Forecast, the error it would meet, or None when it is already done."""
    run = _Run(tasks, upscaler, journal, overwrite)
    for task in tasks:
        try:
            with _as_sentences(task):
                chosen, key = run.choose(task)
                done = key is None
            yield chosen, None if done else upscaler.forecast(chosen.source, chosen.output)
        except TesseraError as error:
            yield task, error


class _Run:
    """A batch under way: what each of its files is done with."""

    def __init__(
        self,
        tasks: Sequence[Task],
        upscaler: Upscaler,
        journal: Journal,
        overwrite: bool,
        watcher: Watcher | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._upscaler, self._journal, self._overwrite = upscaler, journal, overwrite
        self._watcher, self._stopped = watcher, stopped
        engine = upscaler.engine
        self._fixed = (upscaler.generator.sha256, upscaler.settings.fingerprint, engine.name, engine.precision)
        self._outputs = {_folded(task.output) for task in tasks}
        self._sources = {_inode(task.source) for task in tasks}

    def one(self, index: int, task: Task) -> FileResult:
        """Do one file, whatever happens to it."""
        began = time.monotonic()
        output = task.output

        def result(state: State, message: str = "", **more: Any) -> FileResult:
            return FileResult(task.source, output, state, time.monotonic() - began, message, **more)

        try:
            with _as_sentences(task):
                chosen, key = self.choose(task)
                output = chosen.output
                if key is None:
                    return result("skipped", "already done")
                self._refuse_foreign(chosen)
                self._begin(chosen, key)
                outcome = self._upscaler.upscale_file(task.source, output, on_tile=self._on_tile(index, task))
                return result("done", self._finish(output, key), outcome=outcome)
        except (Interrupted, KeyboardInterrupt):
            return result("dropped", "stopped before it was finished")
        except TesseraError as error:
            return result("failed", str(error))
        except BrokenPipeError:  # whoever read our progress is gone: that is no trouble of this file
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            bug = f"{task.source}: Tessera failed on it ({what}); this is a bug, please report it."
            return result("failed", bug, defect=error)

    def choose(self, task: Task) -> tuple[Task, str | None]:
        """Decide where the output goes -> the task with it, and its key, or None when that output is already there.

        RGBA goes to PNG when the format that follows from the name has no alpha, as Real-ESRGAN's users know it.
        """
        if task.problem is not None:
            raise PictureError(task.problem)
        digest = _sha256(task.source)
        form = format_of_name(task.output)
        candidates = [task]
        if form is not None and not form.alpha and not task.named_by_user:
            candidates.append(dataclasses.replace(task, output=task.output.with_suffix(".png")))
        keys = [key_of(digest, *self._fixed, each.output.name) for each in candidates]
        for each, key in zip(candidates, keys, strict=True):
            if not self._overwrite and self._journal.is_done(each.output, key):
                return each, None
        if len(candidates) == 1 or not self._upscaler.has_visible_alpha(task.source):
            return task, keys[0]
        output = candidates[1].output
        if _folded(output) in self._outputs or (output.exists() and _inode(output) in self._sources):
            raise PictureError(
                f"{task.source}: has alpha, so it would become {output}, which is another picture's name;"
                " --ext png or another --suffix tells them apart."
            )
        return candidates[1], keys[1]

    def _on_tile(self, index: int, task: Task) -> Callable[[int, int, int], None]:
        def on_tile(done: int, total: int, pixels: int) -> None:
            if self._watcher is not None:
                self._watcher.tile(index, done, total, pixels)
            if self._stopped():
                raise Interrupted(f"{task.source}: stopped.")

        return on_tile

    def _refuse_foreign(self, task: Task) -> None:
        """What is none of ours, or another picture's, is not replaced unless asked for (an empty file may be)."""
        output = task.output
        if output.is_dir():
            raise PictureError(f"{output}: is a folder, so no picture can be written under this name.")
        if output.exists() and not output.is_file():
            raise PictureError(f"{output}: is a pipe, a device or the like, which no picture may replace.")
        if self._overwrite or not output.exists() or not output.stat().st_size:
            return
        source = self._journal.source_of(output)
        if source is None:
            raise PictureError(
                f"{output}: exists and was not made by Tessera (its journal does not know it); --overwrite replaces it."
            )
        if source and source != self._journal.path_from_here(task.source):
            raise PictureError(
                f"{output}: was made from another picture, {self._journal.folder / source}; choose another folder with"
                " -o or another --suffix, or --overwrite replaces it."
            )

    def _begin(self, task: Task, key: str) -> None:
        folder = task.output.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._journal.begin(task.output, key, task.source)
        except FileExistsError:
            raise PictureError(f"{folder}: is a file, so outputs cannot go into it.") from None
        except OSError as error:
            raise PictureError(f"{folder}: cannot be written to: {error.strerror}.") from None

    def _finish(self, output: Path, key: str) -> str:
        try:
            self._journal.finish(output, key)
        except OSError as error:
            return f"done, but the journal cannot be written ({error.strerror}): a later run will do it again"
        return ""


@contextlib.contextmanager
def _as_sentences(task: Task) -> Generator[None]:
    """Turn what the system refuses, and running out of memory, into errors with a sentence."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else task.source
        raise PictureError(f"{where}: {error.strerror or error}.") from error
    except MemoryError:
        raise LimitError(f"{task.source}: memory ran out while it was read or written.") from None


def _sha256(source: Path) -> str:
    """The hash of a file; of what is none, nothing (reading a pipe or a device might never end)."""
    try:
        return file_sha256(source) if stat.S_ISREG(source.stat().st_mode) else ""
    except OSError as error:
        raise PictureError(f"{source}: cannot be read: {error.strerror}.") from None


def remove_leftovers(folder: Path, *, of_this_process: bool = False) -> None:
    """Delete unfinished files of runs that were killed (their process is gone), or of this one."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = re.search(re.escape(PART_MARK) + r"(\d+)", entry.name) if entry.name.startswith(".") else None
            if found is None:
                continue
            process = int(found[1])
            if (process == os.getpid() and of_this_process) or not _is_running(process):
                Path(entry).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":  # there os.kill does not ask but act; unfinished files stay until their picture is done
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
                "measure": "mean CIE 1976 between the input and the shrunken output, both blurred by 2 input pixels",
                "before": round(outcome.color_error_before, 4),
                "after": round(outcome.color_error_after, 4),
            }
    return values
