"""Adversarial losses against numbers worked out by hand, an independent computation and finite differences."""

import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tessera.errors import UsageError
from tessera.losses import (
    ADVERSARIAL_PRESETS,
    AdversarialConfig,
    Targets,
    adversarial_preset,
    discriminator_loss,
    generator_loss,
)

FORMS = ("vanilla", "lsgan", "hinge", "wgan", "wgan-softplus")
PRESETS = [preset.name for preset in ADVERSARIAL_PRESETS]

# Logits of two pictures: mean(r) = 1, mean(f) = 0.5, so r - mean(f) = 1.5, -0.5 and f - mean(r) = -2, 1.
REAL, FAKE = torch.tensor([[2.0], [0.0]]), torch.tensor([[-1.0], [2.0]])
# s(x) = log(1 + e^x): s(-2) 0.126928, s(-1.5) 0.201413, s(-1) 0.313262, s(-0.5) 0.474077, s(0) 0.693147,
#                      s(0.5) 0.974077, s(1) 1.313262, s(1.5) 1.701413, s(2) 2.126928, s(3) 3.048587
BY_HAND = {
    # generator: 0.005 * [ (s(1.5) + s(-0.5)) / 2 + (s(2) + s(-1)) / 2 ] / 2; discriminator:
    # [ (s(-1.5) + s(0.5)) / 2 + (s(-2) + s(1)) / 2 ] / 2
    "esrgan": (0.005 * (1.087745 + 1.220095) / 2, (0.587745 + 0.720095) / 2),
    "esrgan-basicsr": (0.005 * (1.087745 + 1.220095) / 2, (0.587745 + 0.720095) / 2),
    # 0.1 * (s(1) + s(-2)) / 2; (s(-2) + s(0)) / 2 + (s(-1) + s(2)) / 2, not halved
    "realesrgan": (0.1 * 0.720095, 0.4100375 + 1.220095),
    "a-esrgan": (0.1 * 0.720095, 0.4100375 + 1.220095),
    # the fake term alone: 0.005 * (s(2) + s(-1)) / 2
    "pytorch-gan": (0.005 * 1.220095, (0.587745 + 0.720095) / 2),
    "esrgan-pytorch": (0.001 * 1.220095, 0.587745 + 0.720095),
    # f - r = -3, 2: 0.005 * (s(3) + s(-2)) / 2; r - f = 3, -2: (s(-3) + s(2)) / 2
    "esrdgan-relativistic": (0.005 * (3.048587 + 0.126928) / 2, (0.048587 + 2.126928) / 2),
    "esrdgan-relativisticavg": (0.005 * (1.087745 + 1.220095) / 2, (0.587745 + 0.720095) / 2),
}


def gradient_of(tensor: torch.Tensor) -> torch.Tensor:
    assert tensor.grad is not None
    return tensor.grad


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def s(x):
    return np.logaddexp(0, x)


@pytest.mark.parametrize("name", PRESETS)
def test_each_published_loss_has_the_value_that_was_worked_out_by_hand(name):
    config = adversarial_preset(name)
    generator, discriminator = BY_HAND[name]
    assert float(generator_loss((REAL,), (FAKE,), config)) == pytest.approx(generator, abs=2e-6)
    assert float(discriminator_loss((REAL,), (FAKE,), config)) == pytest.approx(discriminator, abs=2e-6)


def test_the_table_by_hand_covers_every_preset_and_weights_are_the_published_ones():
    assert set(BY_HAND) == set(PRESETS)
    weights = {name: adversarial_preset(name).weight for name in PRESETS}
    assert weights == {
        **dict.fromkeys(("esrgan", "esrgan-basicsr", "pytorch-gan"), 5e-3),
        **dict.fromkeys(("esrdgan-relativistic", "esrdgan-relativisticavg"), 5e-3),
        **dict.fromkeys(("realesrgan", "a-esrgan"), 0.1),
        "esrgan-pytorch": 1e-3,
    }
    with pytest.raises(UsageError, match=r"'esrgann'; there are esrgan, esrgan-basicsr"):
        adversarial_preset("esrgann")


@pytest.mark.parametrize(
    ("form", "generator", "discriminator", "relativistic_generator", "relativistic_discriminator"),
    [
        # lsgan: G (f-1)^2 = 4, 1; D (r-1)^2 = 1, 1 and f^2 = 1, 4. Relativistic, r' = 1.5, -0.5 and f' = -2, 1:
        # G r'^2 = 2.25, 0.25 and (f'-1)^2 = 9, 0; D (r'-1)^2 = 0.25, 2.25 and f'^2 = 4, 1.
        ("lsgan", 2.5, 1 + 2.5, 1.25 + 4.5, 1.25 + 2.5),
        # hinge: G -mean(f); D relu(1-r) = 0, 1 and relu(1+f) = 0, 3. Relativistic:
        # G relu(1+r') = 2.5, 0.5 and relu(1-f') = 3, 0; D relu(1-r') = 0, 1.5 and relu(1+f') = 0, 2.
        ("hinge", -0.5, 0.5 + 1.5, 1.5 + 1.5, 0.75 + 1),
        # wgan: G -0.5; D -1 + 0.5. Relativistic: mean(r') = 0.5, mean(f') = -0.5.
        ("wgan", -0.5, -0.5, 0.5 + 0.5, -0.5 - 0.5),
        # softplus: as vanilla with labels 1 and 0.
        ("wgan-softplus", 0.720095, 0.4100375 + 1.220095, 1.087745 + 1.220095, 0.587745 + 0.720095),
    ],
)
def test_other_forms_by_hand(form, generator, discriminator, relativistic_generator, relativistic_discriminator):
    plain, average = AdversarialConfig(form=form), AdversarialConfig(form=form, relativism="average")
    for loss, config, value in (
        (generator_loss, plain, generator),
        (discriminator_loss, plain, discriminator),
        (generator_loss, average, relativistic_generator),
        (discriminator_loss, average, relativistic_discriminator),
    ):
        assert float(loss(REAL, FAKE, config)) == pytest.approx(value, abs=2e-6)


# ---------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize(
    ("form", "relativism", "mean_over"),
    [*itertools.product(FORMS, ("none", "average", "pairwise"), ("everything",)), ("vanilla", "average", "batch")],
)
def test_gradients_are_those_of_finite_differences(form, relativism, mean_over):
    config = AdversarialConfig(form=form, relativism=relativism, mean_over=mean_over, weight=0.3)
    real, fake = (tuple(drawn(2, 1, side, 3, seed=side + k).requires_grad_() for side in (2, 3)) for k in (0, 50))
    assert torch.autograd.gradcheck(lambda *logits: discriminator_loss(logits[:2], logits[2:], config), (*real, *fake))
    assert torch.autograd.gradcheck(lambda *fakes: generator_loss(real, fakes, config), fake)


def gradients(config: AdversarialConfig) -> tuple[np.ndarray, np.ndarray]:
    real, fake = REAL.double().requires_grad_(), FAKE.double().requires_grad_()
    discriminator_loss((real,), (fake,), config).backward()
    assert real.grad is not None
    assert fake.grad is not None
    return real.grad.numpy().ravel(), fake.grad.numpy().ravel()


def test_jointly_the_discriminator_gets_gradients_through_the_means_and_detached_it_does_not():
    """With p = sigmoid: d/dr_i of [mean s(-(r - mf)) + mean s(f - mr)] / 2, where r' = 1.5, -0.5 and f' = -2, 1."""
    r, f = np.array([1.5, -0.5]), np.array([-2.0, 1.0])

    def p(x):
        return 1 / (1 + np.exp(-x))

    direct_r, direct_f = -p(-r) / 4, p(f) / 4
    through_mf, through_mr = p(-r).sum() / 4 / 2, -p(f).sum() / 4 / 2
    grad_r, grad_f = gradients(adversarial_preset("esrgan-basicsr"))
    np.testing.assert_allclose(grad_r, direct_r, rtol=1e-12)
    np.testing.assert_allclose(grad_f, direct_f, rtol=1e-12)
    grad_r, grad_f = gradients(adversarial_preset("esrgan"))
    np.testing.assert_allclose(grad_r, direct_r + through_mr, rtol=1e-12)
    np.testing.assert_allclose(grad_f, direct_f + through_mf, rtol=1e-12)
    assert abs(through_mr) > 0.1


def test_detached_is_what_two_halves_one_after_another_add_up_to():
    """BasicSR's two backwards: the real half with the fake detached, then the fake half with the real detached."""
    d = nn.Linear(3, 1).double()
    gt, sr = drawn(4, 3, seed=1), drawn(4, 3, seed=2)
    bce = nn.BCEWithLogitsLoss()
    f = d(sr).detach()
    r = d(gt)
    (bce(r - f.mean(), torch.ones_like(r)) * 0.5).backward()
    f = d(sr)
    (bce(f - r.detach().mean(), torch.zeros_like(f)) * 0.5).backward()
    expected = gradient_of(d.weight).clone()
    d.zero_grad()
    discriminator_loss((d(gt),), (d(sr),), adversarial_preset("esrgan-basicsr")).backward()
    torch.testing.assert_close(d.weight.grad, expected, rtol=1e-12, atol=0)


def test_the_generators_real_term_reaches_it_through_the_mean_of_the_fake_even_where_the_other_step_detaches():
    for name in ("esrgan", "esrgan-basicsr"):
        fake = FAKE.clone().requires_grad_()
        generator_loss((REAL,), (fake,), adversarial_preset(name).model_copy(update={"weight": 1.0})).backward()
        # [ -(1/2) sum p(r') / 2 ... the real term, the same for each; (p(f') - 1) / 2 ] / 2
        through_mean = -torch.sigmoid(torch.tensor([1.5, -0.5])).mean() / 2
        direct = (torch.sigmoid(torch.tensor([-2.0, 1.0])) - 1) / 2
        torch.testing.assert_close(gradient_of(fake).ravel(), (through_mean + direct) / 2)


@pytest.mark.parametrize("name", PRESETS)
def test_the_adversarial_term_alone_moves_the_generator_and_its_own_step_leaves_it_still(name):
    torch.manual_seed(0)
    g, d = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 1, 3)
    config = adversarial_preset(name)
    lq, gt = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    d.requires_grad_(False)
    generator_loss((d(gt),), (d(g(lq)),), config).backward()
    assert gradient_of(g.weight).abs().sum() > 0
    assert d.weight.grad is None
    d.requires_grad_(True)
    g.zero_grad()
    sr = g(lq).detach()
    discriminator_loss((d(gt),), (d(sr),), config).backward()
    assert g.weight.grad is None
    assert gradient_of(d.weight).abs().sum() > 0


@pytest.mark.parametrize("name", PRESETS)
def test_a_step_along_each_gradient_pulls_the_sides_the_way_they_should_go(name):
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    config = adversarial_preset(name)
    discriminator_loss((real,), (fake,), config).backward()
    assert gradient_of(real).sum() < 0 < gradient_of(fake).sum()  # downhill, real logits rise and fake ones fall
    (by_generator,) = torch.autograd.grad(generator_loss((real,), (fake,), config), fake)
    assert by_generator.sum() < 0


def test_the_generators_step_gives_the_real_logits_no_gradient():
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    generator_loss((real,), (fake,), adversarial_preset("esrgan")).backward()
    assert real.grad is None


# --------------------------------------------------------------------------------------------------- means and scales


def test_means_over_the_batch_are_taken_for_each_patch():
    real = torch.tensor([[2.0, 4.0], [0.0, 0.0]]).view(2, 1, 1, 2)  # means over the batch 1, 2; over everything 1.5
    fake = torch.tensor([[-1.0, 1.0], [2.0, 3.0]]).view(2, 1, 1, 2)  # 0.5, 2; 1.25
    config = adversarial_preset("pytorch-gan")
    as_real, as_fake = np.array([1.5, 2, -0.5, -2]), np.array([-2.0, -1, 1, 1])
    expected = (s(-as_real).mean() + s(as_fake).mean()) / 2
    assert float(discriminator_loss(real, fake, config)) == pytest.approx(expected, rel=1e-6)
    assert float(generator_loss(real, fake, config)) == pytest.approx(0.005 * s(-as_fake).mean(), rel=1e-6)
    whole = config.model_copy(update={"mean_over": "everything"})
    as_real, as_fake = np.array([0.75, 2.75, -1.25, -1.25]), np.array([-2.5, -0.5, 0.5, 1.5])
    expected = (s(-as_real).mean() + s(as_fake).mean()) / 2
    assert float(discriminator_loss(real, fake, whole)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("relativism", ["none", "average", "pairwise"])
def test_scales_are_added_or_averaged_each_with_a_mean_of_its_own(relativism):
    reals, fakes = ((drawn(2, 1, 4, 4, seed=k), drawn(2, 1, 2, 2, seed=k + 1)) for k in (0, 2))
    for loss in (generator_loss, discriminator_loss):
        total = AdversarialConfig(relativism=relativism, weight=0.1)
        mean = total.model_copy(update={"scales": "mean"})
        alone = [loss(r, f, total) for r, f in zip(reals, fakes, strict=True)]
        torch.testing.assert_close(loss(reals, fakes, total), alone[0] + alone[1])
        torch.testing.assert_close(loss(reals, fakes, mean), (alone[0] + alone[1]) / 2)


def test_a_tensor_alone_is_one_scale_and_not_a_batch_of_them():
    config = adversarial_preset("a-esrgan")
    real, fake = drawn(3, 1, 4, 4, seed=0), drawn(3, 1, 4, 4, seed=1)
    assert generator_loss(None, fake, config) == generator_loss(None, (fake,), config)
    assert discriminator_loss(real, fake, config) == discriminator_loss([real], [fake], config)


@pytest.mark.parametrize("mean_over", ["everything", "batch"])
def test_a_mean_over_processes_makes_halves_of_a_batch_add_up_to_the_whole(mean_over):
    """Each of two processes sees half; with the mean over both, the mean of their losses is that of the whole batch."""
    config = AdversarialConfig(relativism="average", mean_over=mean_over, combine="mean")
    real, fake = drawn(4, 1, 2, 2, seed=3), drawn(4, 1, 2, 2, seed=4)
    for loss in (generator_loss, discriminator_loss):
        seen = [[], []]
        for process in (0, 1):  # first what each of them has to give
            half = slice(2 * process, 2 * process + 2)

            def note(mean, into=seen[process]):
                into.append(mean)
                return mean

            loss(real[half], fake[half], config, mean=note)
        shared = [(a + b) / 2 for a, b in zip(*seen, strict=True)]
        losses = []
        for process in (0, 1):
            half, values = slice(2 * process, 2 * process + 2), iter(shared)
            losses.append(loss(real[half], fake[half], config, mean=lambda _, values=values: next(values)))
        torch.testing.assert_close(sum(losses) / 2, loss(real, fake, config))


def test_pairwise_compares_each_picture_with_its_own_truth():
    config = adversarial_preset("esrdgan-relativistic")
    swapped = discriminator_loss(REAL.flip(0), FAKE, config)
    assert float(swapped) == pytest.approx((s(-1.0) + s(0.0)) / 2, rel=1e-6)  # r - f = 1, 0
    with pytest.raises(UsageError, match=r"\(2, 1\) and \(1, 1\)"):
        discriminator_loss(REAL, FAKE[:1], config)


# ------------------------------------------------------------------------------------------------------------ targets


def test_smooth_labels_are_cross_entropy_with_them():
    """BCE(x, t) = t s(-x) + (1 - t) s(x), with 0.9 for real in the discriminator's step."""
    loss = discriminator_loss(REAL, FAKE, adversarial_preset("realesrgan"), targets=Targets(real=0.9))
    r, f = REAL.numpy().ravel(), FAKE.numpy().ravel()
    assert float(loss) == pytest.approx((0.9 * s(-r) + 0.1 * s(r)).mean() + s(f).mean(), rel=1e-6)


def test_labels_may_differ_from_picture_to_picture():
    """Noisy labels: 0.95 and 1 for real, 0.02 and 0 for fake."""
    real, fake = torch.tensor([[0.95], [1.0]]), torch.tensor([[0.02], [0.0]])
    targets = Targets(real=real, fake=fake)
    r, f, a, b = (t.numpy().ravel() for t in (REAL, FAKE, real, fake))
    loss = discriminator_loss(REAL, FAKE, adversarial_preset("realesrgan"), targets=targets)
    expected = (a * s(-r) + (1 - a) * s(r)).mean() + (b * s(-f) + (1 - b) * s(f)).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    maps = discriminator_loss(
        REAL.view(2, 1, 1, 1).expand(2, 1, 4, 4),
        FAKE.view(2, 1, 1, 1).expand(2, 1, 4, 4),
        adversarial_preset("realesrgan"),
        targets=Targets(real=real.view(2, 1, 1, 1), fake=fake.view(2, 1, 1, 1)),
    )
    torch.testing.assert_close(maps, loss)


def test_the_generator_wants_what_stands_for_real():
    config = adversarial_preset("esrgan").model_copy(update={"weight": 1.0})
    loss = generator_loss(REAL, FAKE, config, targets=Targets(real=0.8, fake=0.1))
    r, f = np.array([1.5, -0.5]), np.array([-2.0, 1.0])
    expected = ((0.1 * s(-r) + 0.9 * s(r)).mean() + (0.8 * s(-f) + 0.2 * s(f)).mean()) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_flipped_labels_swap_the_sides(form):
    config = AdversarialConfig(form=form)
    flipped = discriminator_loss(REAL, FAKE, config, targets=Targets(real=0.0, fake=1.0))
    torch.testing.assert_close(flipped, discriminator_loss(FAKE, REAL, config))


@pytest.mark.parametrize("form", ["hinge", "wgan", "wgan-softplus"])
@pytest.mark.parametrize("real", [0.9, torch.ones(2, 1)])
def test_forms_without_labels_refuse_soft_ones(form, real):
    with pytest.raises(UsageError, match=f"'{form}'.*vanilla and lsgan"):
        discriminator_loss(REAL, FAKE, AdversarialConfig(form=form), targets=Targets(real=real))


def test_targets_that_do_not_fit_the_logits_are_named():
    with pytest.raises(UsageError, match=r"\(3, 1\).*\(2, 1\)"):
        discriminator_loss(REAL, FAKE, AdversarialConfig(), targets=Targets(real=torch.ones(3, 1)))
    with pytest.raises(UsageError, match=r"\(2, 1, 4, 4\).*\(2, 1\)"):
        discriminator_loss(REAL, FAKE, AdversarialConfig(), targets=Targets(real=torch.ones(2, 1, 4, 4)))


# ----------------------------------------------------------------------------------------------------- right and wrong


def test_large_logits_stay_finite_and_half_precision_is_computed_in_single():
    real, fake = torch.tensor([[3e4]], dtype=torch.float16), torch.tensor([[-3e4]], dtype=torch.float16)
    for name in PRESETS:
        fake_grad = fake.clone().requires_grad_()
        loss = generator_loss(real, fake_grad, adversarial_preset(name))
        assert loss.dtype == torch.float32
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient_of(fake_grad)).all()
        assert torch.isfinite(discriminator_loss(real, fake, adversarial_preset(name)))


def test_where_nothing_is_compared_real_logits_may_be_left_out():
    assert not adversarial_preset("realesrgan").needs_real
    assert generator_loss(None, FAKE, adversarial_preset("realesrgan")) > 0
    with pytest.raises(UsageError, match="'average' needs real logits"):
        generator_loss(None, FAKE, adversarial_preset("esrgan"))


def test_scales_that_do_not_pair_are_named():
    config = adversarial_preset("esrgan")
    with pytest.raises(UsageError, match="as of real ones, 2; found 1"):
        discriminator_loss((REAL, REAL), (FAKE,), config)
    with pytest.raises(UsageError, match="the same shape"):
        discriminator_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 2, 2), config)
    with pytest.raises(UsageError, match="none"):
        generator_loss(None, (), adversarial_preset("realesrgan"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"form": "dcgan"},
        {"weight": -0.1},
        {"detach_means": True},
        {"relativism": "pairwise", "generator_terms": "fake"},
        {"relativism": "none", "mean_over": "batch"},
        {"gan_type": "vanilla"},
    ],
)
def test_a_configuration_that_is_wrong_or_says_what_has_no_effect_is_refused(wrong):
    with pytest.raises(ValidationError):
        AdversarialConfig(**wrong)


def test_a_configuration_with_all_its_defaults_written_out_is_accepted():
    for preset in ADVERSARIAL_PRESETS:
        assert AdversarialConfig(**preset.config.model_dump()) == preset.config
