"""Many files: done in order, journaled, reported; one that fails never stops the rest.

While the network is busy with one, the next is read and the one before it is written.
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

from tessera.errors import Interrupted, LimitError, PictureError, TesseraError
from tessera.images.formats import find_format
from tessera.storage.atomic import identify_machine, parse_owner
from tessera.storage.checksum import compute_sha256
from tessera.tiling.prefetch import THREADS, Turns
from tessera.upscaling.batch_report import BatchReport, FileResult, State
from tessera.upscaling.finding import Task, folded, inode
from tessera.upscaling.journal import Journal, key_of

if TYPE_CHECKING:
    from tessera.upscaling.upscaler import Forecast, Upscaler

_OLD_SECONDS = 7 * 24 * 3600
_UNDER_WAY = 2
_STOPPED = "stopped before it was finished"


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
    among: Sequence[Task] | None = None,
) -> BatchReport:
    """Upscale file after file; every outcome is a result, and nothing but a stop ends the run early.

    `stopped` is asked between tiles; when it says so the file at hand is dropped without a trace and the rest is left
    for a later run. KeyboardInterrupt has the same effect at once. `among` are the files of all processes, where this
    one does a share of them.
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
    """Conclude the results in order, with two files under way at a time, one of which has the network."""
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
    except KeyboardInterrupt:  # at once: what is under way ends at its next tile, and nobody waits for that
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


class _DoneByAnotherError(Exception):
    """Another process, with the same output folder, was quicker while a file waited for the network."""


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
        among: Sequence[Task] | None = None,
    ) -> None:
        self._upscaler, self._journal, self._overwrite = upscaler, journal, overwrite
        self._watcher, self._stopped = watcher, stopped
        self._ended = False
        self._choosing, self._network = Turns(), Turns()
        self._telling, self._journaling = threading.Lock(), threading.Lock()
        engine = upscaler.engine
        self._fixed = (upscaler.generator.sha256, upscaler.settings.fingerprint, engine.name, engine.precision)
        self._outputs = {folded(task.output) for task in among or tasks}
        self._sources = {inode(task.source) for task in among or tasks}

    def tell(self, what: Callable[[Watcher], None]) -> None:
        """Tell the watcher something, one thing at a time."""
        if self._watcher is not None:
            with self._telling:
                what(self._watcher)

    def end(self) -> None:
        """Drop what is under way, at its next tile."""
        self._ended = True

    def is_to_end(self) -> bool:
        """Whether no further file is to be begun."""
        return self._ended or self._stopped()

    def one(self, index: int, task: Task) -> FileResult | None:
        """Do one file, whatever happens to it; None when the run was stopped before the network got to it.

        Files take turns by their index, so every one from 0 on has to come here.
        """
        began = time.monotonic()
        output, key, waited, told = task.output, None, 0.0, False

        def result(state: State, message: str = "", **more: Any) -> FileResult:
            return FileResult(task.source, output, state, time.monotonic() - began - waited, message, **more)

        def begin() -> None:
            nonlocal told
            told = True
            self.tell(lambda watcher: watcher.begin(index, task))

        def on_ready() -> None:
            nonlocal waited
            waited += self._network.wait(index)
            self._drop_if_to_end(task)
            if self._is_done(output, key or ""):
                raise _DoneByAnotherError
            self._begin(task.source, output, key or "")
            begin()

        try:
            with _as_sentences(task):
                waited += self._choosing.wait(index)
                self._drop_if_to_end(task)
                chosen, key = self.choose(task)
                output = chosen.output
                if key is None:
                    return result("skipped", "already done")
                self._refuse_foreign(chosen)
                self._make_folder(output.parent)
                self._choosing.leave(index)
                outcome = self._upscaler.upscale_file(
                    task.source, output, on_ready=on_ready, on_tile=self._on_tile(index, task)
                )
                return result("done", self._finish(output, key), outcome=outcome)
        except _DoneByAnotherError:
            return result("skipped", "already done")
        except (Interrupted, KeyboardInterrupt):
            self.end()
            return result("dropped", _STOPPED) if told else None
        except TesseraError as error:
            return result("failed", _about(task, output, str(error)))
        except BrokenPipeError:  # whoever read our progress is gone: that is no trouble of this file
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

    def choose(self, task: Task) -> tuple[Task, str | None]:
        """Decide where the output goes -> the task with it, and its key, or None when that output is already there.

        RGBA goes to PNG when the format that follows from the name has no alpha, as Real-ESRGAN's users know it.
        """
        if task.problem is not None:
            raise PictureError(task.problem)
        digest = _sha256(task.source)
        form = find_format(task.output)
        candidates = [task]
        if form is not None and not form.alpha and not task.named_by_user:
            candidates.append(dataclasses.replace(task, output=task.output.with_suffix(".png")))
        keys = [key_of(digest, *self._fixed, each.output.name) for each in candidates]
        for each, key in zip(candidates, keys, strict=True):
            if self._is_done(each.output, key):
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
        """What is none of ours, or another picture's, is not replaced unless asked for (an empty file may be)."""
        output = task.output
        if output.is_dir():
            raise PictureError(f"{output}: is a folder, so no picture can be written under this name.")
        if output.exists() and not output.is_file():
            raise PictureError(f"{output}: is a pipe, a device or the like, which no picture may replace.")
        if self._overwrite or not output.exists() or not output.stat().st_size:
            return
        with self._journaling:
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

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise PictureError(f"{folder}: is a file, so outputs cannot go into it.") from None
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
        return compute_sha256(source) if stat.S_ISREG(source.stat().st_mode) else ""
    except OSError as error:
        raise PictureError(f"{source}: cannot be read: {error.strerror}.") from None


def remove_leftovers(folder: Path, *, of_this_process: bool = False) -> None:
    """Delete unfinished files of runs that were killed (their process is gone), or of this one.

    Process numbers say nothing about another machine that shares the folder: what it left goes when it is a week old.
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
    if os.name != "posix":  # there os.kill does not ask but act; unfinished files stay until their picture is done
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
