"""Many files: done one by one, journaled, reported; one that fails never stops the rest."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tessera.checksum import sha256_of
from tessera.errors import Interrupted, LimitError, PictureError, TesseraError
from tessera.finding import Task, folded, inode
from tessera.formats import format_of_name
from tessera.journal import Journal, key_of
from tessera.place import machine_token, owner_of
from tessera.version import __version__

if TYPE_CHECKING:
    from tessera.upscaler import Forecast, Outcome, Upscaler

State = Literal["done", "skipped", "failed", "dropped"]

_OLD_SECONDS = 7 * 24 * 3600


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
        self._outputs = {folded(task.output) for task in tasks}
        self._sources = {inode(task.source) for task in tasks}

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
            return result("failed", _about(task, output, str(error)))
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
        if folded(output) in self._outputs or (output.exists() and inode(output) in self._sources):
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


def _about(task: Task, output: Path, sentence: str) -> str:
    """Put the picture in front of a sentence that names neither it nor its output."""
    named = str(task.source) in sentence or str(output) in sentence
    return sentence if named else f"{task.source}: {sentence}"


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
        return sha256_of(source) if stat.S_ISREG(source.stat().st_mode) else ""
    except OSError as error:
        raise PictureError(f"{source}: cannot be read: {error.strerror}.") from None


def remove_leftovers(folder: Path, *, of_this_process: bool = False) -> None:
    """Delete unfinished files of runs that were killed (their process is gone), or of this one.

    Process numbers say nothing about another machine that shares the folder: what it left goes when it is a week old.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            owner = owner_of(entry.name)
            if owner is None:
                continue
            process, machine = owner
            with contextlib.suppress(OSError):
                if machine != machine_token():
                    dead = time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_SECONDS
                else:
                    dead = (process == os.getpid() and of_this_process) or not _is_running(process)
                if dead:
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
