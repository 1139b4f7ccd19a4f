"""What is drawn is distributed as published, and what was drawn is what happens."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from tessera.degrade import (
    Area,
    BatchDraw,
    Cv2Cubic,
    Degradation,
    MatlabBicubic,
    PilBicubic,
    RealESRGANDegradation,
    apply,
    draw,
    from_json,
    sharpen,
    to_json,
)
from tessera.degrade.blur import GAUSSIAN_KINDS
from tessera.degrade.realesrgan import RealESRGANDraw, StageDraw, select_picture
from tessera.errors import UsageError
from tessera.images.resize import resize

UNLIKELY = 1e-3


def drawn(seed: int = 0, *, config: Degradation | None = None, pictures: int = 2, side: int = 64) -> BatchDraw:
    chosen = RealESRGANDegradation() if config is None else config
    return draw(chosen, pictures=pictures, height=side, width=side + 13, scale=4, rng=np.random.default_rng(seed))


def pictures_for(record: BatchDraw) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(record.height), torch.arange(record.width), indexing="ij")
    waves = [0.5 + 0.4 * torch.sin(x / (4.0 + n) + y / 7.0) for n in range(3 * record.pictures)]
    return torch.stack(waves).view(record.pictures, 3, record.height, record.width)


@pytest.fixture(scope="module")
def batches() -> list[RealESRGANDraw]:
    """3000 batches of two pictures."""
    rng = np.random.default_rng(2021)
    config = RealESRGANDegradation()
    made = [draw(config, pictures=2, height=400, width=400, scale=4, rng=rng) for _ in range(3000)]
    return [each for each in made if isinstance(each, RealESRGANDraw)]


def stages(batches: list[RealESRGANDraw], which: str) -> list[StageDraw]:
    return [getattr(each, which) for each in batches]


def is_uniform(values: list[float], low: float, high: float) -> None:
    assert len(values) > 100
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > UNLIKELY


def occurs(count: int, total: int, probability: float) -> None:
    assert stats.binomtest(count, total, probability).pvalue > UNLIKELY


@pytest.mark.parametrize(
    ("which", "up", "down", "low", "high"), [("first", 0.2, 0.7, 0.15, 1.5), ("second", 0.3, 0.4, 0.3, 1.2)]
)
def test_batches_are_resized_as_often_and_as_far_as_published(batches, which, up, down, low, high):
    factors = [stage.resize.factor for stage in stages(batches, which)]
    for found, probability in (
        (sum(factor > 1 for factor in factors), up),
        (sum(factor < 1 for factor in factors), down),
    ):
        occurs(found, len(factors), probability)
    is_uniform([factor for factor in factors if factor > 1], 1, high)
    is_uniform([factor for factor in factors if factor < 1], low, 1)
    modes = [stage.resize.mode for stage in stages(batches, which)]
    assert stats.chisquare([modes.count(mode) for mode in ("area", "bilinear", "bicubic")]).pvalue > UNLIKELY


@pytest.mark.parametrize(("which", "sigma", "scale"), [("first", 30, 3), ("second", 25, 2.5)])
def test_noise_is_as_published(batches, which, sigma, scale):
    noises = [stage.noise for stage in stages(batches, which) if stage.noise is not None]
    assert len(noises) == len(batches)
    gaussian = [noise for noise in noises if noise.kind == "gaussian"]
    occurs(len(gaussian), len(noises), 0.5)
    is_uniform([amount for noise in gaussian for amount in noise.amounts], 1, sigma)
    is_uniform([amount for noise in noises if noise.kind == "poisson" for amount in noise.amounts], 0.05, scale)
    occurs(sum(sum(noise.gray) for noise in noises), 2 * len(noises), 0.4)
    seeds = [seed for noise in noises for seed in noise.seeds]
    assert len(set(seeds)) > 0.999 * len(seeds)
    is_uniform([float(seed) for seed in seeds], 0, 2**32)


@pytest.mark.parametrize("which", ["first", "second"])
def test_jpeg_quality_is_as_published(batches, which):
    is_uniform([quality for stage in stages(batches, which) for quality in stage.qualities or ()], 30, 95)


@pytest.mark.parametrize(("which", "blurred", "sigma"), [("first", 1.0, 3.0), ("second", 0.8, 1.5)])
def test_kernels_are_as_published(batches, which, blurred, sigma):
    with_blur = [stage.kernels for stage in stages(batches, which) if stage.kernels is not None]
    occurs(len(with_blur), len(batches), blurred)
    kernels = [kernel for pair in with_blur for kernel in pair]
    sizes = [kernel.size for kernel in kernels]
    assert stats.chisquare([sizes.count(size) for size in range(7, 22, 2)]).pvalue > UNLIKELY
    sincs = [kernel for kernel in kernels if kernel.kind == "sinc"]
    occurs(len(sincs), len(kernels), 0.1)
    is_uniform([kernel.cutoff for kernel in sincs if kernel.size < 13], math.pi / 3, math.pi)
    is_uniform([kernel.cutoff for kernel in sincs if kernel.size >= 13], math.pi / 5, math.pi)

    gaussians = [kernel for kernel in kernels if kernel.kind != "sinc"]
    counts = [sum(kernel.kind == kind for kernel in gaussians) for kind in GAUSSIAN_KINDS]
    published = np.array([0.45, 0.25, 0.12, 0.03, 0.12, 0.03]) * len(gaussians)
    assert stats.chisquare(counts, published).pvalue > UNLIKELY
    is_uniform([kernel.sigma_x for kernel in gaussians], 0.2, sigma)
    leaning = [kernel for kernel in gaussians if kernel.kind.endswith("aniso")]
    is_uniform([kernel.sigma_y for kernel in leaning], 0.2, sigma)
    is_uniform([kernel.theta for kernel in leaning], -math.pi, math.pi)
    assert all(kernel.sigma_y == kernel.sigma_x for kernel in gaussians if not kernel.kind.endswith("aniso"))
    general = [kernel.beta for kernel in gaussians if kernel.kind.startswith("generalized")]
    occurs(sum(beta < 1 for beta in general), len(general), 0.5)
    is_uniform([beta for beta in general if beta < 1], 0.5, 1)
    is_uniform([beta for beta in general if beta > 1], 1, 4)
    plateau = [kernel.beta for kernel in gaussians if kernel.kind.startswith("plateau")]
    occurs(sum(beta == 1 for beta in plateau), len(plateau), 0.5)
    is_uniform([beta for beta in plateau if beta > 1], 1, 2)


def test_the_end_is_as_published(batches):
    kernels = [kernel for each in batches for kernel in each.final.kernels]
    sincs = [kernel for kernel in kernels if kernel.kind == "sinc"]
    occurs(len(sincs), len(kernels), 0.8)
    is_uniform([kernel.cutoff for kernel in sincs], math.pi / 3, math.pi)
    assert {kernel.size for kernel in sincs} == set(range(7, 22, 2))
    assert {kernel.kind for kernel in kernels} == {"sinc", "pulse"}
    occurs(sum(each.final.before_jpeg for each in batches), len(batches), 0.5)
    modes = [each.final.mode for each in batches]
    assert stats.chisquare([modes.count(mode) for mode in ("area", "bilinear", "bicubic")]).pvalue > UNLIKELY


def test_a_draw_comes_back_from_json_and_gives_the_same_bits():
    for seed in range(5):
        record = drawn(seed)
        again = from_json(to_json(record))
        assert again == record
        gt = pictures_for(record)
        one, other = apply(gt, record), apply(gt, again)
        assert torch.equal(one.lq, other.lq)
        assert one.gt_sharp is not None
        assert other.gt_sharp is not None
        assert torch.equal(one.gt_sharp, other.gt_sharp)


def test_another_seed_gives_another_picture():
    gt = pictures_for(drawn(0))
    assert not torch.equal(apply(gt, drawn(0)).lq, apply(gt, drawn(1)).lq)


def test_a_picture_comes_out_the_same_with_and_without_the_others():
    record = drawn(3, pictures=3)
    assert isinstance(record, RealESRGANDraw)
    gt = pictures_for(record)
    together = apply(gt, record).lq
    for number in range(3):
        assert torch.equal(apply(gt[number : number + 1], select_picture(record, number)).lq[0], together[number])


def test_the_number_of_threads_changes_nothing_and_stays():
    record = drawn(3, pictures=3)
    gt = pictures_for(record)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(apply(gt, record).lq)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


def numpy_state() -> np.ndarray:
    state: Any = np.random.get_state()
    return state[1].copy()


def test_applying_touches_neither_its_input_nor_any_chance_but_its_own():
    record = drawn(4)
    gt = pictures_for(record)
    kept, state, of_numpy = gt.clone(), torch.get_rng_state(), numpy_state()
    apply(gt, record)
    assert torch.equal(gt, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert (numpy_state() == of_numpy).all()


@pytest.mark.parametrize("seed", range(12))
def test_any_size_becomes_levels_of_the_small_size(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(32, 90, 2))
    record = draw(RealESRGANDegradation(), pictures=1, height=height, width=width, scale=(2, 4, 3)[seed % 3], rng=rng)
    lq = apply(pictures_for(record), record).lq
    assert lq.shape == (1, 3, height // record.scale, width // record.scale)
    assert 0 <= float(lq.min()) <= float(lq.max()) <= 1
    torch.testing.assert_close(lq * 255, (lq * 255).round(), atol=1e-4, rtol=0)


def test_where_nothing_is_drawn_only_the_resizing_is_left():
    nothing = {"blur": {"probability": 0}, "noise": {"probability": 0}, "jpeg": {"probability": 0}}
    config = RealESRGANDegradation.model_validate(
        {
            "sharpen": False,
            "first": {**nothing, "resize": {"up": 0, "down": 0, "keep": 1}},
            "second": {**nothing, "resize": {"up": 0, "down": 0, "keep": 1, "modes": ["bicubic"]}},
            "final": {"sinc_probability": 0},
        }
    )
    record = draw(config, pictures=1, height=64, width=80, scale=4, rng=np.random.default_rng(0))
    gt = pictures_for(record)
    made = apply(gt, record)
    assert made.gt_sharp is None
    expected = F.interpolate(gt, size=(16, 20), mode="bicubic")
    torch.testing.assert_close(made.lq, (expected * 255).round().clamp(0, 255) / 255, atol=1e-6, rtol=0)


def test_the_sharpened_reference_is_handed_out():
    record = drawn(1)
    gt = pictures_for(record)
    torch.testing.assert_close(apply(gt, record).gt_sharp, sharpen(gt), atol=1e-6, rtol=0)


def test_the_second_stage_keeps_its_own_defaults_when_one_number_is_changed():
    config = RealESRGANDegradation.model_validate({"second": {"noise": {"sigma_255": [2, 9]}}})
    assert config.second.noise.sigma_255 == (2, 9)
    assert config.second.noise.poisson_scale == (0.05, 2.5)
    assert config.second.blur.sigma == (0.2, 1.5)
    assert config.second.resize.up == 0.3


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": {"noise": {"sigma_255": [9, 2]}}},
        {"first": {"blur": {"sizes": [8]}}},
        {"first": {"blur": {"shares": {"iso": 0.9}}}},
        {"first": {"resize": {"up": 0.9}}},
        {"second": {"jpeg": {"quality": [30, 100]}}},
        {"final": {"sinc_probability": 1.5}},
        {"noise": 1},
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(Degradation).validate_python({"kind": "realesrgan", **wrong})


def test_wrong_calls_say_what_was_expected():
    record = drawn(0)
    with pytest.raises(UsageError, match=r"\(2, 3, 64, 77\), found \(1, 3, 64, 64\)"):
        apply(torch.zeros(1, 3, 64, 64), record)
    with pytest.raises(UsageError, match="floating-point"):
        apply(torch.zeros(2, 3, 64, 77, dtype=torch.uint8), record)
    with pytest.raises(UsageError, match="at least 32"):
        drawn(side=16)
    with pytest.raises(UsageError, match="1 or more"):
        drawn(pictures=0)
    with pytest.raises(UsageError, match="not a draw"):
        from_json("{}")
    damaged = json.loads(to_json(record))
    del damaged["first"]
    with pytest.raises(UsageError, match="first"):
        from_json(json.dumps(damaged))


def test_matlab_bicubic_is_the_resize_of_that_name_in_whole_levels():
    record = drawn(config=MatlabBicubic(), pictures=1)
    gt = pictures_for(record)
    lq = apply(gt, record).lq
    expected = resize(gt[..., :76].double(), scale=0.25)
    torch.testing.assert_close(lq.double(), (expected * 255).round().clamp(0, 255) / 255, atol=1e-6, rtol=0)


def test_pil_bicubic_is_pillows():
    record = drawn(config=PilBicubic(), pictures=1)
    levels = np.random.default_rng(0).integers(0, 256, (record.height, record.width, 3), np.uint8)
    gt = torch.from_numpy(levels.transpose(2, 0, 1).copy())[None].float() / 255
    lq = (apply(gt, record).lq[0].permute(1, 2, 0) * 255).round().numpy()
    expected = np.asarray(Image.fromarray(levels[:, :76]).resize((19, 16), Image.Resampling.BICUBIC))
    assert np.abs(lq - expected).max() <= 1
    assert (lq == expected).mean() > 0.99


def test_cv2_cubic_takes_four_pixels_with_three_quarters_and_no_more():
    """An output pixel lies between inputs 1 and 2 of four; OpenCV's cubic there is -3, 19, 19, -3 in 32nds."""
    record = drawn(config=Cv2Cubic(), pictures=1)
    gt = pictures_for(record)[..., :76]
    taps = torch.tensor([-3.0, 19.0, 19.0, -3.0]) / 32
    expected = F.conv2d(gt[0, :, None], torch.outer(taps, taps)[None, None], stride=4)[:, 0]
    lq = apply(pictures_for(record), record).lq[0]
    torch.testing.assert_close(lq, (expected * 255).round().clamp(0, 255) / 255, atol=1 / 255 + 1e-6, rtol=0)
    assert float((lq - expected).abs().mean()) < 0.3 / 255


def test_area_is_the_mean():
    record = drawn(config=Area(), pictures=1)
    gt = pictures_for(record)
    expected = gt[..., :76].reshape(1, 3, 16, 4, 19, 4).mean(dim=(3, 5))
    torch.testing.assert_close(apply(gt, record).lq, expected, atol=0.51 / 255, rtol=0)


def test_a_draw_cannot_be_changed():
    record: Any = drawn(0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.scale = 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device can be used by this PyTorch")
def test_the_gpu_makes_the_same_pictures():
    for seed in range(6):
        record = drawn(seed, pictures=4, side=200)
        gt = pictures_for(record)
        here, there = apply(gt, record), apply(gt.cuda(), record)
        assert there.gt_sharp is not None
        torch.testing.assert_close(there.gt_sharp.cpu(), here.gt_sharp, atol=2e-3, rtol=0)
        apart = (there.lq.cpu() - here.lq).abs() * 255
        assert float((apart > 1.5).float().mean()) < 0.02
        assert float(apart.mean()) < 0.2
