"""Work that runs one step ahead of the consumer of its results."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = "tessera one ahead"
"""Name prefix of all prefetching threads."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch_one(work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[tuple[Item, Result]]:
    """Yield (item, work(item)) in order; while the caller handles one, another thread works on the next.

    `items` is iterated in the caller's thread, and a single item is processed there, too. An exception of `work` is
    raised when its item is due. If closed early, the generator waits for the work in progress; if interrupted, it does
    not.
    """
    remaining = iter(items)
    head = list(itertools.islice(remaining, 2))
    if len(head) < 2:
        for item in head:
            yield item, work(item)
        return
    pool = ThreadPoolExecutor(1, THREADS)
    wait = True
    try:
        under_way: tuple[Item, Future[Result]] | None = None
        for item in itertools.chain(head, remaining):
            before, under_way = under_way, (item, pool.submit(work, item))
            if before is not None:
                yield before[0], before[1].result()
                before = None  # the result is the caller's alone
        if under_way is not None:
            yield under_way[0], under_way[1].result()
    except KeyboardInterrupt:
        wait = False
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)


def is_at_work() -> bool:
    """Whether a prefetching thread is still running, as after an interruption of its caller."""
    return any(thread.name.startswith(THREADS) for thread in threading.enumerate())


class Turns:
    """Orders workers: each enters when all with a lower number are done, to use a shared resource in order."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._through: set[int] = set()
        self._first = 0

    def wait(self, number: int) -> float:
        """Wait until all with a lower number are done -> seconds waited."""
        began = time.monotonic()
        with self._condition:
            self._condition.wait_for(lambda: self._first >= number)
        return time.monotonic() - began

    def leave(self, number: int) -> None:
        """Mark this number as done; repeated calls have no effect."""
        with self._condition:
            self._through.add(number)
            while self._first in self._through:
                self._first += 1
            self._condition.notify_all()
