from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.tiling.tiles import fade_in, plan_axis

axes = st.builds(
    lambda multiple, length, tile, overlap: (length * multiple, max(tile, 2 * multiple), overlap, multiple),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 700),
    st.integers(8, 300),
    st.integers(0, 80),
)


@given(axes)
def test_tiles_lie_inside_the_picture_and_are_all_of_one_size(case):
    length, tile, overlap, multiple = case
    axis = plan_axis(length, tile=tile, overlap=overlap, multiple=multiple)
    assert axis.starts[0] == 0
    assert axis.starts[-1] + axis.tile == length
    assert axis.tile <= tile or len(axis) == 1
    assert all(start % multiple == 0 for start in (*axis.starts, axis.tile))
    assert all(before < after for before, after in pairwise(axis.starts))


@given(axes)
def test_weights_add_up_to_one_at_every_output_pixel_and_at_most_two_tiles_meet(case):
    length, tile, overlap, multiple = case
    axis = plan_axis(length, tile=tile, overlap=overlap, multiple=multiple)
    scale = 2
    total = np.zeros(length * scale)
    tiles_at = np.zeros(length * scale, int)
    ramp = fade_in(axis.fade, scale)
    for index in range(len(axis)):
        first, last = axis.find_kept_range(index)
        weights = np.ones((last - first) * scale)
        if index:
            weights[: len(ramp)] *= ramp
        if index < len(axis) - 1 and axis.fade:
            weights[-len(ramp) :] *= 1 - ramp
        total[first * scale : last * scale] += weights
        tiles_at[first * scale : last * scale] += 1
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert tiles_at.max() <= 2


@given(axes)
def test_every_kept_pixel_has_its_context_unless_the_picture_ends(case):
    length, tile, overlap, multiple = case
    axis = plan_axis(length, tile=tile, overlap=overlap, multiple=multiple)
    for index in range(len(axis)):
        first, last = axis.find_kept_range(index)
        assert axis.starts[index] <= first
        assert last <= axis.starts[index] + axis.tile
    if len(axis) > 1 and -(-overlap // multiple) <= (tile // multiple - 1) // 2:
        for seam, (before, after) in zip(axis.seams, pairwise(axis.starts), strict=True):
            assert before + axis.tile - seam >= overlap
            assert seam - after >= overlap


def test_a_picture_no_larger_than_a_tile_is_one_tile():
    assert plan_axis(128, tile=128, overlap=16).starts == (0,)


def test_a_length_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        plan_axis(10, tile=8, overlap=0, multiple=4)
