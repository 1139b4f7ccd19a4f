"""The step: what each loss moves and what it leaves still, in every form."""

import copy
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tessera.losses import ADVERSARIAL_PRESETS, AdversarialConfig, GridConfig, grid_loss
from tessera.train.batches import TrainingBatch
from tessera.train.networks import load_networks
from tessera.train.parts import Parts, build_parts
from tessera.train.processes import Processes
from tessera.train.recipe import Recipe, load_recipe
from tessera.train.step import StepInfo, mean_predictions, train_step

TINY = {
    "name": "tiny",
    "steps": 100,
    "device": "cpu",
    "generator": {"network": "rrdbnet", "features": 4, "growth": 2, "blocks": 1},
    "data": {"patch": 32, "batch": 2},
    "step": {"channels_last": False},
}
JUDGES = [
    {"network": "vgg-style", "features": 2},
    {"network": "esrdgan", "features": 2},
    {"network": "unet", "features": 4},
    {"network": "attention-unet", "features": 4},
    {"network": "multi-scale", "features": 4, "scales": 2},
    {"network": "patch", "features": 4},
]
PAIRS = [
    *((judge, ADVERSARIAL_PRESETS[index % len(ADVERSARIAL_PRESETS)]) for index, judge in enumerate(JUDGES)),
    *((JUDGES[-1], preset) for preset in ADVERSARIAL_PRESETS[len(JUDGES) :]),
    *(pytest.param(judge, preset, marks=pytest.mark.slow) for judge in JUDGES for preset in ADVERSARIAL_PRESETS),
]
"""Each discriminator and each form of the loss once; all pairs in the slow tests."""
MOMENT = StepInfo(step=50, steps=100, number=7)


def recipe(**more) -> Recipe:
    return Recipe.model_validate({**TINY, **more})


def batch(seed: int = 0, pictures: int = 2) -> TrainingBatch:
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(pictures, 3, 32, 32, generator=generator)
    return TrainingBatch(nn.functional.avg_pool2d(gt, 4), gt, None)


def parts_of(wanted: Recipe) -> Parts:
    return build_parts(wanted, load_networks(wanted), Processes("cpu"))


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def moved(network: nn.Module, before: list[torch.Tensor]) -> bool:
    return any(not torch.equal(now, then) for now, then in zip(network.parameters(), before, strict=True))


@pytest.mark.parametrize(("judge", "preset"), PAIRS)
def test_the_adversarial_loss_alone_moves_the_generator(judge, preset):
    wanted = recipe(discriminator=judge, adversarial=preset.config.model_dump(), pixel={"weight": 0.0})
    parts = parts_of(wanted)
    before = weights(parts.generator)
    result = train_step(wanted, parts, [batch()], MOMENT)
    assert moved(parts.generator, before)
    assert result.losses["adversarial"] != 0
    assert result.losses["pixel"] == 0


@pytest.mark.parametrize(("judge", "preset"), PAIRS)
def test_the_discriminators_step_leaves_the_generator_still(judge, preset):
    wanted = recipe(
        discriminator=judge,
        adversarial=preset.config.model_dump(),
        step={"generator_every": 3, "channels_last": False},
    )
    parts = parts_of(wanted)
    assert parts.discriminator is not None
    generator, discriminator = weights(parts.generator), weights(parts.discriminator)
    result = train_step(wanted, parts, [batch()], MOMENT)  # 50 does not divide by 3
    assert not moved(parts.generator, generator)
    assert moved(parts.discriminator, discriminator)
    assert "adversarial" not in result.losses
    assert all(parameter.grad is None for parameter in parts.generator.parameters())


@pytest.mark.parametrize("form", ["lsgan", "hinge", "wgan", "wgan-softplus"])
@pytest.mark.parametrize("relativism", ["none", "average", "pairwise"])
def test_every_form_of_the_loss_trains_both(form, relativism):
    wanted = recipe(
        discriminator={"network": "unet", "features": 4},
        adversarial={"form": form, "relativism": relativism},
        pixel={"weight": 0.0},
    )
    parts = parts_of(wanted)
    assert parts.discriminator is not None
    generator, discriminator = weights(parts.generator), weights(parts.discriminator)
    assert train_step(wanted, parts, [batch()], MOMENT).finite
    assert moved(parts.generator, generator)
    assert moved(parts.discriminator, discriminator)


def test_the_generators_step_leaves_no_gradient_in_the_discriminator():
    wanted = recipe(discriminator={"network": "unet", "features": 4}, adversarial={})
    parts = parts_of(wanted)
    judge = parts.discriminator
    assert judge is not None
    kept = []
    last = next(iter(parts.generator.parameters()))  # whose gradient comes last
    last.register_post_accumulate_grad_hook(
        lambda _: kept.append([parameter.grad is not None for parameter in judge.parameters()])
    )
    train_step(wanted, parts, [batch()], MOMENT)
    assert kept == [[False] * len(list(judge.parameters()))]


def test_a_lower_discriminator_rate_and_its_own_schedule_are_its_own():
    wanted = recipe(
        discriminator={"network": "patch", "features": 4},
        adversarial={},
        optimizer={"rate": 1e-3},
        discriminator_optimizer={"rate": 4e-3},
        schedule={"kind": "multi-step", "milestones": [10], "gamma": 0.5},
        discriminator_schedule={"kind": "multi-step", "milestones": [10, 20], "gamma": 0.5},
    )
    parts = parts_of(wanted)
    assert parts.discriminator_optimizer is not None
    train_step(wanted, parts, [batch()], MOMENT)
    assert parts.optimizer.param_groups[0]["lr"] == 5e-4
    assert parts.discriminator_optimizer.param_groups[0]["lr"] == 1e-3


def test_both_networks_see_the_generator_as_it_was():
    """The fake that the discriminator learns from was made before the generator's step, as in ESRGAN's code."""
    wanted = recipe(discriminator={"network": "patch", "features": 4}, adversarial={}, optimizer={"rate": 0.5})
    parts = parts_of(wanted)
    assert parts.discriminator is not None
    one = batch()
    expected = parts.generator(one.lq).detach()
    seen = []
    parts.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    train_step(wanted, parts, [one], MOMENT)
    assert torch.equal(seen[-1], expected)
    assert torch.equal(seen[-2], one.gt)


def test_the_average_is_its_formula():
    wanted = recipe(ema=0.9)
    parts = parts_of(wanted)
    assert parts.average is not None
    expected = weights(parts.average)
    for step in range(1, 4):
        train_step(wanted, parts, [batch(step)], StepInfo(step, 100, step))
        expected = [0.9 * mean + 0.1 * now for mean, now in zip(expected, weights(parts.generator), strict=True)]
        for mean, wanted_mean in zip(parts.average.parameters(), expected, strict=True):
            torch.testing.assert_close(mean, wanted_mean, rtol=1e-6, atol=1e-8)


def gradients_of(network: Any) -> list[torch.Tensor]:
    return [parameter.grad for parameter in network.parameters()]


def test_accumulated_batches_give_the_gradient_of_the_joined_one():
    halves = [batch(1), batch(2)]
    lq, gt = (torch.cat([getattr(half, name) for half in halves]) for name in ("lq", "gt"))
    whole = TrainingBatch(lq, gt, None)
    gradients = []
    for batches in (halves, [whole]):
        wanted = recipe(step={"accumulate": len(batches), "channels_last": False})
        parts = parts_of(wanted)
        train_step(wanted, parts, batches, MOMENT)
        gradients.append([gradient.clone() for gradient in gradients_of(parts.generator)])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)


def test_clipping_limits_the_norm_of_all_gradients_together():
    wanted = recipe(step={"clip": 1e-3, "channels_last": False})
    parts = parts_of(wanted)
    result = train_step(wanted, parts, [batch()], MOMENT)
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients_of(parts.generator)))
    assert norm == pytest.approx(1e-3, rel=1e-3)
    assert result.losses["g_gradient"] > 1e-3  # as it was before


def test_warming_up_has_the_pixel_loss_alone_and_the_discriminator_waits():
    wanted = recipe(
        discriminator={"network": "patch", "features": 4},
        adversarial={},
        pixel={"weight": 1e-2},
        warm_up={"pixel_only": 50},
    )
    parts = parts_of(wanted)
    assert parts.discriminator is not None
    before = weights(parts.discriminator)
    result = train_step(wanted, parts, [batch()], MOMENT)
    assert result.losses["generator"] == result.losses["pixel"] > 0.05  # with weight 1, not 0.01
    assert not moved(parts.discriminator, before)
    after = train_step(wanted, parts, [batch()], StepInfo(51, 100, 8))
    assert moved(parts.discriminator, before)
    assert after.losses["pixel"] < 0.02


def test_the_grid_loss_is_part_of_the_sum_after_warming_up() -> None:
    wanted = recipe(grid={"weight": 3.0, "window": 4}, warm_up={"pixel_only": 50})
    parts = parts_of(wanted)
    assert "grid" not in train_step(wanted, parts, [batch()], MOMENT).losses
    with torch.no_grad():
        expected = float(grid_loss(parts.generator(batch().lq), batch().gt, 4, GridConfig(weight=3.0, window=4)))
    losses = train_step(wanted, parts, [batch()], StepInfo(51, 100, 8)).losses
    assert losses["grid"] == pytest.approx(expected, rel=1e-4)
    assert losses["generator"] == pytest.approx(losses["pixel"] + losses["grid"], rel=1e-5)


def test_the_grid_loss_alone_moves_the_generator() -> None:
    wanted = recipe(grid={"weight": 1.0, "window": 4}, pixel={"weight": 0.0})
    parts = parts_of(wanted)
    before = weights(parts.generator)
    losses = train_step(wanted, parts, [batch()], MOMENT).losses
    assert moved(parts.generator, before)
    assert (losses["pixel"], losses["generator"]) == (0, losses["grid"])


def test_a_window_larger_than_the_crops_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"grid.window is 9, and a crop has 8 input pixels a side"):
        recipe(grid={"window": 9})


@pytest.mark.parametrize(("step", "generator_moves", "judge_moves"), [(5, False, True), (15, True, True)])
def test_the_generator_can_start_later(step, generator_moves, judge_moves):
    wanted = recipe(
        discriminator={"network": "patch", "features": 4},
        adversarial={},
        step={"generator_start": 10, "channels_last": False},
    )
    parts = parts_of(wanted)
    assert parts.discriminator is not None
    generator, judge = weights(parts.generator), weights(parts.discriminator)
    train_step(wanted, parts, [batch()], StepInfo(step, 100, step))
    assert moved(parts.generator, generator) == generator_moves
    assert moved(parts.discriminator, judge) == judge_moves


def test_the_discriminator_can_start_later():
    wanted = recipe(
        discriminator={"network": "patch", "features": 4},
        adversarial={},
        step={"discriminator_start": 60, "channels_last": False},
    )
    parts = parts_of(wanted)
    assert parts.discriminator is not None
    before = weights(parts.discriminator)
    result = train_step(wanted, parts, [batch()], MOMENT)
    assert not moved(parts.discriminator, before)
    assert "adversarial" not in result.losses


@pytest.mark.parametrize("judge", JUDGES, ids=lambda judge: judge["network"])
@pytest.mark.parametrize(("bad", "precision"), [("lq", "fp16"), ("gt", "fp32")])
def test_a_step_that_is_no_number_changes_nothing_and_the_next_one_goes_on(judge, bad, precision):
    """Also not what batch normalization and spectral norms remember, which one bad batch would spoil for good."""
    wanted = recipe(discriminator=judge, adversarial={}, ema=0.9, step={"precision": precision, "channels_last": False})
    if bad == "gt":  # only the discriminator's own loss sees it
        wanted = wanted.model_copy(update={"pixel": wanted.pixel.model_copy(update={"weight": 0.0})})
    parts = parts_of(wanted)
    networks: Any = (parts.generator, parts.discriminator, parts.average)
    one = batch()
    getattr(one, bad)[0, 0, 0, 0] = math.nan
    before = [{name: value.clone() for name, value in each.state_dict().items()} for each in networks]
    assert not train_step(wanted, parts, [one], MOMENT).finite
    for each, then in zip(networks, before, strict=True):
        for name, value in each.state_dict().items():
            assert torch.equal(value, then[name]), name
    after = train_step(wanted, parts, [batch(1)], StepInfo(51, 100, 8))
    assert after.finite
    assert all(bool(torch.isfinite(value).all()) for each in networks for value in each.state_dict().values())


def test_an_overflow_in_half_precision_leaves_the_step_and_the_average_out():
    wanted = recipe(ema=0.5, step={"precision": "fp16", "channels_last": False})
    parts = parts_of(wanted)
    assert parts.average is not None
    parts.scaler.scale(torch.ones(1))  # makes its factor
    parts.scaler.update(2.0**120)
    before = [weights(parts.generator), weights(parts.average)]
    assert train_step(wanted, parts, [batch()], MOMENT).finite
    assert not moved(parts.generator, before[0])
    assert not moved(parts.average, before[1])
    assert parts.scaler.get_scale() < 2.0**120


def test_sharpened_truth_goes_where_it_is_wanted():
    one = batch()
    sharp = TrainingBatch(one.lq, one.gt, one.gt * 0.5)
    wanted = recipe(discriminator={"network": "patch", "features": 4}, adversarial={}, sharpen={"pixel": True})
    parts = parts_of(wanted)
    assert parts.discriminator is not None
    with torch.no_grad():
        expected = float((parts.generator(one.lq) - one.gt * 0.5).abs().mean())
    seen = []
    parts.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    result = train_step(wanted, parts, [sharp], MOMENT)
    assert result.losses["pixel"] == pytest.approx(expected, rel=1e-5)
    assert torch.equal(seen[-2], one.gt)


def test_bf16_gives_nearly_the_gradients_of_fp32():
    gradients = []
    for precision in ("fp32", "bf16"):
        wanted = recipe(step={"precision": precision})
        parts = parts_of(wanted)
        assert train_step(wanted, parts, [batch()], MOMENT).finite
        gradients.append(torch.cat([gradient.flatten() for gradient in gradients_of(parts.generator)]))
        assert all(parameter.dtype == torch.float32 for parameter in parts.generator.parameters())
    assert float(nn.functional.cosine_similarity(*gradients, dim=0)) > 0.995


def test_the_pixel_loss_can_look_at_imagenet_colors():
    one = batch()
    plain, normalized = (recipe(step={"space": space, "channels_last": False}) for space in ("unit", "imagenet"))
    parts = parts_of(plain)
    again = copy.deepcopy(parts.generator)
    first = train_step(plain, parts, [one], MOMENT).losses["pixel"]
    with torch.no_grad():
        difference = (again(one.lq) - one.gt).abs().mean(dim=(0, 2, 3)) / torch.tensor([0.229, 0.224, 0.225])
    second = train_step(normalized, parts_of(normalized), [one], MOMENT).losses["pixel"]
    assert second == pytest.approx(float(difference.mean()), rel=1e-5)
    assert second != pytest.approx(first, rel=0.1)


def test_pytorch_gans_discriminator_normalizes_once():
    """White is (1 - mean) / deviation of ImageNet in its first layer, and not that of that."""
    wanted = load_recipe("pytorch-gan", ["data.patch=32", "data.batch=2", "discriminator.features=4", "device=cpu"])
    wanted = wanted.model_copy(
        update={"perceptual": None, "generator": recipe().generator, "warm_up": recipe().warm_up, "steps": 100}
    )
    parts = parts_of(wanted)
    assert parts.discriminator is not None
    seen = []
    first = next(module for module in parts.discriminator.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    white = TrainingBatch(torch.ones(2, 3, 8, 8), torch.ones(2, 3, 32, 32), None)
    train_step(wanted, parts, [white], MOMENT)
    expected = [(1 - mean) / deviation for mean, deviation in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert seen[-2].mean(dim=(0, 2, 3)).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_step_repeats_to_the_bit():
    wanted = recipe(
        discriminator={"network": "multi-scale", "features": 4},
        adversarial={},
        tricks={"instance_noise": True, "noisy_labels": True},
    )
    runs = []
    for _ in range(2):
        parts = parts_of(wanted)
        torch.rand(3)  # whatever else happens to PyTorch's own chance
        runs.append([train_step(wanted, parts, [batch(step)], StepInfo(step, 100, step)).losses for step in (1, 2, 3)])
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("config", "real", "fake"),
    [
        (AdversarialConfig(), 1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-1))),
        (AdversarialConfig(relativism="average"), 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))),
        (AdversarialConfig(relativism="pairwise"), 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))),
        (AdversarialConfig(form="lsgan"), 1.0, 1.0),
        (AdversarialConfig(form="hinge"), 3.0, 1.0),
    ],
    ids=lambda value: f"{value.form}-{value.relativism}" if isinstance(value, AdversarialConfig) else "",
)
def test_mean_predictions_follow_the_form_of_the_loss(config, real, fake):
    said = mean_predictions([torch.full((2, 1, 3, 3), 3.0)], [torch.full((2, 1, 3, 3), 1.0)], config)
    assert [float(value) for value in said] == pytest.approx([real, fake], rel=1e-5)
    step = recipe(discriminator={"network": "patch", "features": 4}, adversarial=config.model_dump())
    statistics = train_step(step, parts_of(step), [batch()], MOMENT).statistics
    assert math.isnan(statistics.real_prediction) == (config.form == "hinge")
