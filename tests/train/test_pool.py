"""The pool mixes pairs, keeps them together, and comes back from a file as it was."""

from collections import Counter

import numpy as np
import pytest
import torch

from tessera.train.pool import PairPool


def pairs(first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs that can be told apart: input and truth of pair n are filled with n / 255."""
    numbers = torch.arange(first, first + count).float().view(-1, 1, 1, 1) / 255
    return numbers.expand(-1, 3, 2, 2).clone(), numbers.expand(-1, 3, 8, 8).clone()


def numbers_of(batch) -> list[int]:
    lq, gt = batch
    assert torch.equal(lq[:, 0, 0, 0], gt[:, 0, 0, 0])  # they belong together still
    return [round(float(value) * 255) for value in lq[:, 0, 0, 0]]


def test_until_it_is_full_batches_pass_through():
    pool, rng = PairPool(6), np.random.default_rng(0)
    assert numbers_of(pool.exchange(pairs(0, 4), rng)) == [0, 1, 2, 3]
    assert numbers_of(pool.exchange(pairs(4, 4), rng)) == [4, 5, 6, 7]
    assert len(pool) == 6


def test_then_every_pair_comes_out_once_and_mixed():
    pool, rng = PairPool(16), np.random.default_rng(0)
    seen: list[int] = []
    for step in range(60):
        given = numbers_of(pool.exchange(pairs(4 * step, 4), rng))
        if step >= 4:
            seen += given
            assert len({number // 4 for number in given}) > 1 or step < 6
    assert max(Counter(seen).values()) == 1
    held = {round(float(lq[0, 0, 0]) * 255) for lq, _ in pool._held}
    assert set(seen) | held == set(range(240))


def test_a_pool_of_nothing_is_no_pool():
    batch = pairs(0, 3)
    assert PairPool(0).exchange(batch, np.random.default_rng(0)) is batch


@pytest.mark.parametrize("fraction", [False, True])
def test_it_comes_back_from_its_state_to_the_bit(fraction):
    pool, rng = PairPool(8), np.random.default_rng(0)
    lq, gt = pairs(0, 8)
    gt = gt + (0.3 / 255 if fraction else 0)
    pool.exchange((lq, gt), rng)
    state = pool.state()
    assert state["part0"].dtype == torch.uint8
    assert state["part1"].dtype == (torch.float32 if fraction else torch.uint8)
    again = PairPool(8)
    again.load(state, torch.device("cpu"))
    one, other = (each.exchange(pairs(100, 4), np.random.default_rng(5)) for each in (pool, again))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_does_not_fit_is_refused():
    pool = PairPool(4)
    with pytest.raises(ValueError, match="a batch of 5 does not fit a pool of 4"):
        pool.exchange(pairs(0, 5), np.random.default_rng(0))
    pool.exchange(pairs(0, 2), np.random.default_rng(0))
    with pytest.raises(ValueError, match="different sizes"):
        pool.exchange((torch.zeros(2, 3, 3, 3), torch.zeros(2, 3, 8, 8)), np.random.default_rng(0))


def test_the_pool_holds_copies():
    pool = PairPool(2)
    lq, gt = pairs(0, 2)
    pool.exchange((lq, gt), np.random.default_rng(0))
    lq.fill_(9)
    assert float(pool._held[1][0].max()) < 1
