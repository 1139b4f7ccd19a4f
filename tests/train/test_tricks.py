"""Each trick does what its name says."""

import numpy as np
import pytest
import torch

from tessera.discriminators.catalog import DISCRIMINATORS
from tessera.errors import UsageError
from tessera.losses import discriminator_loss
from tessera.train.loop import train
from tessera.train.recipe import load_recipe
from tessera.train.seeding import derive_rng
from tessera.train.tricks import (
    TricksConfig,
    add_noise,
    discriminator_targets,
    generator_targets,
    instance_noise_deviation,
)
from train.runs import SMALL, SMALL_RRDB, RecordingDisplay, make_pictures


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


SMALL_DISCRIMINATORS = {
    "patch": [],
    "vgg-style": ["discriminator.features=4"],
    "esrdgan": ["discriminator.features=4"],
    "attention-unet": ["discriminator.features=4"],
    "multi-scale": ["discriminator.features=4"],
    "unet": ["discriminator.features=4"],
}
TRICKS = {
    "noisy_labels": "true",
    "one_sided_label_smoothing": "true",
    "flip_labels": "true",
    "instance_noise": "true",
    "lq_noise": "0.05",
}


def test_every_discriminator_and_every_trick_is_in_the_tables():
    assert set(SMALL_DISCRIMINATORS) == {discriminator.name for discriminator in DISCRIMINATORS}
    assert set(TRICKS) == set(TricksConfig.model_fields)


@pytest.mark.parametrize("network", SMALL_DISCRIMINATORS)
def test_all_tricks_train_with_every_discriminator(network, tmp_path, monkeypatch):
    make_pictures(tmp_path / "photos", count=2)
    monkeypatch.chdir(tmp_path)
    base = [*SMALL, *SMALL_RRDB, "pool=0", "steps=1", "adversarial.weight=0.1", f"discriminator.network={network}"]
    base += ["adversarial.form=lsgan", *SMALL_DISCRIMINATORS[network]]
    tricks = [f"tricks.{trick}={value}" for trick, value in TRICKS.items()]
    recipe = load_recipe("rrdb-psnr", [*base, *tricks])
    assert train(recipe, resume=False, display=RecordingDisplay()).step == 1


@pytest.mark.parametrize("network", SMALL_DISCRIMINATORS)
def test_noisy_labels_are_one_per_picture_in_every_map(network):
    """The loss of least squares by hand: each logit of a picture against the label of that picture."""
    recipe = load_recipe(
        "rrdb-psnr",
        ["data.patch=32", "adversarial.form=lsgan", f"discriminator.network={network}", *SMALL_DISCRIMINATORS[network]],
    )
    assert recipe.discriminator is not None
    torch.manual_seed(0)
    discriminator = recipe.discriminator.build().eval()
    with torch.no_grad():
        real, fake = (discriminator(torch.rand(3, 3, 32, 32)) for _ in range(2))
    targets = discriminator_targets(TricksConfig(noisy_labels=True), 3, rng())
    assert isinstance(targets.real, torch.Tensor)
    assert isinstance(targets.fake, torch.Tensor)
    expected = 0.0
    for logits, labels in [*((each, targets.real) for each in real), *((each, targets.fake) for each in fake)]:
        values, marks = logits.double().numpy().reshape(3, -1), labels.double().numpy().reshape(3, 1)
        expected += float(((values - marks) ** 2).mean())
    assert recipe.adversarial is not None
    loss = discriminator_loss(real, fake, recipe.adversarial, targets=targets)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("trick", ["noisy_labels", "one_sided_label_smoothing"])
def test_soft_labels_with_a_form_that_has_none_are_refused_before_the_run(trick):
    with pytest.raises(UsageError, match=rf"tricks\.{trick} goes with adversarial\.form vanilla or lsgan.*hinge"):
        load_recipe("realesrgan", ["adversarial.form=hinge", f"tricks.{trick}=true"])
