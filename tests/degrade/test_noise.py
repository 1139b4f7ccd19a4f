"""Noise has the moments that its draw says, and comes again from its seed."""

from typing import Literal

import numpy as np
import pytest
import torch
from scipy import stats

from tessera.degrade.noise import (
    Noise,
    NoiseDraw,
    add_noise,
    count_photons_at_white,
    draw_noise,
    draw_normal,
    draw_poisson,
)


def flat(level: float, side: int = 128) -> torch.Tensor:
    return torch.full((1, 3, side, side), level)


def noise_of(kind: Literal["gaussian", "poisson"], amount: float, *, gray: bool = False, seed: int = 1) -> NoiseDraw:
    return NoiseDraw(kind=kind, amounts=(amount,), gray=(gray,), seeds=(seed,))


def test_gaussian_noise_has_its_mean_its_deviation_and_its_shape():
    noise = (add_noise(flat(0.5, 256), noise_of("gaussian", 12.0)) - 0.5).numpy().ravel() * 255
    assert abs(noise.mean()) < 0.15
    assert noise.std() == pytest.approx(12, rel=0.01)
    assert stats.kstest(noise[:5000] / 12, "norm").pvalue > 1e-3


def test_normal_numbers_are_normal_and_independent_and_any_number_of_them():
    numbers = draw_normal(7, 400_003).double().numpy()
    assert numbers.shape == (400_003,)
    assert numbers.mean() == pytest.approx(0, abs=0.007)
    assert numbers.var() == pytest.approx(1, abs=0.01)
    assert stats.kurtosis(numbers) == pytest.approx(0, abs=0.04)
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    assert 4 < np.abs(numbers).max() < 4.5
    for apart in (1, 2, 3, 4, 400):
        assert abs(np.corrcoef(numbers[apart:], numbers[:-apart])[0, 1]) < 0.007
    assert abs(np.corrcoef(numbers, draw_normal(8, 400_003).numpy())[0, 1]) < 0.007


@pytest.mark.parametrize("count", [1, 2, 3, 64, 65, 128, 129, 200, 256])
def test_photons_are_the_next_power_of_two_wherever_the_levels_are(count):
    levels = torch.randint(0, 2, (50_000,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    levels = levels.clamp(max=count - 1)
    levels[-count:] = torch.arange(count, dtype=torch.int32)
    assert count_photons_at_white(levels) == 2 ** int(np.ceil(np.log2(count)))
    assert count_photons_at_white(torch.arange(50_000, dtype=torch.int32) % count) == 2 ** int(np.ceil(np.log2(count)))
    most_of_70 = torch.cat((torch.arange(50_000, dtype=torch.int32) % 70, levels[-count:]))
    assert count_photons_at_white(most_of_70) == 2 ** int(np.ceil(np.log2(max(count, 70))))


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_gray_noise_is_the_same_in_all_channels_and_colored_noise_is_not(kind):
    base = flat(0.5)
    gray = add_noise(base, noise_of(kind, 2.0, gray=True)) - base
    colored = add_noise(base, noise_of(kind, 2.0)) - base
    assert gray.std() > 0.001
    assert torch.equal(gray[0, 0], gray[0, 1])
    assert torch.equal(gray[0, 0], gray[0, 2])
    assert abs(np.corrcoef(colored[0, 0].ravel(), colored[0, 1].ravel())[0, 1]) < 0.05


def test_poisson_noise_varies_as_light_does_when_so_many_photons_are_counted():
    """A picture of 200 levels counts 256 photons at white: variance of level / 256, of mean zero."""
    picture = (torch.arange(3 * 200 * 200).view(1, 3, 200, 200) % 200 + 20) / 255
    noise = add_noise(picture, noise_of("poisson", 0.5)) - picture
    for level in (40, 120, 180):
        here = noise[(picture * 255).round() == level] / 0.5
        assert abs(float(here.mean())) < 0.01
        assert float(here.var()) == pytest.approx(level / 255 / 256, rel=0.15)


def test_few_levels_mean_few_photons():
    """5 levels count 8 photons."""
    picture = torch.full((1, 3, 90, 90), 100 / 255)
    for number, level in enumerate((50, 80, 150, 200)):
        picture[..., number] = level / 255
    noise = (add_noise(picture, noise_of("poisson", 0.2)) - picture)[..., 4:]
    assert float((noise / 0.2).var()) == pytest.approx(100 / 255 / 8, rel=0.1)


@pytest.mark.parametrize(
    ("level", "photons"), [(0, 256), (1, 64), (3, 256), (100, 8), (255, 1), (128, 256), (255, 256)]
)
def test_counts_are_distributed_as_scipy_says(level, photons):
    many = 60_000
    chance = torch.empty(many, dtype=torch.int32).random_(generator=torch.Generator().manual_seed(3))
    counts = draw_poisson(torch.full((many,), level, dtype=torch.int32), chance, photons).numpy()
    rate = level / 255 * photons
    exact = stats.poisson.ppf((chance.double().numpy() + 0.5) / 2**31, rate) if rate else np.zeros(many)
    np.testing.assert_array_equal(counts, exact)


def test_the_ends_of_chance_give_the_ends_of_the_distribution():
    ends = torch.tensor([0, 2**31 - 1], dtype=torch.int32)
    low, high = draw_poisson(torch.full((2,), 255, dtype=torch.int32), ends, 256).tolist()
    assert 150 < low < 170
    assert 350 < high < 380


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_the_same_seed_gives_the_same_noise_and_another_seed_another(kind):
    base = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    kept = base.clone()
    state = torch.get_rng_state()
    first = add_noise(base, noise_of(kind, 3.0, seed=5))
    assert torch.equal(first, add_noise(base, noise_of(kind, 3.0, seed=5)))
    assert not torch.equal(first, add_noise(base, noise_of(kind, 3.0, seed=6)))
    assert torch.equal(base, kept)
    assert torch.equal(state, torch.get_rng_state())
    assert 0 <= float(first.min()) <= float(first.max()) <= 1


def test_noise_can_be_left_out():
    assert draw_noise(Noise(probability=0), 4, np.random.default_rng(0)) is None
