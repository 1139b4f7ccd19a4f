"""Ranges against values worked out by hand: what each method keeps, where zero lies, how finely is rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tessera.deploy.calibrating import round_weight
from tessera.deploy.ranges import Quantizer, find_ranges, fit_quantizer


def test_max_keeps_every_value_and_always_zero():
    low, high = find_ranges(torch.tensor([[-1.0, 0.5, 3.0], [2.0, 4.0, 3.0], [-5.0, -2.0, -3.0]]), "max")
    assert low.tolist() == [-1, 0, -5]
    assert high.tolist() == [3, 4, 0]


def test_percentile_leaves_the_outermost_values_out():
    values = torch.arange(0, 1001, dtype=torch.float32)[None]  # 0, 1 ... 1000: the value at p percent is 10 p
    low, high = find_ranges(values, "percentile", percentile=99)
    assert (low.item(), high.item()) == (0, pytest.approx(990))  # zero is always kept
    low, high = find_ranges(values - 500, "percentile", percentile=99)
    assert (low.item(), high.item()) == (pytest.approx(-490), pytest.approx(490))


def test_mse_clips_one_far_value_and_keeps_an_even_spread_whole():
    even = torch.linspace(-1, 1, 4001)
    far = even.clone()
    far[0] = -3.0
    low, high = find_ranges(torch.stack([even, far]), "mse")
    assert (low[0].item(), high[0].item()) == (pytest.approx(-1), pytest.approx(1))
    expected = min(np.linspace(0.3, 1.0, 15), key=lambda share: squared_error(far.numpy(), -3 * share, share))
    assert low[1].item() == pytest.approx(-3 * expected)


def squared_error(values, low, high):
    step = (high - low) / 255
    return float(np.mean((np.round(np.clip(values, low, high) / step) * step - values) ** 2))


def test_kl_cuts_a_thin_tail_and_nothing_of_an_even_spread():
    rng = np.random.default_rng(0)
    even = torch.from_numpy(rng.uniform(0, 1, (1, 100_000)).astype(np.float32))
    tail = torch.from_numpy(np.concatenate([rng.normal(0, 0.05, 99_990), np.full(10, 1.0)]).astype(np.float32))[None]
    assert find_ranges(even, "kl")[1].item() > 0.98
    assert find_ranges(tail, "kl")[1].item() < 0.6


def test_zero_lies_where_the_values_are():
    def zero_of(low, high):
        return fit_quantizer(torch.tensor([low]), torch.tensor([high]), torch.ones(1)).zero

    assert zero_of(0.0, 1.0) == 0
    assert zero_of(-1.0, 1.0) == 128
    assert zero_of(-0.2, 1.0) == 43  # a leaky ReLU: a sixth of 255
    assert zero_of(-1.0, 0.0) == 255


def test_no_value_of_a_range_is_clipped_whatever_the_shared_zero_is():
    low, high = torch.tensor([-1.0, -0.1, 0.0]), torch.tensor([0.1, 1.0, 5.0])
    found = fit_quantizer(low, high, torch.ones(3))
    x = torch.stack([low, high], 1).reshape(1, 3, 2, 1)
    assert torch.allclose(found.fake_quantize(x), x, atol=float(found.scale.max()) / 2 * 1.01)
    assert found.quantize(torch.zeros(1, 3, 1, 1)).abs().max() == 0


def test_the_channel_that_is_heard_decides_about_zero():
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert fit_quantizer(low, high, torch.tensor([1000.0, 1e-6])).zero > 200
    assert fit_quantizer(low, high, torch.tensor([1e-6, 1000.0])).zero < 50


def test_whole_numbers_are_what_the_formula_says():
    found = Quantizer(np.array([0.5], np.float32), 10)
    x = torch.tensor([-100.0, -5.2, 0.0, 0.26, 3.0, 1000.0]).reshape(1, 1, 1, 6)
    assert found.quantize(x).flatten().tolist() == [-10, -10, 0, 1, 6, 245]
    assert found.fake_quantize(x).flatten().tolist() == [-5, -5, 0, 0.5, 3, 122.5]


def test_weights_have_a_scale_for_each_output_channel_or_one_for_all():
    weight = np.array([[1.0, 0.5], [0.01, -0.005]], np.float32).reshape(2, 2, 1, 1)
    number, scale = round_weight(weight, np.ones(2, np.float32))
    assert np.abs(number).max((1, 2, 3)).tolist() == [127, 127]
    assert np.allclose(number * scale[:, None, None, None], weight, rtol=0.01)
    number, scale = round_weight(weight, np.ones(2, np.float32), per_channel=False)
    assert scale[0] == scale[1]
    assert np.abs(number[1]).max() <= 2


def test_a_weight_that_reads_nothing_is_clipped_for_the_sake_of_the_others():
    rng = np.random.default_rng(0)
    weight = rng.uniform(-1, 1, (1, 64, 1, 1)).astype(np.float32)
    weight[0, 0] = 1.9
    silent = np.ones(64, np.float32)
    silent[0] = 0.0
    _, heard_scale = round_weight(weight, np.ones(64, np.float32))
    _, silent_scale = round_weight(weight, silent)
    assert silent_scale[0] < 0.7 * heard_scale[0]
