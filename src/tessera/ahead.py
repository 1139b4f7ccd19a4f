"""Work that runs one step ahead of whoever uses its results."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_THREADS = "tessera one ahead"

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
    pool = ThreadPoolExecutor(1, _THREADS)
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
    return any(thread.name.startswith(_THREADS) for thread in threading.enumerate())
