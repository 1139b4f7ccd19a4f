import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.dataset.crops import CropDraw, Purpose, cut_crop, derive_sample_rng, draw_crop, scale_crop


def test_a_stream_belongs_to_seed_purpose_and_number_alone():
    purposes: tuple[Purpose, ...] = ("order", "crop", "degrade")
    taken: dict[tuple[int, Purpose, int], tuple[float, ...]] = {
        (seed, purpose, number): tuple(derive_sample_rng(seed, purpose, number).random(4))
        for seed in (0, 1, 2**40)
        for purpose in purposes
        for number in (0, 1, 10**9)
    }
    assert len(set(taken.values())) == len(taken)
    for (seed, purpose, number), values in taken.items():
        assert tuple(derive_sample_rng(seed, purpose, number).random(4)) == values


@settings(max_examples=60)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 10**6), st.booleans())
def test_every_crop_has_its_size_and_lies_inside_what_there_is(height, width, number, paired):
    pixels = np.arange(height * width * 3, dtype=np.uint16).reshape(height, width, 3)
    draw = draw_crop((height, width), 32, derive_sample_rng(0, "crop", number), flips=True, rotations=True)
    crop = cut_crop(pixels, draw, 32, paired=paired)
    assert crop.shape == (32, 32, 3)
    assert np.isin(crop, pixels).all()
    if height >= 32 and width >= 32:
        assert len(np.unique(crop)) == crop.size


def test_crops_reach_every_place_and_every_position_evenly():
    draws = [
        draw_crop((34, 36), 32, derive_sample_rng(5, "crop", number), flips=True, rotations=True)
        for number in range(4000)
    ]
    for seen, places in ((lambda d: d.top, 3), (lambda d: d.left, 5)):
        _, counts = np.unique([seen(draw) for draw in draws], return_counts=True)
        assert len(counts) == places
        assert counts.min() > 0.85 * 4000 / places
    positions = {(draw.flip_h, draw.flip_v, draw.transpose) for draw in draws}
    assert len(positions) == 8
    for name in ("flip_h", "flip_v", "transpose"):
        assert 0.47 < np.mean([getattr(draw, name) for draw in draws]) < 0.53


@pytest.mark.parametrize(("flips", "rotations", "seen"), [(False, False, 1), (True, False, 2), (True, True, 8)])
def test_flips_mirror_only_and_rotations_do_the_rest(flips, rotations, seen):
    draws = [
        draw_crop((9, 9), 8, derive_sample_rng(0, "crop", n), flips=flips, rotations=rotations) for n in range(200)
    ]
    assert len({(draw.flip_h, draw.flip_v, draw.transpose) for draw in draws}) == seen
    if not rotations:
        assert not any(draw.flip_v or draw.transpose for draw in draws)


def test_what_is_missing_is_mirrored_as_real_esrgan_pads():
    pixels = np.arange(4 * 3, dtype=np.uint8).reshape(4, 3, 1).repeat(3, axis=2)
    plain = CropDraw(top=0, left=0, flip_h=False, flip_v=False, transpose=False)
    rows = [0, 1, 2, 3, 2, 1, 0, 1]  # without the border itself, to and fro
    columns = [0, 1, 2, 1, 0, 1, 2, 1]
    assert (cut_crop(pixels, plain, 8, paired=False) == pixels[rows][:, columns]).all()


@settings(max_examples=60)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6), st.sampled_from([2, 3, 4]))
def test_truth_and_input_show_the_same_place_also_where_it_is_mirrored(height, width, number, scale):
    lq = np.random.default_rng(number).integers(0, 255, (height, width, 3), np.uint8)
    gt = lq.repeat(scale, axis=0).repeat(scale, axis=1)
    gt = gt + np.tile(np.arange(scale, dtype=np.uint8), width)[None, :, None] * 0
    draw = draw_crop(
        gt.shape[:2], 8 * scale, derive_sample_rng(1, "crop", number), flips=True, rotations=True, grid=scale
    )
    big, small = cut_crop(gt, draw, 8 * scale, paired=True), cut_crop(lq, scale_crop(draw, scale), 8, paired=True)
    assert (big == small.repeat(scale, axis=0).repeat(scale, axis=1)).all()
