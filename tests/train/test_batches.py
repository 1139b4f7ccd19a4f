"""Batches: degraded with numbered chance, cut from one place, sharpened where asked."""

import torch
from torch.nn import functional as F

from tessera.degrade import sharpen
from tessera.images.resize import resize
from tessera.train.batches import crop_pair, prepare_batch
from tessera.train.pool import PairPool
from tessera.train.recipe import Recipe, load_recipe


def recipe(name: str, *changes: str) -> Recipe:
    return load_recipe(name, ["data.train=x", "data.patch=32", "data.batch=2", "pool=0", *changes])


def crops(side: int, seed: int = 0) -> torch.Tensor:
    noise = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return (F.avg_pool2d(F.pad(noise, (2, 2, 2, 2), mode="reflect"), 5, 1) * 255).round() / 255


def test_the_same_number_gives_the_same_batch_and_another_one_another():
    wanted = recipe("realesrnet")
    gt = crops(wanted.read_patch)
    one, same, other, process = (
        prepare_batch(wanted, gt, None, PairPool(0), number, process)
        for number, process in ((4, 0), (4, 0), (5, 0), (4, 1))
    )
    assert torch.equal(one.lq, same.lq)
    assert torch.equal(one.gt, same.gt)
    assert not torch.equal(one.lq, other.lq)
    assert not torch.equal(one.lq, process.lq)
    assert one.lq.shape == (2, 3, 8, 8)
    assert one.gt.shape == (2, 3, 32, 32)


def test_a_margin_makes_inputs_as_the_whole_picture_would():
    wanted = recipe("rrdb-psnr")
    gt = crops(wanted.read_patch)
    batch = prepare_batch(wanted, gt, None, PairPool(0), 0, 0)
    whole = (resize(gt, scale=1 / 4).clamp(0, 1) * 255).round() / 255
    assert torch.equal(batch.lq, whole[..., 4:12, 4:12])
    assert torch.equal(batch.gt, gt[..., 16:48, 16:48])


def test_cut_places_belong_together():
    gt = torch.arange(64.0 * 64).view(1, 1, 64, 64)
    lq = gt[..., ::4, ::4]
    small, large = crop_pair(lq, gt, top=3, left=5, patch=32, scale=4)
    assert torch.equal(large[..., ::4, ::4], small)


def test_pairs_are_taken_as_they_are():
    wanted = recipe("finetune-pairs", "data.lq=y")
    gt, lq = crops(32), crops(8, 1)
    batch = prepare_batch(wanted, gt, lq, PairPool(0), 0, 0)
    assert torch.equal(batch.lq, lq)
    assert torch.equal(batch.gt, gt)
    assert batch.sharp is not None
    assert torch.equal(batch.sharp, sharpen(gt))


def test_real_esrgan_keeps_the_truth_and_real_esrnet_sharpens_it_before_the_cut():
    gan, net = recipe("realesrgan"), recipe("realesrnet")
    gt = crops(gan.read_patch)
    plain, sharpened = (prepare_batch(each, gt, None, PairPool(0), 7, 0) for each in (gan, net))
    assert plain.sharp is not None
    assert torch.equal(plain.sharp, sharpen(plain.gt))
    assert sharpened.sharp is None
    assert torch.equal(plain.lq, sharpened.lq)
    whole = sharpen(gt)
    places = [
        (top, left)
        for top in range(0, 145, 4)
        for left in range(0, 145, 4)
        if torch.equal(whole[..., top : top + 32, left : left + 32], sharpened.gt)
    ]
    assert len(places) == 1
    top, left = places[0]
    assert torch.equal(plain.gt, gt[..., top : top + 32, left : left + 32])


def test_noise_on_inputs_is_added_when_asked():
    plain, noisy = (recipe("rrdb-psnr", f"tricks.lq_noise={deviation}") for deviation in (0, 0.1))
    gt = crops(64)
    one, other = (prepare_batch(each, gt, None, PairPool(0), 3, 0) for each in (plain, noisy))
    assert torch.equal(one.gt, other.gt)
    assert 0.05 < float((one.lq - other.lq).std()) < 0.15
