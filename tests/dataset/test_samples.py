from pathlib import Path

import numpy as np
import pytest
import torch

from pictures import ramp, random_pixels, save
from tessera.dataset.config import DataConfig
from tessera.dataset.crops import derive_sample_rng, draw_crop
from tessera.dataset.decoding import ALPHA_NOTE
from tessera.dataset.samples import CropDataset
from tessera.dataset.sampling import choose_picture
from tessera.dataset.sources import list_pictures
from tessera.errors import PictureError, UsageError


def crops(folder: Path, *, lq: Path | None = None, scale: int = 1, seed: int = 0, **config) -> CropDataset:
    listing = list_pictures([folder], None if lq is None else [lq])
    return CropDataset(listing, DataConfig(**{"patch": 16, "workers": 0, **config}), seed=seed, scale=scale)


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "hr"
    made.mkdir()
    for number in range(5):
        save(made / f"{number}.png", random_pixels(40, 50, 3, np.uint8, seed=number))
    return made


def test_a_sample_is_the_crop_that_was_drawn(folder):
    data = crops(folder, seed=9)
    for number in (0, 3, 77):
        sample = data[number]
        pixels = random_pixels(40, 50, 3, np.uint8, seed=sample["picture"])
        draw = draw_crop((40, 50), 16, derive_sample_rng(9, "crop", number), flips=True, rotations=True)
        expected = pixels[draw.top : draw.top + 16, draw.left : draw.left + 16]
        expected = expected[:, ::-1] if draw.flip_h else expected
        expected = expected[::-1] if draw.flip_v else expected
        expected = expected.transpose(1, 0, 2) if draw.transpose else expected
        assert sample["gt"].dtype == torch.uint8
        assert (sample["gt"].numpy() == expected.transpose(2, 0, 1)).all()
        assert sample["picture"] == choose_picture(number, 5, 9)
        assert sample["problem"] == ""


def test_a_sample_is_the_same_whatever_was_read_before(folder):
    one, other = crops(folder), crops(folder)
    backwards = {number: one[number]["gt"] for number in reversed(range(12))}
    assert all(torch.equal(other[number]["gt"], backwards[number]) for number in range(12))
    assert not torch.equal(crops(folder, seed=1)[3]["gt"], backwards[3])


def test_pairs_stay_aligned_through_every_flip(tmp_path):
    for name in ("hr", "lr"):
        (tmp_path / name).mkdir()
    for number in range(3):
        lq = random_pixels(14, 20, 3, np.uint8, seed=number)
        save(tmp_path / "lr" / f"{number}x4.png", lq)
        gt = lq.repeat(4, axis=0).repeat(4, axis=1)
        save(tmp_path / "hr" / f"{number}.png", np.pad(gt, ((0, number), (0, 3), (0, 0))))  # not divisible by 4
    data = crops(tmp_path / "hr", lq=tmp_path / "lr", scale=4)
    turned = set()
    for number in range(60):
        sample = data[number]
        assert "lq" in sample
        assert sample["lq"].shape == (3, 4, 4)
        assert torch.equal(sample["gt"], sample["lq"].repeat_interleave(4, 1).repeat_interleave(4, 2))
        turned.add(bytes(sample["lq"].numpy()))
    assert len(turned) > 50


def test_pairs_smaller_than_the_patch_stay_aligned(tmp_path):
    for name in ("hr", "lr"):
        (tmp_path / name).mkdir()
    lq = random_pixels(3, 2, 3, np.uint8)
    save(tmp_path / "lr" / "a.png", lq)
    save(tmp_path / "hr" / "a.png", lq.repeat(4, axis=0).repeat(4, axis=1))
    for number in range(8):
        sample = crops(tmp_path / "hr", lq=tmp_path / "lr", scale=4)[number]
        assert "lq" in sample
        assert torch.equal(sample["gt"], sample["lq"].repeat_interleave(4, 1).repeat_interleave(4, 2))


def test_gray_alpha_and_16_bits_become_rgb(tmp_path):
    (tmp_path / "a").mkdir()
    gray = random_pixels(16, 16, 1, np.uint8)
    save(tmp_path / "a" / "gray.png", gray)
    sample = crops(tmp_path / "a", flips=False, rotations=False)[0]
    assert (sample["gt"].numpy() == gray[..., 0]).all()

    (tmp_path / "b").mkdir()
    deep = random_pixels(16, 16, 4, np.uint16)
    save(tmp_path / "b" / "deep.png", deep)
    sample = crops(tmp_path / "b", flips=False, rotations=False)[0]
    assert sample["gt"].dtype == torch.float32
    assert np.allclose(sample["gt"].numpy() * 65535, deep[..., :3].transpose(2, 0, 1), atol=0.01)
    assert sample["problem"] == ALPHA_NOTE


def test_pictures_on_their_side_are_taken_upright(tmp_path):
    (tmp_path / "a").mkdir()
    pixels = ramp(16, 24)
    save(tmp_path / "a" / "x.png", pixels, ints={"orientation": 6})
    sample = crops(tmp_path / "a", patch=24, flips=False, rotations=False)[0]
    upright = np.rot90(pixels, -1)  # orientation 6: turned by 90 degrees, clockwise, to be seen
    assert (sample["gt"].numpy()[:, :24, :16] == upright.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_what_cannot_be_read_is_replaced_by_the_next_and_said(cache, folder, tmp_path):
    (folder / "1.png").write_bytes(b"no picture at all")
    (folder / "3.png").write_bytes(b"")
    data = crops(folder, cache=cache, cache_folder=tmp_path / "cache")
    order = [choose_picture(number, 5, 0) for number in range(5)]
    for number in range(5):
        sample = data[number]
        if order[number] in (1, 3):
            expected = next(order[(number + k) % 5] for k in range(5) if order[(number + k) % 5] not in (1, 3))
            assert sample["picture"] == expected
            assert f"{order[number]}.png: is" in sample["problem"].split("\n")[0]
        else:
            assert sample["picture"] == order[number]
            assert sample["problem"] == ""


def test_nothing_that_can_be_read_is_one_sentence(tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(100):
        (tmp_path / "a" / f"{number}.png").write_bytes(b"")
    with pytest.raises(PictureError, match=r"64 pictures in a row could not be read; the first: .*empty"):
        crops(tmp_path / "a")[0]


def test_a_pair_of_another_scale_is_replaced_and_said(tmp_path):
    for name in ("hr", "lr"):
        (tmp_path / name).mkdir()
    for number, factor in ((0, 4), (1, 2)):
        save(tmp_path / "hr" / f"{number}.png", ramp(32, 48))
        save(tmp_path / "lr" / f"{number}.png", ramp(32 // factor, 48 // factor))
    samples = [crops(tmp_path / "hr", lq=tmp_path / "lr", scale=4)[number] for number in range(2)]
    assert [sample["picture"] for sample in samples] == [0, 0]
    assert any("1.png: is 24x16, expected" in sample["problem"] for sample in samples)


def test_a_patch_off_the_grid_is_refused(folder):
    with pytest.raises(UsageError, match=r"data\.patch: expected a multiple of the scale, 4; found 18"):
        crops(folder, lq=folder, scale=4, patch=18)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_the_cache_changes_no_sample(cache, folder, tmp_path):
    plain = crops(folder)
    cached = crops(folder, cache=cache, cache_folder=tmp_path / "cache")
    for number in range(15):
        assert torch.equal(plain[number]["gt"], cached[number]["gt"])


def test_half_a_config_is_refused():
    with pytest.raises(ValueError, match="cache = disk needs cache_folder"):
        DataConfig(cache="disk")
    with pytest.raises(ValueError, match="lq: expected one place for each of the 2 places of ground truth, found 1"):
        DataConfig(train=(Path("a"), Path("b")), lq=(Path("c"),))
