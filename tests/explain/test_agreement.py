"""The numbers against SciPy, hand values and pictures whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from tessera.explain.agreement import (
    average_blocks,
    compute_edge_strength,
    compute_error,
    entropy,
    measure_gate,
    rank_correlation,
    roc_area,
)


@given(seed=st.integers(0, 2**31), levels=st.sampled_from([3, 20, 10**9]), count=st.integers(10, 400))
def test_rank_correlation_is_scipys_also_with_ties(seed: int, levels: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, levels, count).astype(float)
    second = np.where(rng.random(count) < 0.5, first, rng.integers(0, levels, count))
    found = rank_correlation(first, second)
    published: Any = stats.spearmanr
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(published(first, second).statistic, abs=1e-12)


@given(seed=st.integers(0, 2**31), levels=st.sampled_from([3, 20, 10**9]))
def test_the_area_under_the_roc_is_the_share_of_pairs_in_the_right_order(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    strength = rng.integers(0, 50, (12, 15)).astype(float)
    attention = rng.integers(0, levels, (12, 15)).astype(float)
    edge = strength > np.sort(strength.ravel())[int(0.9 * (strength.size - 1))]
    on, off = attention[edge], attention[~edge]
    found = roc_area(attention, strength)
    if not len(on):
        assert found is None
    else:
        test = stats.mannwhitneyu(on, off).statistic / (len(on) * len(off))
        assert found == pytest.approx(test, abs=1e-12)


def test_about_a_tenth_counts_as_edges_and_a_flat_picture_has_none() -> None:
    strength = np.arange(100.0).reshape(10, 10)
    wanted = (strength >= 90).astype(float)
    assert roc_area(wanted, strength) == 1.0
    assert roc_area(1 - wanted, strength) == 0.0
    assert roc_area(np.zeros((10, 10)), strength) == 0.5
    assert roc_area(strength, np.ones((10, 10))) is None


def test_edges_are_sobels_gradient_of_the_luma() -> None:
    picture = torch.rand(1, 3, 23, 31, generator=torch.Generator().manual_seed(0))
    red, green, blue = picture[0].double().numpy()
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    wanted = np.hypot(*(ndimage.sobel(luma, axis, mode="nearest") for axis in (0, 1)))
    np.testing.assert_allclose(compute_edge_strength(picture), wanted, atol=1e-12)


def test_errors_are_absolute_differences_over_the_channels() -> None:
    picture, truth = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    picture[0, :, 1, 0] = torch.tensor([0.5, -0.25, 0.0])
    np.testing.assert_allclose(compute_error(picture, truth), [[0, 0], [0.25, 0]])


@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(16, 16), (13, 7), (3, 21)], ids=str)
def test_averaging_down_takes_the_mean_of_what_there_is(size: tuple[int, int], divisor: int) -> None:
    values = np.random.default_rng(0).random(size)
    found = average_blocks(values, divisor)
    assert found.shape == tuple(-(-side // divisor) for side in size)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            block = values[row * divisor : (row + 1) * divisor, column * divisor : (column + 1) * divisor]
            assert found[row, column] == pytest.approx(block.mean(), abs=1e-12)


def test_entropy_is_scipys_over_its_highest() -> None:
    values = np.random.default_rng(0).random((9, 9)) ** 4
    assert entropy(values) == pytest.approx(stats.entropy(values.ravel()) / np.log(81))
    assert entropy(np.full((5, 5), 0.3)) == pytest.approx(1)
    alone = np.zeros((5, 5))
    alone[2, 3] = 1
    assert entropy(alone) == 0


def test_a_map_on_the_edges_is_told_from_one_beside_them() -> None:
    picture = torch.zeros(1, 3, 32, 32)
    picture[..., 16:] = 1
    edges = compute_edge_strength(picture)
    on = torch.full((1, 1, 32, 32), 0.1)
    on[..., 15:17] = 0.9
    beside = torch.full((1, 1, 32, 32), 0.9) - on + 0.1
    good, bad = measure_gate(on, edges, None), measure_gate(beside, edges, None)
    assert (good.edges_roc, bad.edges_roc) == (1.0, 0.0)
    assert good.edges_rank == pytest.approx(1)
    assert bad.edges_rank == pytest.approx(-1)
    assert good.mean == pytest.approx(0.15)
    assert good.spread == pytest.approx(np.std([0.1] * 30 + [0.9] * 2))
    assert good.error_rank is None
    flat = measure_gate(torch.full((1, 1, 32, 32), 0.5), edges, edges)
    assert flat.edges_rank is None
    assert flat.error_roc == 0.5
