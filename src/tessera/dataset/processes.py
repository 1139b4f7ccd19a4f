"""The same work for many items in several processes: in order, in bounded memory, and one that dies costs one item."""

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
"""How many items a process may be ahead of whoever takes the results."""


def fresh_processes() -> Any:
    """How reading processes begin: forked from a server without threads where there are forks, else on their own.

    libvips has threads, and a fork takes their locks along without the threads that hold them: it hangs.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tessera.dataset.decoding"])  # PyTorch is then imported once, not by every process
    return context


def for_each(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[tuple[Item, Result | PictureError]]:
    """`work` of each item, in the order of the items; a PictureError that it raises is given instead of its result.

    With fewer than two workers it is done here. A process that is killed by an item (a crash in a decoder, the end of
    memory) makes that item a PictureError; all others are done again.
    """
    if workers < 2:
        for item in items:
            yield item, _tried(work, item)
        return
    rest = iter(items)
    doubtful: deque[Item] = deque()
    while True:
        yield from _one_by_one(work, doubtful)
        doubtful.clear()
        pending: deque[tuple[Item, Future[Result | PictureError]]] = deque()
        pool = _pool(workers)
        try:
            for item in rest:
                try:
                    pending.append((item, pool.submit(_tried, work, item)))
                except BrokenProcessPool:
                    doubtful.append(item)
                    raise
                while len(pending) >= workers * _WAITING_EACH:
                    yield _first(pending)
            while pending:
                yield _first(pending)
            return
        except BrokenProcessPool:  # whichever it was, it is among those that were under way
            doubtful.extendleft(item for item, _ in reversed(pending))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _first(pending: deque[tuple[Item, Future[Any]]]) -> tuple[Item, Any]:
    """The oldest that is under way, waited for; it stays among the pending when its process died."""
    item, future = pending[0]
    result = future.result()
    pending.popleft()
    return item, result


def _one_by_one(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result | PictureError]]:
    """The same in one process, a new one after each that dies, so that it is plain which item killed it."""
    pool: ProcessPoolExecutor | None = None
    for item in items:
        pool = pool or _pool(1)
        try:
            yield item, pool.submit(_tried, work, item).result()
        except BrokenProcessPool:
            yield item, PictureError(f"{item}: reading it ended the process: a decoder crashed, or memory ran out.")
            pool.shutdown(wait=True)
            pool = None
    if pool is not None:
        pool.shutdown(wait=True)


def _tried(work: Callable[[Item], Result], item: Item) -> Result | PictureError:
    try:
        return work(item)
    except PictureError as error:
        return error


def _pool(workers: int) -> ProcessPoolExecutor:
    """Processes of which one has shown that it can begin, so that no item is blamed when they cannot.

    Raises TesseraError when they cannot, as in a script that would start itself again in each of them.
    """
    pool = ProcessPoolExecutor(workers, mp_context=fresh_processes(), initializer=read_in_one_thread)
    try:
        pool.submit(int).result()
    except BrokenProcessPool:
        pool.shutdown(wait=True)
        raise TesseraError(
            "Processes cannot be begun here. In a script of one's own, the call belongs below"
            ' `if __name__ == "__main__":`; with one worker none are needed.'
        ) from None
    return pool
