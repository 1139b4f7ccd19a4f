"""One file of a batch: skipped, refused, upscaled or failed, in turn with the others."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tessera.errors import EngineError, Interrupted, LimitError, OutOfMemoryError, PictureError, TesseraError
from tessera.images.formats import find_format
from tessera.memory_errors import advise_on_memory, is_probably_memory_error
from tessera.planning.preparing import find_companion
from tessera.storage.checksum import compute_sha256
from tessera.storage.files import check_inside
from tessera.tiling.prefetch import Turns
from tessera.upscaling.batch_report import FileResult, State
from tessera.upscaling.finding import Task, fold_name, inode
from tessera.upscaling.journal import Job, Journal, key_of
from tessera.upscaling.replacing import Existing, check_replaceable
from tessera.upscaling.source import Source

if TYPE_CHECKING:
    from tessera.tiling.settings import Settings
    from tessera.upscaling.filejob import Forecast
    from tessera.upscaling.upscaler import Upscaler

_PICTURES_MEASURED = 64
STOPPED = "stopped before it was finished"


class Watcher(Protocol):
    """Receives the progress of a batch: progress bars, JSON lines, tests."""

    def begin(self, index: int, task: Task) -> None:
        """A file is started."""
        ...

    def tile(self, index: int, done: int, total: int, pixels: int) -> None:
        """A tile of this many input pixels is done."""
        ...

    def end(self, index: int, result: FileResult) -> None:
        """A file is finished."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How a batch is run.

    Args:
        existing: Which existing outputs are replaced.
        watcher: Receives the progress.
        stopped: Asked between tiles; once true, the current file is dropped and the rest is left for a later run.
        among: The files of all processes, where this one processes a share of them.
    """

    existing: Existing = "keep"
    watcher: Watcher | None = None
    stopped: Callable[[], bool] = lambda: False
    among: Sequence[Task] | None = None


class _DoneByAnotherError(Exception):
    """Another process with the same output folder finished a file while it waited for the network."""


class BatchRun:
    """A batch in progress: processes one file at a time per thread."""

    def __init__(self, tasks: Sequence[Task], upscaler: Upscaler, journal: Journal, options: BatchOptions) -> None:
        self._upscaler, self._journal, self._options = upscaler, journal, options
        self._tasks = options.among or tasks
        self._ended = False
        self.engine_error: EngineError | None = None
        """Set when no engine can be opened: then no file can be processed."""
        self._choosing, self._network = Turns(), Turns()
        self._reporting, self._journaling, self._planning = threading.Lock(), threading.Lock(), threading.Lock()
        generator, settings = upscaler.generator, upscaler.settings
        companion = find_companion(generator, settings)
        digests = [generator.sha256, *([] if companion is None else [companion.sha256])]
        self._fixed = (*digests, settings.fingerprint, upscaler.own_engine)
        self._description = ", ".join([f"{generator.name} ({generator.sha256[:8]})", *settings.describe_changes()])
        self._outputs = {fold_name(task.output) for task in self._tasks}
        self._sources = {inode(task.source) for task in self._tasks}

    def report(self, event: Callable[[Watcher], None]) -> None:
        """Report something to the watcher, one event at a time."""
        if self._options.watcher is not None:
            with self._reporting:
                event(self._options.watcher)

    def end(self) -> None:
        """Drop what is in progress, at its next tile."""
        self._ended = True

    def is_to_end(self) -> bool:
        """Whether no further file is to be started."""
        return self._ended or self._options.stopped()

    def process(self, index: int, task: Task) -> FileResult | None:
        """Process one file, whatever happens to it; None when the run was stopped before the network got to it.

        Files take turns by their index, so every one from 0 on has to come here. Only a missing engine is raised.
        """
        turn = _Turn(index, task)
        try:
            with _as_sentences(task), contextlib.ExitStack() as stack:
                return self._upscale(turn, stack)
        except _DoneByAnotherError:
            return turn.result("skipped", "already done")
        except (Interrupted, KeyboardInterrupt):
            self.end()
            return turn.result("dropped", STOPPED) if turn.reported else None
        except TesseraError as error:
            if error is self.engine_error:
                self.end()
                raise
            return turn.result("failed", _name_picture(task, turn.output, str(error)))
        except BrokenPipeError:  # the reader of our progress has gone: not a failure of this file
            self.end()
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            bug = f"{task.source}: Tessera failed on it ({what}); this is a bug, please report it."
            return turn.result("failed", bug, defect=error)
        finally:
            self._choosing.leave(index)
            self._network.wait(index)
            try:
                if not turn.reported and not self._ended:
                    self._report_begin(turn)
            finally:
                self._network.leave(index)

    def _upscale(self, turn: _Turn, stack: contextlib.ExitStack) -> FileResult:
        index, task = turn.index, turn.task
        turn.waited += self._choosing.wait(index)
        self._drop_if_to_end(task)
        candidates = self._candidates(task)
        done = self._find_done(candidates)
        if done is not None:
            turn.output = done.output
            return turn.result("skipped", "already done")
        source = stack.enter_context(self._upscaler.open_source(task.source))
        chosen, job = self._choose(candidates, source)
        output = turn.output = chosen.output
        self._check_replaceable(chosen, job)
        self._choosing.leave(index)
        self._upscaler.check_job(source, output)  # before planning, which takes longer
        self._prepare(source)

        def on_ready() -> None:
            turn.waited += self._network.wait(index)
            self._drop_if_to_end(task)
            if self._is_done(output, job.key):
                raise _DoneByAnotherError
            self._make_folder(output)
            self._begin(task.source, output, job)
            self._report_begin(turn)

        notes: list[str] = []
        outcome = self._upscaler.upscale_file(
            source,
            output,
            on_ready=on_ready,
            on_tile=self._on_tile(index, task),
            on_written=lambda written: notes.append(self._finish(task.source, output, job, written)),
        )
        return turn.result("done", "".join(notes), outcome=outcome)

    def forecast(self, task: Task) -> tuple[Task, Forecast | None]:
        """The task with its output and forecast; None when it is already done."""
        candidates = self._candidates(task)
        done = self._find_done(candidates)
        if done is not None:
            return done, None
        with _as_sentences(task), self._upscaler.open_source(task.source) as source:
            chosen, job = self._choose(candidates, source)
            self._check_replaceable(chosen, job)
            self._prepare(source)
            return chosen, self._upscaler.forecast(source, chosen.output)

    def _prepare(self, source: Source) -> None:
        """Plan for the whole batch when the first picture needs the engine."""
        with self._planning:
            if self.engine_error is not None:
                raise self.engine_error
            if not self._upscaler.is_prepared and not self._upscaler.is_announced:
                self._upscaler.expect(count_pixels(self._tasks, self._upscaler.settings, source))
            try:
                self._upscaler.prepare()
            except OutOfMemoryError:
                raise
            except EngineError as error:
                self.engine_error = error
                raise

    def _candidates(self, task: Task) -> list[tuple[Task, Job]]:
        """Possible outputs of a task, each with its job.

        RGBA goes to PNG when the format that the name asks for has no alpha, as in Real-ESRGAN.
        """
        if task.problem is not None:
            raise PictureError(task.problem)
        digest = _compute_digest(task.source)
        form = find_format(task.output)
        candidates = [task]
        if form is not None and not form.alpha and not task.named_by_user:
            candidates.append(dataclasses.replace(task, output=task.output.with_suffix(".png")))
        return [(each, self._make_job(digest, each.output.name)) for each in candidates]

    def _make_job(self, digest: str, name: str) -> Job:
        setup = key_of(*self._fixed, name)
        return Job(key=key_of(digest, setup), setup=setup, description=self._description)

    def _find_done(self, candidates: Sequence[tuple[Task, Job]]) -> Task | None:
        return next((each for each, job in candidates if self._is_done(each.output, job.key)), None)

    def _choose(self, candidates: Sequence[tuple[Task, Job]], source: Source) -> tuple[Task, Job]:
        """The output for a picture: PNG where it has alpha that the format cannot hold."""
        if len(candidates) == 1 or not source.info.has_alpha:
            return candidates[0]
        self._upscaler.check_limits(source, candidates[1][0].output)  # before the picture is decoded
        if not source.has_visible_alpha:
            return candidates[0]
        output = candidates[1][0].output
        if fold_name(output) in self._outputs or (output.exists() and inode(output) in self._sources):
            raise PictureError(
                f"{source.path}: has alpha, so its output would be {output}, which is the name of another picture."
                " Set `extension` to png or choose another `suffix`."
            )
        return candidates[1]

    def _is_done(self, output: Path, key: str) -> bool:
        with self._journaling:
            return self._options.existing != "overwrite" and self._journal.is_done(output, key)

    def _check_replaceable(self, task: Task, job: Job) -> None:
        with self._journaling:
            check_replaceable(self._journal, task.source, task.output, job, self._options.existing)

    def _on_tile(self, index: int, task: Task) -> Callable[[int, int, int], None]:
        def on_tile(done: int, total: int, pixels: int) -> None:
            self.report(lambda watcher: watcher.tile(index, done, total, pixels))
            self._drop_if_to_end(task)
            if done == total:
                self._network.leave(index)

        return on_tile

    def _drop_if_to_end(self, task: Task) -> None:
        if self.is_to_end():
            raise Interrupted(f"{task.source}: stopped.")

    def _report_begin(self, turn: _Turn) -> None:
        turn.reported = True
        self.report(lambda watcher: watcher.begin(turn.index, turn.task))

    def _make_folder(self, output: Path) -> None:
        folder = output.parent
        check_inside(output, self._journal.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise PictureError(f"{folder}: is a file, not a folder for outputs.") from None
        except OSError as error:
            raise PictureError(f"{folder}: cannot be written to: {error.strerror}.") from None

    def _begin(self, source: Path, output: Path, job: Job) -> None:
        try:
            with self._journaling:
                self._journal.begin(output, job, source)
        except OSError as error:
            raise PictureError(f"{output.parent}: cannot be written to: {error.strerror}.") from None

    def _finish(self, source: Path, output: Path, job: Job, written: Path) -> str:
        """Record the finished file before it gets its name; if that fails, the note for the report."""
        try:
            with self._journaling:
                self._journal.finish(output, job, source, written=written)
        except OSError as error:
            return f"done, but the journal cannot be written ({error.strerror}): a later run will not know the file"
        return ""


class _Turn:
    """A file's way through the batch."""

    def __init__(self, index: int, task: Task) -> None:
        self.index, self.task, self.output = index, task, task.output
        self.waited = 0.0
        """Seconds spent waiting for other files."""
        self.reported = False
        """Whether its begin was reported."""
        self._began = time.monotonic()

    def result(self, state: State, message: str = "", **more: Any) -> FileResult:
        """The result of this file, with its own seconds."""
        seconds = time.monotonic() - self._began - self.waited
        return FileResult(self.task.source, self.output, state, seconds, message, **more)


def count_pixels(tasks: Sequence[Task], settings: Settings, opened: Source | None = None) -> int:
    """Input pixels of a whole batch, estimated from the headers of its first pictures.

    Finished files count too, so that a resumed run plans as the interrupted one did. `opened` is one that is open.
    """
    pending = [task for task in tasks if task.problem is None]
    sizes: list[int] = []
    for task in pending[:_PICTURES_MEASURED]:
        if opened is not None and task.source == opened.path:
            sizes.append(opened.pixels)
            continue
        with contextlib.suppress(TesseraError, OSError), Source(task.source, settings) as source:
            sizes.append(source.pixels)
    return round(sum(sizes) / max(len(sizes), 1) * len(pending))


def _name_picture(task: Task, output: Path, sentence: str) -> str:
    """Put the picture in front of a sentence that names neither it nor its output."""
    named = str(task.source) in sentence or str(output) in sentence
    return sentence if named else f"{task.source}: {sentence}"


@contextlib.contextmanager
def _as_sentences(task: Task) -> Generator[None]:
    """Turn errors of the system and running out of memory into errors with a message."""
    try:
        yield
    except BrokenPipeError:
        raise
    except TesseraError:
        raise
    except Exception as error:
        if is_probably_memory_error(error):
            raise LimitError(f"{task.source}: out of memory; {advise_on_memory()}.") from error
        if not isinstance(error, OSError):
            raise
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else task.source
        raise PictureError(f"{where}: {error.strerror or error}.") from error


def _compute_digest(source: Path) -> str:
    """The checksum of a regular file, else an empty text (reading a pipe or a device might never end)."""
    try:
        return compute_sha256(source) if stat.S_ISREG(source.stat().st_mode) else ""
    except OSError as error:
        raise PictureError(f"{source}: cannot be read: {error.strerror}.") from None
