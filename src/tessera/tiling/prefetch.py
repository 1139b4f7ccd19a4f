"""Work that runs one step ahead of whoever uses its results."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = "tessera one ahead"
"""The beginning of the names of all threads that work ahead."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[tuple[Item, Result]]:
    """(item, work(item)) in order; while the caller is busy with one, the next is worked on in another thread.

    `items` are taken in the caller's thread, and a single one is worked on there, too. What `work` raises is raised at
    its turn. Closed early, the generator waits for the work under way; interrupted, it does not.
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
    """Whether work goes on that nobody waits for any more, because its caller was interrupted."""
    return any(thread.name.startswith(THREADS) for thread in threading.enumerate())


class Turns:
    """Lets each of several workers in when all before it are through, so that what they share is used in order."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._through: set[int] = set()
        self._first = 0

    def wait(self, number: int) -> float:
        """Wait until all with a lower number are through -> the seconds that took."""
        began = time.monotonic()
        with self._condition:
            self._condition.wait_for(lambda: self._first >= number)
        return time.monotonic() - began

    def leave(self, number: int) -> None:
        """Be through; to say so twice is no harm."""
        with self._condition:
            self._through.add(number)
            while self._first in self._through:
                self._first += 1
            self._condition.notify_all()
