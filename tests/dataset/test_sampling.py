import itertools

import pytest

from tessera.dataset.sampling import NumberedBatches, choose_picture


def test_every_picture_comes_once_in_each_epoch_and_each_epoch_has_its_own_order():
    epochs = [[choose_picture(epoch * 50 + position, 50, 3) for position in range(50)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert [choose_picture(number, 50, 4) for number in range(50)] != epochs[0]


def test_attempts_go_through_all_pictures():
    assert sorted(choose_picture(17, 9, 0, attempt=attempt) for attempt in range(9)) == list(range(9))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_the_numbers_out_without_gap_or_overlap(world):
    parts = [NumberedBatches(first=100, batch=4, rank=rank, world=world, batches=5) for rank in range(world)]
    steps = zip(*parts, strict=True)
    assert [number for step in steps for batch in step for number in batch] == list(range(100, 100 + 20 * world))


def test_without_a_number_of_batches_they_go_on():
    last = next(itertools.islice(NumberedBatches(first=0, batch=8), 10_000, None))
    assert last == list(range(80_000, 80_008))
