"""A batch on several devices: one process per device, each with a share of the files.

Every process loads the network and writes to the same journal, as independent runs in one output folder may. The parent
loads nothing: it distributes the files, forwards progress, and assembles the report.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.errors import EngineError, TesseraError
from tessera.machine import cores
from tessera.storage.leftovers import remove_leftovers
from tessera.upscaling.batch import run_batch
from tessera.upscaling.batch_report import BatchReport, FileResult
from tessera.upscaling.batch_run import BatchOptions, Watcher
from tessera.upscaling.finding import Task
from tessera.upscaling.journal import Journal

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from multiprocessing.synchronize import Event

    from tessera.tiling.settings import Settings

_ASKED_EVERY_SECONDS = 0.2
_LAST_WORD_SECONDS = 30.0


@dataclass(frozen=True)
class DeviceBatch:
    """Files for several devices, and everything that their processes need."""

    tasks: tuple[Task, ...]
    devices: tuple[str, ...]
    model: str
    """A model name or a file, present on this machine; its checksum is below."""
    model_sha256: str
    settings: Settings
    journal_folder: Path
    pixels: int
    """Estimated total of all inputs; the choice of the engine depends on it."""
    overwrite: bool = False
    ignored: int = 0

    def share(self, number: int) -> range:
        """Indices of the files of a device: every second one of two devices, every third of three."""
        return range(number, len(self.tasks), len(self.devices))

    def settings_of(self, number: int) -> Settings:
        """The settings for a device; CPU processes share the cores."""
        device, threads = self.devices[number], self.settings.threads
        if device == "cpu" and threads is None:
            threads = max(cores().usable // self.devices.count("cpu"), 1)
        return dataclasses.replace(self.settings, device=device, threads=threads)


def run_on_devices(
    batch: DeviceBatch,
    *,
    watcher: Watcher | None = None,
    stopped: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> BatchReport:
    """Upscale all files, as `run_batch` does, on several devices at a time; `say` receives the lines of the plans.

    When a process ends before its files are done, those are reported as failed, and a later run processes them. Raises
    EngineError when a device is unavailable.
    """
    began = time.monotonic()
    crew = _Crew(batch, watcher, say)
    try:
        crew.work(stopped)
    except KeyboardInterrupt:
        crew.kill()
    finally:
        crew.dismiss()
    for folder in {task.output.parent for task in batch.tasks}:
        remove_leftovers(folder)
    results = tuple(crew.results[number] for number in sorted(crew.results))
    return BatchReport(
        results=results,
        ignored=batch.ignored,
        seconds=time.monotonic() - began,
        model=batch.model,
        model_sha256=batch.model_sha256,
        left=len(batch.tasks) - sum(result.state != "dropped" for result in results),
    )


class _Crew:
    """The processes, and what they have reported so far."""

    def __init__(self, batch: DeviceBatch, watcher: Watcher | None, say: Callable[[str], None]) -> None:
        self.results: dict[int, FileResult] = {}
        self._batch, self._watcher, self._say = batch, watcher, say
        self._begun: set[int] = set()
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._members: dict[Connection, tuple[int, SpawnProcess]] = {}
        for number in range(len(batch.devices)):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_member, args=(batch, number, theirs, self._stop, os.getpid()))
            process.start()
            theirs.close()
            self._members[ours] = (number, process)

    def work(self, stopped: Callable[[], bool]) -> None:
        """Receive from all until the last has ended."""
        while self._members:
            if stopped():
                self._stop.set()
            ready = wait(list(self._members), _ASKED_EVERY_SECONDS)
            for connection in [each for each in self._members if each in ready]:
                try:
                    self._take(connection.recv())
                except (EOFError, ConnectionError):
                    self._handle_exit(connection)

    def kill(self) -> None:
        """End all processes at once."""
        for _, process in self._members.values():
            process.kill()

    def dismiss(self) -> None:
        """Ask the remaining processes to end, wait, and kill them after a timeout."""
        self._stop.set()
        end = time.monotonic() + _LAST_WORD_SECONDS
        for connection, (_, process) in self._members.items():
            connection.close()  # a process that sends now gets BrokenPipeError
            process.join(max(end - time.monotonic(), 0.0))
            if process.is_alive():
                process.kill()
                process.join()
        self._members.clear()

    def _take(self, message: tuple[str, int, Any]) -> None:
        kind, number, value = message
        if kind == "error":
            raise EngineError(value)
        if kind == "line":
            self._say(value)
        elif kind == "begin":
            self._begin(number)
        elif kind == "tile" and self._watcher is not None:
            self._watcher.tile(number, *value)
        elif kind == "end":
            self._end(number, value)

    def _begin(self, number: int) -> None:
        self._begun.add(number)
        if self._watcher is not None:
            self._watcher.begin(number, self._batch.tasks[number])

    def _end(self, number: int, result: FileResult) -> None:
        self.results[number] = result
        if self._watcher is not None:
            self._watcher.end(number, result)

    def _handle_exit(self, connection: Connection) -> None:
        """A process has ended; unless it was asked to stop, its unfinished files have failed."""
        number, process = self._members.pop(connection)
        connection.close()
        process.join()
        if not process.exitcode:
            return
        how = f"by signal {-process.exitcode}" if process.exitcode < 0 else f"with exit code {process.exitcode}"
        device = self._batch.devices[number]
        for each in self._batch.share(number):
            if each in self.results:
                continue
            task = self._batch.tasks[each]
            if each not in self._begun:
                self._begin(each)
            message = (
                f"{task.source}: not finished, because the process for {device} ended {how};"
                " run the same command again to resume."
            )
            self._end(each, FileResult(task.source, task.output, "failed", message=message))


# ------------------------------------------------------------------------------------------ in the process of a device


def _member(batch: DeviceBatch, number: int, connection: Connection, stop: Event, parent: int) -> None:
    """Process the share of one device; signals are for the parent."""
    from tessera.upscaling.upscaler import Upscaler

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    places = batch.share(number)
    # The parent has gone, so the results are no longer wanted.
    with contextlib.suppress(BrokenPipeError):
        try:
            upscaler = Upscaler(batch.model, settings=batch.settings_of(number), offline=True)
            upscaler.expect(batch.pixels // len(batch.devices))
            upscaler.on_plan(lambda ready: _send_lines(connection, batch.devices[number], ready.lines))
            run_batch(
                [batch.tasks[place] for place in places],
                upscaler,
                Journal(batch.journal_folder),
                BatchOptions(
                    existing="overwrite" if batch.overwrite else "keep",
                    watcher=_ForwardingWatcher(connection, places),
                    stopped=lambda: stop.is_set() or os.getppid() != parent,
                    among=batch.tasks,
                ),
            )
        except TesseraError as error:
            connection.send(("error", 0, str(error)))


def _send_lines(connection: Connection, device: str, lines: Sequence[str]) -> None:
    for line in lines:
        connection.send(("line", 0, f"{device}: {line}"))


class _ForwardingWatcher:
    """A watcher that forwards everything to the parent."""

    def __init__(self, connection: Connection, places: Sequence[int]) -> None:
        self._connection, self._places = connection, places

    def begin(self, index: int, task: Task) -> None:
        """A file is started."""
        self._connection.send(("begin", self._places[index], None))

    def tile(self, index: int, done: int, total: int, pixels: int) -> None:
        """A tile is done."""
        self._connection.send(("tile", self._places[index], (done, total, pixels)))

    def end(self, index: int, result: FileResult) -> None:
        """A file is finished; an exception is sent as text, because not every exception can be pickled."""
        if result.defect is not None:
            text = "".join(traceback.format_exception(result.defect))
            result = dataclasses.replace(result, defect=RuntimeError(text))
        self._connection.send(("end", self._places[index], result))
