"""Each trick does what its name says."""

import numpy as np
import pytest
import torch

from tessera.train.seeding import derive_rng
from tessera.train.tricks import (
    TricksConfig,
    add_noise,
    discriminator_targets,
    generator_targets,
    instance_noise_deviation,
)


def rng(number: int = 0) -> np.random.Generator:
    return derive_rng(3, "labels", number)


def test_without_tricks_real_is_one_and_fake_is_zero():
    targets = discriminator_targets(TricksConfig(), 4, rng())
    assert (targets.real, targets.fake) == (1.0, 0.0)
    assert (generator_targets(TricksConfig()).real, generator_targets(TricksConfig()).fake) == (1.0, 0.0)


def test_smoothing_is_one_sided_and_the_generators_labels_stay():
    tricks = TricksConfig(one_sided_label_smoothing=True)
    targets = discriminator_targets(tricks, 4, rng())
    assert (targets.real, targets.fake) == (0.9, 0.0)
    assert generator_targets(tricks).real == 1.0


def test_flipped_labels_are_flipped_for_both():
    tricks = TricksConfig(flip_labels=True, one_sided_label_smoothing=True)
    targets = discriminator_targets(tricks, 4, rng())
    assert (targets.real, targets.fake) == (0.0, 0.9)
    assert (generator_targets(tricks).real, generator_targets(tricks).fake) == (0.0, 1.0)


def test_noisy_labels_are_drawn_for_each_picture_and_stay_in_bounds():
    targets = discriminator_targets(TricksConfig(noisy_labels=True), 4000, rng())
    real, fake = targets.real, targets.fake
    assert isinstance(real, torch.Tensor)
    assert isinstance(fake, torch.Tensor)
    assert real.shape == fake.shape == (4000, 1, 1, 1)
    assert float(real.max()) <= 1
    assert float(fake.min()) >= 0
    # half of them are cut off at the bound; the others are half a Gaussian of deviation 0.05
    assert float((real == 1).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float((1 - real)[real < 1].square().mean().sqrt()) == pytest.approx(0.05, rel=0.05)
    assert float(torch.corrcoef(torch.stack([real.flatten(), fake.flatten()]))[0, 1]) == pytest.approx(0, abs=0.05)


def test_noisy_labels_with_smoothing_lie_around_nine_tenths():
    tricks = TricksConfig(noisy_labels=True, one_sided_label_smoothing=True)
    real = discriminator_targets(tricks, 4000, rng()).real
    assert isinstance(real, torch.Tensor)
    assert float(real.mean()) == pytest.approx(0.9, abs=0.005)


def test_instance_noise_fades_so_that_its_variance_falls_linearly():
    variances = [instance_noise_deviation(step, 1000) ** 2 for step in (0, 250, 500, 750, 1000)]
    assert variances == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    pictures = torch.full((2, 3, 64, 64), 0.5)
    added = add_noise(pictures, 0.5, derive_rng(0, "noise", 1)) - pictures
    assert float(added.mean()) == pytest.approx(0, abs=0.01)  # esrdgan's own was uniform, in [0, 1)
    assert float(added.std()) == pytest.approx(0.5, rel=0.02)
    assert add_noise(pictures, 0.0, derive_rng(0, "noise", 1)) is pictures


def test_the_same_number_gives_the_same_noise_and_another_one_other_noise():
    pictures = torch.zeros(1, 3, 8, 8)
    one, same, other = (add_noise(pictures, 1.0, derive_rng(0, "noise", number)) for number in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"purpose": "crop"}, {"number": 1}, {"process": 1}])
def test_every_part_of_a_chance_makes_another_one(changed):
    given = {"seed": 0, "purpose": "noise", "number": 0, "process": 0}
    draws = [derive_rng(**{**given, **change}).integers(2**62) for change in ({}, changed)]
    assert draws[0] != draws[1]
