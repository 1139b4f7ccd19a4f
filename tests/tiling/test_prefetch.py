import threading
import time

import pytest

from tessera.tiling.prefetch import Turns, is_at_work, prefetch_one


def test_results_come_in_order_and_only_the_next_is_worked_on_meanwhile():
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item * item

    for item, result in prefetch_one(work, range(6)):
        time.sleep(0.02)
        assert result == item * item
        assert begun == list(range(min(item + 2, 6)))


def test_the_work_overlaps_with_what_the_caller_does():
    met = threading.Barrier(2, timeout=5)

    def work(item: int) -> int:
        if item == 1:
            met.wait()  # for the caller, who is busy with the first result
        return item

    for item, _ in prefetch_one(work, range(3)):
        if item == 0:
            met.wait()


def test_items_are_taken_and_a_single_one_is_worked_on_in_the_callers_thread():
    here, seen = threading.get_ident(), []

    def items(count: int):
        for item in range(count):
            seen.append(threading.get_ident())
            yield item

    for count in (0, 1, 4):
        workers = [worker for _, worker in prefetch_one(lambda _: threading.get_ident(), items(count))]
        assert len(workers) == count
        assert (set(workers) == {here}) == (count == 1)
    assert set(seen) == {here}


def test_what_the_work_raises_is_raised_at_its_turn_and_nothing_is_begun_after_it():
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise MemoryError("no room")
        return item

    given: list[int] = []

    def take() -> None:
        for item, _ in prefetch_one(work, range(9)):
            given.append(item)

    with pytest.raises(MemoryError, match="no room"):
        take()
    assert given == [0, 1]
    assert begun[-1] <= 3


def test_closed_early_it_waits_for_the_work_under_way():
    finished: list[int] = []

    def work(item: int) -> None:
        time.sleep(0.05)
        finished.append(item)

    results = prefetch_one(work, range(9))
    next(results)
    results.close()
    assert finished == [0, 1]
    assert not is_at_work()


def test_an_interrupted_caller_does_not_wait_for_the_work_under_way():
    let_go = threading.Event()

    def work(item: int) -> None:
        if item == 1:
            let_go.wait(5)

    results = prefetch_one(work, range(9))
    next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    assert is_at_work()
    let_go.set()


def test_turns_are_taken_in_order_whoever_comes_first_and_whoever_leaves_twice():
    turns, order = Turns(), list[int]()

    def take(number: int) -> None:
        turns.wait(number)
        order.append(number)
        turns.leave(number)
        turns.leave(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in (3, 1, 2, 0)]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3]


def test_one_that_leaves_early_lets_nobody_past_those_before_it():
    turns = Turns()
    turns.leave(1)
    waiting = threading.Thread(target=turns.wait, args=(2,))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    turns.leave(0)
    waiting.join(5)
    assert not waiting.is_alive()
