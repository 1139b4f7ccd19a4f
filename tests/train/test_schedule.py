import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.errors import UsageError
from tessera.train.recipe import load_recipe
from tessera.train.schedule import CosineRestarts, MultiStep, learning_rate_at, list_rate_changes


def test_milestones_lower_the_rate_from_the_step_after_them():
    schedule = MultiStep(milestones=(10, 20), gamma=0.1)
    rates = [learning_rate_at(schedule, 1.0, step, 100) for step in (1, 10, 11, 20, 21, 100)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_milestones_may_be_shares_of_the_run():
    schedule = MultiStep(milestones=(0.2, 0.5), gamma=0.5)
    assert [learning_rate_at(schedule, 1.0, step, 10) for step in range(1, 11)] == [1, 1, 0.5, 0.5, 0.5, *([0.25] * 5)]


def test_restarts_equal_basicsrs_formula():
    schedule = CosineRestarts(periods=(4, 6), weights=(1, 0.5), floor=1e-7)

    def basicsr(iteration: int) -> float:
        past = iteration - 1  # its scheduler takes its first step at the second iteration
        period, weight, start = (4, 1, 0) if past < 4 else (6, 0.5, 4)
        return 1e-7 + weight * 0.5 * (2e-4 - 1e-7) * (1 + math.cos(math.pi * ((past - start) / period)))

    for step in range(1, 11):
        assert learning_rate_at(schedule, 2e-4, step, 10) == pytest.approx(basicsr(step), rel=1e-9)


def test_warming_up_is_linear_from_nothing():
    schedule = MultiStep(warm_up=4)
    assert [learning_rate_at(schedule, 8.0, step, 100) for step in (1, 2, 3, 4, 5)] == [2, 4, 6, 8, 8]


def test_the_published_schedules_end_where_they_should():
    esrgan = load_recipe("esrgan")
    assert [rate for _, rate in list_rate_changes(esrgan.schedule, 1e-4, esrgan.steps)] == pytest.approx(
        [1e-4, 5e-5, 2.5e-5, 1.25e-5, 6.25e-6]
    )
    psnr = load_recipe("rrdb-psnr")
    assert [step for step, _ in list_rate_changes(psnr.schedule, 2e-4, psnr.steps)] == [1, 250_001, 500_001, 750_001]
    assert learning_rate_at(psnr.schedule, 2e-4, 250_000, psnr.steps) < 1.1e-7
    assert learning_rate_at(psnr.schedule, 2e-4, 250_001, psnr.steps) == 2e-4


@given(st.integers(1, 300), st.lists(st.integers(1, 100), min_size=1, max_size=4))
def test_rates_are_between_the_floor_and_the_base(step, periods):
    schedule = CosineRestarts(periods=tuple(periods), floor=1e-3)
    steps = sum(length if length > 1 else 300 for length in periods)
    assert 1e-3 - 1e-12 <= learning_rate_at(schedule, 1.0, step, steps) <= 1.0 + 1e-12


def test_weights_have_to_fit_the_periods():
    with pytest.raises(UsageError, match="2 weights do not fit 4 periods"):
        load_recipe("rrdb-psnr", ["schedule.weights=[1, 2]"])
