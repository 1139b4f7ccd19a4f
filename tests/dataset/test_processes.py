import os
import signal
import time
from typing import Any

import pytest

from tessera.dataset.processes import process_each
from tessera.errors import PictureError


def halved(number: int) -> int:
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if number % 2:
        raise PictureError(f"{number}: is odd.")
    return number // 2


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_with_errors_in_their_place(workers):
    found = list(process_each(halved, iter(range(12)), workers=workers))
    assert [item for item, _ in found] == list(range(12))
    assert [result for item, result in found if item % 2 == 0] == list(range(6))
    assert all(isinstance(result, PictureError) and "is odd" in str(result) for item, result in found if item % 2)


def test_an_item_that_kills_its_process_costs_only_itself():
    found = list(process_each(halved, range(40), workers=2))
    assert [item for item, _ in found] == list(range(40))
    assert [result for item, result in found if item % 2 == 0] == list(range(20))
    killed = dict(found)[13]
    assert isinstance(killed, PictureError)
    assert "13: its process ended" in str(killed)


def test_a_process_that_dies_while_nobody_looks_loses_no_item():
    results = process_each(halved, [0, 13, *range(2, 40, 2)], workers=2)
    found = [next(results)]
    time.sleep(1)  # the pool is broken by now, and the next item is handed to it
    found += results
    assert [item for item, _ in found] == [0, 13, *range(2, 40, 2)]
    assert [item for item, result in found if isinstance(result, PictureError)] == [13]


def test_items_are_taken_as_they_are_needed():
    taken = []

    def items():
        for number in range(0, 2000, 2):
            taken.append(number)
            yield number

    results: Any = process_each(halved, items(), workers=2)
    next(results)
    assert len(taken) <= 9
    results.close()
