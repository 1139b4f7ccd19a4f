"""The watch: each way of going wrong is seen, said once, and not seen where all is well."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tessera.images.resize import resize
from tessera.train.monitor import MonitorConfig, NonFiniteGuard, StepStatistics, TrainingMonitor, measure_batch

WINDOW = 6
HEALTHY = StepStatistics(
    real_prediction=0.62, fake_prediction=0.41, color_shift_255=(0.4, -0.3, 0.2), likeness=0.08, added_detail=0.7
)
WRONG = {
    "mean color of the outputs has drifted": {"color_shift_255": (0.4, -3.6, 0.2)},
    "discriminator has won": {"real_prediction": 0.993, "fake_prediction": 0.008},
    "its mean prediction is 0.999": {
        "real_prediction": 0.9994,
        "fake_prediction": 0.9991,
    },
    "its mean prediction is 0.002": {
        "real_prediction": 0.0021,
        "fake_prediction": 0.0023,
    },
    "nearly the same pattern to every picture": {"likeness": 0.96},
    "only copies its input": {"added_detail": 0.004},
}


def detectors(*, adversarial: bool = True) -> TrainingMonitor:
    return TrainingMonitor(MonitorConfig(window=WINDOW), adversarial=adversarial)


def said(watch: TrainingMonitor, statistics: StepStatistics, times: int) -> list[list[str]]:
    return [watch.update(statistics) for _ in range(times)]


def wrong(words: str) -> StepStatistics:
    return dataclasses.replace(HEALTHY, **WRONG[words])


# --------------------------------------------------------------------------------------------------------- detectors


@pytest.mark.parametrize("words", WRONG)
def test_what_goes_wrong_is_said_once_after_it_has_lasted_for_a_window(words):
    display = said(detectors(), wrong(words), 4 * WINDOW)
    assert [len(sentences) for sentences in display] == [0] * (WINDOW - 1) + [1] + [0] * 3 * WINDOW
    assert words in display[WINDOW - 1][0]


@pytest.mark.parametrize("words", WRONG)
def test_it_is_said_again_after_it_has_been_right_for_a_window(words):
    watch = detectors()
    said(watch, wrong(words), WINDOW)
    assert not any(said(watch, HEALTHY, 3 * WINDOW))
    again = [sentence for sentences in said(watch, wrong(words), 2 * WINDOW) for sentence in sentences]
    assert len(again) == 1
    assert words in again[0]


def test_what_comes_and_goes_near_its_limit_is_said_once():
    watch = detectors()
    below, above = (dataclasses.replace(HEALTHY, color_shift_255=(shift, 0.0, 0.0)) for shift in (2.9, 3.15))
    display = said(watch, above, WINDOW)
    for _ in range(20):  # the mean of a window lies now on this side of 3, now on that
        display += said(watch, below, WINDOW // 2 + 1) + said(watch, above, WINDOW // 2 + 1)
    assert sum(map(len, display)) == 1


def test_nothing_is_said_while_all_is_well():
    assert not any(said(detectors(), HEALTHY, 10 * WINDOW))


def test_one_bad_step_among_good_ones_is_not_said():
    watch = detectors()
    for words in WRONG:
        said(watch, HEALTHY, WINDOW)
        assert not any(said(watch, wrong(words), 1) + said(watch, HEALTHY, WINDOW)), words


@pytest.mark.parametrize(
    "changes",
    [
        {"real_prediction": 0.99, "fake_prediction": 0.5},  # sure of the real ones only
        {"real_prediction": 0.502, "fake_prediction": 0.5},  # can hardly tell: where the contest should end
        {"likeness": 0.85},
        {"added_detail": 0.05},
        {"color_shift_255": (2.9, -2.9, 2.9)},
        {"likeness": math.nan},  # one picture a batch
        {"added_detail": math.nan},  # flat truths
    ],
    ids=str,
)
def test_what_is_only_near_a_limit_is_not_said(changes):
    assert not any(said(detectors(), dataclasses.replace(HEALTHY, **changes), 3 * WINDOW))


def test_two_things_that_go_wrong_are_both_said():
    both = dataclasses.replace(HEALTHY, likeness=0.99, color_shift_255=(9.0, 9.0, 9.0))
    assert len(said(detectors(), both, WINDOW)[-1]) == 2


def test_the_drift_is_told_in_numbers_with_their_signs():
    (sentence,) = said(detectors(), dataclasses.replace(HEALTHY, color_shift_255=(3.21, -0.04, -5.0)), WINDOW)[-1]
    assert "+3.2, -0.0, -5.0 levels" in sentence


def test_without_an_adversarial_loss_only_colors_are_watched():
    watch = detectors(adversarial=False)
    everything = dataclasses.replace(
        HEALTHY,
        real_prediction=1.0,
        fake_prediction=0.0,
        likeness=1.0,
        added_detail=0.0,
        color_shift_255=(9.0, 0.0, 0.0),
    )
    (sentences,) = [found for found in said(watch, everything, 3 * WINDOW) if found]
    assert len(sentences) == 1
    assert "color" in sentences[0]


def test_a_discriminator_that_has_just_begun_is_not_judged_by_its_first_steps():
    watch = detectors()
    said(watch, dataclasses.replace(HEALTHY, real_prediction=math.nan, fake_prediction=math.nan), 2 * WINDOW)
    display = said(watch, wrong("discriminator has won"), WINDOW)
    assert [bool(sentences) for sentences in display] == [False, False, True, False, False, False]


# ------------------------------------------------------------------------------------------------------ measure_batch


def photographs(pictures: int = 4, side: int = 128, *, seed: int = 0) -> Tensor:
    """Pictures whose spectrum falls as 1 / f, as photographs' do."""
    rng = np.random.default_rng(seed)
    fy, fx = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    weight = 1 / np.maximum(np.hypot(fy, fx), 1 / side)
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(pictures, 3, side, side))) * weight).real
    noise = noise / noise.std(axis=(1, 2, 3), keepdims=True)
    return torch.from_numpy(0.5 + 0.12 * noise).float().clamp(0, 1)


def pair(scale: int = 4, **more) -> tuple[Tensor, Tensor]:
    gt = photographs(**more)
    return resize(gt, scale=1 / scale).clamp(0, 1), gt


def bicubic(lq: Tensor, scale: int = 4) -> Tensor:
    return F.interpolate(lq, scale_factor=scale, mode="bicubic", align_corners=False)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_truth_itself_looks_healthy(scale):
    lq, gt = pair(scale, side=120)
    statistics = measure_batch(lq, gt, gt)
    assert statistics.added_detail == pytest.approx(1)
    assert abs(statistics.likeness) < 0.2
    assert max(map(abs, statistics.color_shift_255)) < 0.3
    statistics = dataclasses.replace(statistics, real_prediction=0.6, fake_prediction=0.4)
    assert not any(said(detectors(), statistics, WINDOW))


def test_a_generator_that_enlarges_as_bicubic_does_is_seen_to_copy():
    lq, gt = pair()
    statistics = measure_batch(lq, bicubic(lq), gt)
    assert statistics.added_detail == pytest.approx(0, abs=1e-6)
    display = said(detectors(), dataclasses.replace(statistics, real_prediction=0.6, fake_prediction=0.4), WINDOW)[-1]
    assert ["copies" in sentence for sentence in display] == [True]


def test_half_of_the_detail_is_a_quarter_of_its_energy():
    lq, gt = pair()
    base = bicubic(lq)
    assert measure_batch(lq, base + (gt - base) / 2, gt).added_detail == pytest.approx(0.25)


def test_one_pattern_on_every_picture_is_seen():
    lq, gt = pair()
    pattern = 0.05 * torch.sin(torch.arange(128.0)).expand(1, 3, 128, 128)
    statistics = measure_batch(lq, bicubic(lq) + pattern, gt)
    assert statistics.likeness == pytest.approx(1, abs=1e-4)
    display = said(detectors(), dataclasses.replace(statistics, real_prediction=0.6, fake_prediction=0.4), WINDOW)[-1]
    assert ["same pattern" in sentence for sentence in display] == [True]


def test_the_likeness_is_the_mean_correlation_of_all_pairs():
    lq, gt = pair()
    shared = photographs(1, seed=9)
    sr = gt + 0.3 * shared
    added = (sr - bicubic(lq))[..., 32:96, 32:96].flatten(1).numpy()
    matrix = np.corrcoef(added)
    wanted = matrix[np.triu_indices(4, 1)].mean()
    assert 0.1 < wanted < 0.99
    assert measure_batch(lq, sr, gt).likeness == pytest.approx(wanted, abs=1e-4)


def test_a_shift_of_color_is_measured_in_levels_of_each_channel():
    lq, gt = pair()
    shifted = gt + torch.tensor([6.0, 0.0, -3.0]).view(1, 3, 1, 1) / 255
    before, after = (np.array(measure_batch(lq, sr, gt).color_shift_255) for sr in (gt, shifted))
    np.testing.assert_allclose(after - before, [6, 0, -3], atol=1e-3)
    display = said(detectors(), measure_batch(lq, shifted, gt), WINDOW)[-1]
    assert "color" in display[0]


def test_colors_are_compared_with_the_inputs_and_not_with_the_truth():
    lq, gt = pair()
    darker = measure_batch(lq - 4 / 255, gt, gt).color_shift_255
    np.testing.assert_allclose(np.array(darker) - measure_batch(lq, gt, gt).color_shift_255, 4, atol=1e-3)


def test_one_picture_has_no_likeness_and_a_flat_truth_no_detail():
    lq, gt = pair(pictures=1)
    assert math.isnan(measure_batch(lq, gt, gt).likeness)
    flat = torch.full((2, 3, 64, 64), 0.5)
    statistics = measure_batch(flat[..., :16, :16], flat, flat)
    assert math.isnan(statistics.added_detail)
    assert statistics.likeness == 0


def test_crops_smaller_than_the_window_and_gray_ones_can_be_looked_at():
    lq, gt = pair(side=24)
    statistics = measure_batch(lq[:, :1], gt[:, :1], gt[:, :1])
    assert statistics.added_detail == pytest.approx(1)
    assert len(statistics.color_shift_255) == 1


def test_maps_leaves_no_graph_behind():
    lq, gt = pair()
    sr = gt.clone().requires_grad_(True)
    measure_batch(lq, sr, gt)
    assert sr.grad is None
    assert all(
        isinstance(value, float)
        for value in (measure_batch(lq, sr, gt).likeness, measure_batch(lq, sr, gt).added_detail)
    )


# --------------------------------------------------------------------------------------------------------- guard


def mean_predictions(guard: NonFiniteGuard, steps: str) -> list[str]:
    """`.` is a step whose numbers are finite, `x` one whose numbers are not."""
    return [guard.decide(finite=step == ".") for step in steps]


def test_bad_steps_are_skipped_then_the_run_goes_back_then_it_stops():
    guard = NonFiniteGuard(MonitorConfig(skips=2, roll_backs=2))
    assert mean_predictions(guard, "xxx" * 3) == [
        *("skip", "skip", "roll back"),
        *("skip", "skip", "roll back"),
        *("skip", "skip", "stop"),
    ]


def test_a_good_step_in_between_begins_the_count_again():
    guard = NonFiniteGuard(MonitorConfig(skips=2, roll_backs=0))
    assert mean_predictions(guard, "xx.xx.xx") == ["skip", "skip", "continue"] * 2 + ["skip", "skip"]
    assert mean_predictions(guard, "x") == ["stop"]


def test_without_patience_the_first_bad_step_ends_the_run():
    assert mean_predictions(NonFiniteGuard(MonitorConfig(skips=0, roll_backs=0)), ".x") == ["continue", "stop"]


def test_each_going_back_lowers_the_rates_and_skipping_does_not():
    guard = NonFiniteGuard(MonitorConfig(skips=1, roll_backs=3, rate_factor=0.5))
    rates = []
    for step in "x.xx.xx.":
        guard.decide(finite=step == ".")
        rates.append(guard.rate)
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_roll_backs_are_forgiven_after_a_long_while_and_the_rate_stays_low():
    guard = NonFiniteGuard(MonitorConfig(skips=0, roll_backs=1, forgiven_after=3))
    assert mean_predictions(guard, "x...x") == ["roll back", "continue", "continue", "continue", "roll back"]
    assert guard.rate == 0.25
    assert mean_predictions(guard, "..x") == ["continue", "continue", "stop"]


def test_soundness_comes_back_from_its_facts():
    guard = NonFiniteGuard(MonitorConfig(skips=1))
    mean_predictions(guard, "xx.x")
    assert NonFiniteGuard(MonitorConfig(skips=1), **json.loads(json.dumps(guard.facts))) == guard


def test_colors_that_come_nearer_are_those_of_a_beginning():
    watch = detectors()
    for shift in (90, 70, 50, 30, 20, 10):
        assert not watch.update(dataclasses.replace(HEALTHY, color_shift_255=(shift, 0.0, 0.0)))
