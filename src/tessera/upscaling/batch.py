"""Many files: processed in order, journaled, reported; one that fails never stops the rest.

While the network processes one, the next is read and the previous one is written.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from tessera.errors import TesseraError
from tessera.storage.leftovers import remove_leftovers
from tessera.tiling.prefetch import THREADS
from tessera.upscaling.batch_report import BatchReport, FileResult
from tessera.upscaling.batch_run import STOPPED, BatchOptions, BatchRun
from tessera.upscaling.finding import Task
from tessera.upscaling.journal import Journal

if TYPE_CHECKING:
    from tessera.upscaling.filejob import Forecast
    from tessera.upscaling.upscaler import Upscaler

_UNDER_WAY = 2


def run_batch(
    tasks: Sequence[Task],
    upscaler: Upscaler,
    journal: Journal,
    options: BatchOptions | None = None,
    *,
    ignored: int = 0,
) -> BatchReport:
    """Upscale file after file; every outcome is a result, and a failed file does not end the run.

    The engine is planned when the first file needs it, after that file was checked. KeyboardInterrupt drops the files
    in progress at once, without a trace.

    Args:
        tasks: The files, in order.
        upscaler: The network and the settings.
        journal: The journal of the output folder.
        options: How existing outputs are treated, who watches, when to stop.
        ignored: The number of other files in the input folders, for the report.

    Raises:
        EngineError: No engine can be opened.
        FileError: The journal is a link, a device or too large.
    """
    began = time.monotonic()
    options = options or BatchOptions()
    run = BatchRun(tasks, upscaler, journal, options)
    for folder in {task.output.parent for task in tasks}:
        remove_leftovers(folder)
    results: list[FileResult] = []

    def conclude(result: FileResult | None) -> None:
        if result is not None:
            results.append(result)
            run.report(lambda watcher: watcher.end(len(results) - 1, result))

    if len(tasks) == 1:
        if not options.stopped():
            conclude(run.process(0, tasks[0]))
    else:
        _process_overlapped(run, tasks, conclude)
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


def _process_overlapped(run: BatchRun, tasks: Sequence[Task], conclude: Callable[[FileResult | None], None]) -> None:
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
            under_way.append(pool.submit(run.process, index, task))
            if len(under_way) == _UNDER_WAY:
                conclude_first()
        while under_way:
            conclude_first()
    except KeyboardInterrupt:  # at once: what is in progress ends at its next tile, without being waited for
        wait = False
        for task, future in zip(tasks[first:], under_way, strict=False):
            conclude(
                future.result() if future.done() else FileResult(task.source, task.output, "dropped", 0.0, STOPPED)
            )
    finally:
        run.end()
        pool.shutdown(wait=wait, cancel_futures=True)


def forecasts(
    tasks: Sequence[Task], upscaler: Upscaler, journal: Journal, *, overwrite: bool = False
) -> Iterator[tuple[Task, Forecast | TesseraError | None]]:
    """For a dry run: each task with its Forecast, the error it would meet, or None when it is already done."""
    run = BatchRun(tasks, upscaler, journal, BatchOptions(existing="overwrite" if overwrite else "keep"))
    for task in tasks:
        try:
            yield run.forecast(task)
        except TesseraError as error:
            if run.engine_error is error:
                raise
            yield task, error
