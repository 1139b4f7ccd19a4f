"""Many files: processed in order, journaled, reported; one that fails never stops the rest.

While the network processes one, the next is read and the previous one is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tessera.errors import EngineError, Interrupted, LimitError, OutOfMemoryError, PictureError, TesseraError
from tessera.images.formats import find_format
from tessera.storage.atomic import identify_machine, parse_owner
from tessera.storage.checksum import compute_sha256
from tessera.tiling.prefetch import THREADS, Turns
from tessera.upscaling.batch_report import BatchReport, FileResult, State
from tessera.upscaling.finding import Task, fold_name, inode
from tessera.upscaling.journal import Journal, key_of
from tessera.upscaling.source import Source

if TYPE_CHECKING:
    from tessera.tiling.settings import Settings
    from tessera.upscaling.filejob import Forecast
    from tessera.upscaling.upscaler import Upscaler

_OLD_SECONDS = 7 * 24 * 3600
_PICTURES_MEASURED = 64
_UNDER_WAY = 2
_STOPPED = "stopped before it was finished"


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
    among: Sequence[Task] | None = None,
) -> BatchReport:
    """Upscale file after file; every outcome is a result, and a failed file does not end the run.

    The engine is planned when the first file needs it, after that file was checked. `stopped` is asked between tiles;
    when true, the current file is dropped without a trace and the rest is left for a later run. KeyboardInterrupt does
    the same at once. `among` are the files of all processes, where this one processes a share of them. Raises
    EngineError when no engine can be opened.
    """
    began = time.monotonic()
    run = _Run(tasks, upscaler, journal, overwrite, watcher, stopped, among)
    folders = {task.output.parent for task in tasks}
    for folder in folders:
        remove_leftovers(folder)
    results: list[FileResult] = []

    def conclude(result: FileResult | None) -> None:
        if result is not None:
            results.append(result)
            run.tell(lambda watcher: watcher.end(len(results) - 1, result))

    if len(tasks) == 1:
        if not stopped():
            conclude(run.one(0, tasks[0]))
    else:
        _overlapped(run, tasks, conclude)
    for folder in {result.output.parent for result in results if result.state == "dropped"}:
        remove_leftovers(folder, of_this_process=True)
    return BatchReport(
        results=tuple(results),
        ignored=ignored,
        seconds=time.monotonic() - began,
        model=upscaler.generator.name,
        model_sha256=upscaler.generator.sha256,
        left=len(tasks) - sum(result.state != "dropped" for result in results),
    )


def _overlapped(run: _Run, tasks: Sequence[Task], conclude: Callable[[FileResult | None], None]) -> None:
    """Conclude the results in order, with two files in progress at a time, one of which has the network."""
    pool = ThreadPoolExecutor(_UNDER_WAY, f"{THREADS}, files")
    under_way: deque[Future[FileResult | None]] = deque()
    first, wait = 0, True

    def conclude_first() -> None:
        nonlocal first
        result = under_way[0].result()
        under_way.popleft()
        first += 1
        conclude(result)

    try:
        for index, task in enumerate(tasks):
            if run.is_to_end():
                break
            under_way.append(pool.submit(run.one, index, task))
            if len(under_way) == _UNDER_WAY:
                conclude_first()
        while under_way:
            conclude_first()
    except KeyboardInterrupt:  # at once: what is in progress ends at its next tile, without being waited for
        wait = False
        for task, future in zip(tasks[first:], under_way, strict=False):
            conclude(
                future.result() if future.done() else FileResult(task.source, task.output, "dropped", 0.0, _STOPPED)
            )
    finally:
        run.end()
        pool.shutdown(wait=wait, cancel_futures=True)


def forecasts(
    tasks: Sequence[Task], upscaler: Upscaler, journal: Journal, *, overwrite: bool = False
) -> Iterator[tuple[Task, Forecast | TesseraError | None]]:
    """For a dry run: each task with its Forecast, the error it would meet, or None when it is already done."""
    run = _Run(tasks, upscaler, journal, overwrite)
    for task in tasks:
        try:
            with _as_sentences(task):
                yield run.forecast(task)
        except TesseraError as error:
            if run.engine_error is error:
                raise
            yield task, error


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


class _DoneByAnotherError(Exception):
    """Another process with the same output folder finished a file while it waited for the network."""


class _Run:
    """A batch in progress: processes one file at a time per thread."""

    def __init__(
        self,
        tasks: Sequence[Task],
        upscaler: Upscaler,
        journal: Journal,
        overwrite: bool,
        watcher: Watcher | None = None,
        stopped: Callable[[], bool] = lambda: False,
        among: Sequence[Task] | None = None,
    ) -> None:
        self._upscaler, self._journal, self._overwrite = upscaler, journal, overwrite
        self._watcher, self._stopped = watcher, stopped
        self._tasks = among or tasks
        self._ended = False
        self.engine_error: EngineError | None = None
        """Set when no engine can be opened: then no file can be processed."""
        self._choosing, self._network = Turns(), Turns()
        self._telling, self._journaling, self._planning = threading.Lock(), threading.Lock(), threading.Lock()
        self._fixed = (upscaler.generator.sha256, upscaler.settings.fingerprint, upscaler.own_engine)
        self._outputs = {fold_name(task.output) for task in self._tasks}
        self._sources = {inode(task.source) for task in self._tasks}

    def tell(self, what: Callable[[Watcher], None]) -> None:
        """Report something to the watcher, one event at a time."""
        if self._watcher is not None:
            with self._telling:
                what(self._watcher)

    def end(self) -> None:
        """Drop what is in progress, at its next tile."""
        self._ended = True

    def is_to_end(self) -> bool:
        """Whether no further file is to be started."""
        return self._ended or self._stopped()

    def one(self, index: int, task: Task) -> FileResult | None:
        """Process one file, whatever happens to it; None when the run was stopped before the network got to it.

        Files take turns by their index, so every one from 0 on has to come here. Only a missing engine is raised.
        """
        began = time.monotonic()
        output, waited, told = task.output, 0.0, False

        def result(state: State, message: str = "", **more: Any) -> FileResult:
            return FileResult(task.source, output, state, time.monotonic() - began - waited, message, **more)

        def begin() -> None:
            nonlocal told
            told = True
            self.tell(lambda watcher: watcher.begin(index, task))

        try:
            with _as_sentences(task), contextlib.ExitStack() as stack:
                waited += self._choosing.wait(index)
                self._drop_if_to_end(task)
                candidates = self._candidates(task)
                done = self._find_done(candidates)
                if done is not None:
                    output = done.output
                    return result("skipped", "already done")
                source = stack.enter_context(self._upscaler.open_source(task.source))
                chosen, key = self._choose(candidates, source)
                output = chosen.output
                self._refuse_foreign(chosen)
                self._choosing.leave(index)
                self._upscaler.check_job(source, output)  # before planning, which takes longer
                self._prepare(source)

                def on_ready() -> None:
                    nonlocal waited
                    waited += self._network.wait(index)
                    self._drop_if_to_end(task)
                    if self._is_done(output, key):
                        raise _DoneByAnotherError
                    self._make_folder(output.parent)
                    self._begin(task.source, output, key)
                    begin()

                outcome = self._upscaler.upscale_file(
                    source, output, on_ready=on_ready, on_tile=self._on_tile(index, task)
                )
                return result("done", self._finish(output, key), outcome=outcome)
        except _DoneByAnotherError:
            return result("skipped", "already done")
        except (Interrupted, KeyboardInterrupt):
            self.end()
            return result("dropped", _STOPPED) if told else None
        except TesseraError as error:
            if error is self.engine_error:
                self.end()
                raise
            return result("failed", _about(task, output, str(error)))
        except BrokenPipeError:  # the reader of our progress has gone: not a failure of this file
            self.end()
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            bug = f"{task.source}: Tessera failed on it ({what}); this is a bug, please report it."
            return result("failed", bug, defect=error)
        finally:
            self._choosing.leave(index)
            self._network.wait(index)
            try:
                if not told and not self._ended:
                    begin()
            finally:
                self._network.leave(index)

    def forecast(self, task: Task) -> tuple[Task, Forecast | None]:
        """The task with its output and forecast; None when it is already done."""
        candidates = self._candidates(task)
        done = self._find_done(candidates)
        if done is not None:
            return done, None
        with self._upscaler.open_source(task.source) as source:
            chosen, _ = self._choose(candidates, source)
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

    def _candidates(self, task: Task) -> list[tuple[Task, str]]:
        """Possible outputs of a task, each with its key.

        RGBA goes to PNG when the format that the name asks for has no alpha, as in Real-ESRGAN.
        """
        if task.problem is not None:
            raise PictureError(task.problem)
        digest = _sha256(task.source)
        form = find_format(task.output)
        candidates = [task]
        if form is not None and not form.alpha and not task.named_by_user:
            candidates.append(dataclasses.replace(task, output=task.output.with_suffix(".png")))
        return [(each, key_of(digest, *self._fixed, each.output.name)) for each in candidates]

    def _find_done(self, candidates: Sequence[tuple[Task, str]]) -> Task | None:
        return next((each for each, key in candidates if self._is_done(each.output, key)), None)

    def _choose(self, candidates: Sequence[tuple[Task, str]], source: Source) -> tuple[Task, str]:
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
            return not self._overwrite and self._journal.is_done(output, key)

    def _on_tile(self, index: int, task: Task) -> Callable[[int, int, int], None]:
        def on_tile(done: int, total: int, pixels: int) -> None:
            self.tell(lambda watcher: watcher.tile(index, done, total, pixels))
            self._drop_if_to_end(task)
            if done == total:
                self._network.leave(index)

        return on_tile

    def _drop_if_to_end(self, task: Task) -> None:
        if self.is_to_end():
            raise Interrupted(f"{task.source}: stopped.")

    def _refuse_foreign(self, task: Task) -> None:
        """Refuse to replace foreign files and outputs of other pictures without `overwrite` (except empty files)."""
        output = task.output
        if output.is_dir():
            raise PictureError(f"{output}: is a folder; a picture cannot be written to this name.")
        if output.exists() and not output.is_file():
            raise PictureError(f"{output}: is a pipe or a device, which a picture may not replace.")
        if self._overwrite or not output.exists() or not output.stat().st_size:
            return
        with self._journaling:
            source = self._journal.source_of(output)
        if source is None:
            raise PictureError(
                f"{output}: exists and is not an output of Tessera (not in its journal); `overwrite` replaces it."
            )
        if source and source != self._journal.path_from_here(task.source):
            raise PictureError(
                f"{output}: is the output of another picture, {self._journal.folder / source}; choose another `output`"
                " folder or `suffix`, or let `overwrite` replace it."
            )

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise PictureError(f"{folder}: is a file, not a folder for outputs.") from None
        except OSError as error:
            raise PictureError(f"{folder}: cannot be written to: {error.strerror}.") from None

    def _begin(self, source: Path, output: Path, key: str) -> None:
        try:
            with self._journaling:
                self._journal.begin(output, key, source)
        except OSError as error:
            raise PictureError(f"{output.parent}: cannot be written to: {error.strerror}.") from None

    def _finish(self, output: Path, key: str) -> str:
        try:
            with self._journaling:
                self._journal.finish(output, key)
        except OSError as error:
            return f"done, but the journal cannot be written ({error.strerror}): a later run will process it again"
        return ""


def _about(task: Task, output: Path, sentence: str) -> str:
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
    except OSError as error:
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else task.source
        raise PictureError(f"{where}: {error.strerror or error}.") from error
    except MemoryError:
        raise LimitError(f"{task.source}: out of memory while reading or writing.") from None


def _sha256(source: Path) -> str:
    """The checksum of a regular file, else an empty text (reading a pipe or a device might never end)."""
    try:
        return compute_sha256(source) if stat.S_ISREG(source.stat().st_mode) else ""
    except OSError as error:
        raise PictureError(f"{source}: cannot be read: {error.strerror}.") from None


def remove_leftovers(folder: Path, *, of_this_process: bool = False) -> None:
    """Delete unfinished files of killed runs (their process is gone), or of this one.

    Process numbers mean nothing for another machine that shares the folder: its leftovers go after a week.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            owner = parse_owner(entry.name)
            if owner is None:
                continue
            process, machine = owner
            with contextlib.suppress(OSError):
                if machine != identify_machine():
                    dead = time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_SECONDS
                else:
                    dead = (process == os.getpid() and of_this_process) or not _is_running(process)
                if dead:
                    Path(entry).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":  # os.kill(process, 0) would kill there; unfinished files stay until their picture is done
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
