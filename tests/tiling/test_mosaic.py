from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stand_ins import FunctionEngine, blurred, repeated
from tessera.errors import NonFiniteError
from tessera.tiling.mosaic import MosaicCount, MosaicPlan, mosaic, to_planes
from tessera.tiling.rows import ArrayRows


def plan(**changes) -> MosaicPlan:
    values = {"scale": 4, "multiple": 1, "tile": 48, "overlap": 8, "flat_lock": False} | changes
    return MosaicPlan(**values)


def picture(height: int, width: int, channels: int = 3, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (height, width, channels), dtype=dtype, endpoint=True)


def run(pixels: np.ndarray, engine: FunctionEngine, chosen: MosaicPlan, count: MosaicCount | None = None) -> np.ndarray:
    return np.concatenate(list(mosaic(ArrayRows(pixels), engine, chosen, count or MosaicCount())))


def nearest(pixels: np.ndarray, scale: int) -> np.ndarray:
    return pixels.repeat(scale, 0).repeat(scale, 1)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from([32, 40, 64, 0]),
    st.integers(0, 15),
    st.sampled_from([(1, 1), (2, 1), (4, 1), (2, 2), (1, 4), (3, 1)]),
    st.sampled_from([np.uint8, np.uint16]),
    st.sampled_from([1, 3, 4]),
)
def test_tiled_equals_whole_exactly_for_a_pointwise_generator(height, width, tile, overlap, shape, dtype, channels):
    scale, multiple = shape
    pixels = picture(height, width, channels, dtype)
    chosen = plan(scale=scale, multiple=multiple, tile=tile, overlap=overlap, alpha="model" if channels == 4 else None)
    result = run(pixels, FunctionEngine(repeated(scale)), chosen)
    if channels == 1:  # luma of three equal channels may differ in the last bit of 16
        assert np.abs(result.astype(int) - nearest(pixels, scale)).max() <= (1 if dtype is np.uint16 else 0)
    else:
        np.testing.assert_array_equal(result, nearest(pixels, scale))


@given(st.integers(4, 120), st.integers(4, 120), st.integers(0, 6))  # a blur of less than 4 pixels is nearly black
@settings(max_examples=60, deadline=None)
def test_an_overlap_of_twice_the_reach_leaves_no_trace_of_the_tiles(height, width, reach):
    pixels = picture(height, width)
    engine = FunctionEngine(lambda x, _: blurred(x, reach, 2))
    tiled = run(pixels, engine, plan(scale=2, tile=40, overlap=2 * reach))
    whole = run(pixels, engine, plan(scale=2, tile=0))
    assert np.abs(tiled.astype(int) - whole).max() <= 1


def test_an_overlap_shorter_than_the_reach_leaves_a_trace_so_that_the_test_above_means_something():
    pixels = picture(100, 100)
    engine = FunctionEngine(lambda x, _: blurred(x, 6, 2))
    tiled = run(pixels, engine, plan(scale=2, tile=40, overlap=1))
    whole = run(pixels, engine, plan(scale=2, tile=0))
    assert np.abs(tiled.astype(int) - whole).max() > 3


def test_all_tiles_of_a_picture_have_one_shape_so_that_compiled_engines_compile_once():
    engine = FunctionEngine(repeated())
    run(picture(111, 203), engine, plan())
    assert len(set(engine.shapes)) == 1
    assert len(engine.shapes) > 6


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_tile_that_is_not_finite_is_run_again_at_full_precision(bad):
    def wrong_at_the_third(x, call):
        sr = repeated()(x, call)
        if call == 2:
            sr[..., 5, 5] = bad
        return sr

    exact = FunctionEngine(repeated())
    count = MosaicCount()
    pixels = picture(100, 100)
    result = run(pixels, FunctionEngine(wrong_at_the_third, exact), plan(), count)
    np.testing.assert_array_equal(result, nearest(pixels, 4))
    assert count.retried == 1
    assert len(exact.shapes) == 1


def test_a_black_tile_where_the_picture_is_not_black_is_run_again():
    count = MosaicCount()
    pixels = picture(60, 60)
    engine = FunctionEngine(lambda x, call: repeated()(x * 0, call), FunctionEngine(repeated()))
    np.testing.assert_array_equal(run(pixels, engine, plan(), count), nearest(pixels, 4))
    assert count.retried == count.tiles == 4


def test_a_black_picture_stays_black_and_is_not_run_twice():
    count = MosaicCount()
    assert not run(np.zeros((60, 60, 3), np.uint8), FunctionEngine(repeated()), plan(), count).any()
    assert count.retried == 0


def test_a_tile_that_fails_at_full_precision_fails_the_picture():
    broken = FunctionEngine(lambda x, call: repeated()(x, call) * float("nan"))
    with pytest.raises(NonFiniteError, match="even in fp32"):
        run(picture(60, 60), broken, plan())


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("network_channels", [1, 3])
def test_tiles_that_go_through_the_network_together_are_finished_each_for_itself(channels, network_channels):
    pixels = picture(100, 130, channels)
    mode = "model" if channels == 4 else None
    alone, together = (
        plan(batch=batch, alpha=mode, network_channels=network_channels, flat_lock=True) for batch in (1, 4)
    )
    one, four = FunctionEngine(repeated()), FunctionEngine(repeated())
    count = MosaicCount()
    np.testing.assert_array_equal(run(pixels, four, together, count), run(pixels, one, alone))
    runs = (2 if channels == 4 else 1) * -(-count.tiles // 4)
    assert len(four.shapes) == runs
    assert len(one.shapes) == count.tiles * (2 if channels == 4 else 1)
    assert sum(shape[0] for shape in four.shapes) == sum(shape[0] for shape in one.shapes)


def test_of_a_batch_only_the_tile_that_came_out_wrong_is_run_again():
    def wrong_in_the_second_batch(x, call):
        sr = repeated()(x, call)
        if call == 1:
            sr[2, :, 5, 5] = float("nan")
        return sr

    exact, count, pixels = FunctionEngine(repeated()), MosaicCount(), picture(100, 130)
    result = run(pixels, FunctionEngine(wrong_in_the_second_batch, exact), plan(batch=4), count)
    np.testing.assert_array_equal(result, nearest(pixels, 4))
    assert (count.retried, [shape[0] for shape in exact.shapes]) == (1, [1])


def test_the_ensemble_makes_any_engine_equivariant_to_flips_and_turns():
    weights = torch.rand(3, 3, 3, 3, generator=torch.Generator().manual_seed(0)) / 9
    engine = FunctionEngine(lambda x, call: repeated(2)(torch.nn.functional.conv2d(x, weights, padding=1), call))
    pixels = picture(40, 40, dtype=np.uint16)
    chosen = plan(scale=2, tile=0, ensemble=True)
    straight = run(pixels, engine, chosen).astype(int)
    for change in (lambda p: p[::-1], lambda p: p[:, ::-1], lambda p: p.swapaxes(0, 1)):
        turned = run(np.ascontiguousarray(change(pixels)), engine, chosen).astype(int)
        assert np.abs(turned - change(straight)).max() <= 1
        alone = run(np.ascontiguousarray(change(pixels)), engine, plan(scale=2, tile=0)).astype(int)
        assert np.abs(alone - change(run(pixels, engine, plan(scale=2, tile=0)).astype(int))).max() > 100


def test_gray_stays_one_channel_through_a_color_network():
    pixels = picture(30, 30, 1)
    np.testing.assert_array_equal(run(pixels, FunctionEngine(repeated()), plan()), nearest(pixels, 4))


def test_a_network_for_gray_enlarges_each_color_by_itself():
    engine = FunctionEngine(repeated())
    pixels = picture(30, 30, 3)
    np.testing.assert_array_equal(run(pixels, engine, plan(network_channels=1)), nearest(pixels, 4))
    assert engine.shapes[0][:2] == (3, 1)


def test_a_flat_alpha_is_written_and_costs_no_run_of_the_network():
    pixels = picture(30, 30, 4)
    pixels[..., 3] = 77
    engine = FunctionEngine(repeated())
    result = run(pixels, engine, plan(alpha="model", flat_alpha=77))
    assert (result[..., 3] == 77).all()
    assert len(engine.shapes) == 1


def test_lanczos_alpha_needs_one_run_and_model_alpha_two():
    pixels = picture(30, 30, 4)
    for mode, runs in (("lanczos", 1), ("model", 2)):
        engine = FunctionEngine(repeated())
        run(pixels, engine, plan(alpha=mode))
        assert len(engine.shapes) == runs


def test_lanczos_alpha_has_no_seam_between_tiles():
    pixels = picture(100, 100, 4)
    tiled = run(pixels, FunctionEngine(repeated()), plan(alpha="lanczos"))
    whole = run(pixels, FunctionEngine(repeated()), plan(alpha="lanczos", tile=0))
    assert np.abs(tiled[..., 3].astype(int) - whole[..., 3]).max() <= 1


def test_sixteen_bits_can_become_eight_on_the_way_out():
    pixels = picture(20, 20, 3, np.uint16)
    result = run(pixels, FunctionEngine(repeated()), plan(dtype=np.dtype(np.uint8)))
    np.testing.assert_array_equal(result, nearest(np.rint(pixels / 257).astype(np.uint8), 4))


def test_progress_adds_up_to_all_pixels_of_the_padded_picture_and_can_stop_the_work():
    seen: list[tuple[int, int]] = []
    run(picture(100, 90), FunctionEngine(repeated()), plan(), MosaicCount(on_tile=lambda n, p: seen.append((n, p))))
    assert [n for n, _ in seen] == list(range(1, len(seen) + 1))
    assert sum(pixels for _, pixels in seen) >= 100 * 90

    def stop(done: int, pixels: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(picture(100, 90), FunctionEngine(repeated()), plan(), MosaicCount(on_tile=stop))


def test_the_way_in_maps_the_whole_range_of_a_type_to_one():
    assert to_planes(np.array([[[0, 128, 255]]], np.uint8)).flatten().tolist() == [0, pytest.approx(128 / 255), 1]
    assert to_planes(np.array([[[65_535]]], np.uint16)).item() == 1
