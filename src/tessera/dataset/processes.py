"""Parallel work on many items: in order, in bounded memory; a crash costs only the item that caused it."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tessera.dataset.decoding import read_in_one_thread
from tessera.errors import PictureError, TesseraError

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING_EACH = 4
"""Maximum number of unfinished items per process."""


def get_process_context() -> Any:
    """Choose how processes start: forked from a server process without threads if possible, otherwise spawned.

    libvips has threads, and a plain fork copies their locks without the threads that hold them, which hangs.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tessera.dataset.decoding"])  # imports PyTorch once instead of in each process
    return context


def process_each(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[tuple[Item, Result | PictureError]]:
    """Apply `work` to each item, in order; a PictureError that it raises takes the place of the result.

    With fewer than two workers, everything runs in this process. If an item kills its process (a crash in a decoder,
    out of memory), that item gets a PictureError, and the other pending items are repeated.
    """
    if workers < 2:
        for item in items:
            yield item, _try(work, item)
        return
    rest = iter(items)
    doubtful: deque[Item] = deque()
    while True:
        yield from _process_singly(work, doubtful)
        doubtful.clear()
        pending: deque[tuple[Item, Future[Result | PictureError]]] = deque()
        pool = _start_pool(workers)
        try:
            for item in rest:
                try:
                    pending.append((item, pool.submit(_try, work, item)))
                except BrokenProcessPool:
                    doubtful.append(item)
                    raise
                while len(pending) >= workers * _WAITING_EACH:
                    yield _wait_for_first(pending)
            while pending:
                yield _wait_for_first(pending)
            return
        except BrokenProcessPool:  # the cause is one of the pending items
            doubtful.extendleft(item for item, _ in reversed(pending))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _wait_for_first(pending: deque[tuple[Item, Future[Any]]]) -> tuple[Item, Any]:
    """Wait for the oldest pending item; it stays pending if its process died."""
    item, future = pending[0]
    result = future.result()
    pending.popleft()
    return item, result


def _process_singly(
    work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result | PictureError]]:
    """Process items one at a time, with a new process after each crash, to find the item that caused it."""
    pool: ProcessPoolExecutor | None = None
    for item in items:
        pool = pool or _start_pool(1)
        try:
            yield item, pool.submit(_try, work, item).result()
        except BrokenProcessPool:
            yield item, PictureError(f"{item}: its process ended: a decoder crashed, or memory ran out.")
            pool.shutdown(wait=True)
            pool = None
    if pool is not None:
        pool.shutdown(wait=True)


def _try(work: Callable[[Item], Result], item: Item) -> Result | PictureError:
    try:
        return work(item)
    except PictureError as error:
        return error


def _start_pool(workers: int) -> ProcessPoolExecutor:
    """Start processes, and check that one works, so that no item is blamed if they cannot start.

    Raises TesseraError if they cannot, as in a script that would run itself again in each of them.
    """
    pool = ProcessPoolExecutor(workers, mp_context=get_process_context(), initializer=read_in_one_thread)
    try:
        pool.submit(int).result()
    except BrokenProcessPool:
        pool.shutdown(wait=True)
        raise TesseraError(
            "Worker processes cannot start. In a script, put the call below"
            ' `if __name__ == "__main__":`; one worker needs no processes.'
        ) from None
    return pool
