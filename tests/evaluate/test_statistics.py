import math

import numpy as np
import pytest

from tessera.evaluate.statistics import bootstrap_interval, compute_paired_p_value


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.gamma(2, 1, 30))
        hits += low <= 2 <= high
    assert 0.86 <= hits / 200 <= 0.99


def test_the_interval_is_that_of_the_normal_law_for_many_scores():
    scores = np.random.default_rng(1).normal(28, 3, 2000)
    low, high = bootstrap_interval(scores)
    half = 1.96 * scores.std() / math.sqrt(2000)
    assert (low, high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=half / 10)
    assert bootstrap_interval(scores) == (low, high)


def test_one_score_none_and_infinity():
    assert bootstrap_interval([3.5]) == (3.5, 3.5)
    assert all(math.isnan(end) for end in bootstrap_interval([]))
    assert bootstrap_interval([1.0, math.inf]) == (math.inf, math.inf)
    assert math.isnan(compute_paired_p_value([0.1]))


def test_few_pairs_are_counted_exactly():
    # All five of one sign: only that and its mirror are as extreme, 2 of 32.
    assert compute_paired_p_value([0.3, 0.1, 0.2, 0.5, 0.4]) == 2 / 32
    assert compute_paired_p_value([0.0, 0.0, 0.0]) == 1
    assert compute_paired_p_value([1.0, -1.0]) == 1


def test_the_p_value_is_even_where_there_is_no_difference_and_small_where_there_is():
    rng = np.random.default_rng(2)
    values = [compute_paired_p_value(rng.normal(0, 1, 10)) for _ in range(300)]
    assert 0.42 < np.mean(values) < 0.58
    assert np.mean(np.array(values) <= 0.05) < 0.09
    assert compute_paired_p_value(rng.normal(0.5, 1, 200)) < 0.001
