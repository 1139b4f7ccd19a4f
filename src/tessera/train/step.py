"""One training step, from top to bottom: the generator against its losses, then the discriminator, then the average.

The order is that of ESRGAN's and Real-ESRGAN's code: both networks use the weights from before the step. Both
gradients are computed before either network is updated, so a step that is not finite updates neither.

Shapes: B crops, p side at low resolution, P side of the ground truth.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tessera.generators.rrdbnet.network import RRDBNet
from tessera.losses import AdversarialConfig, discriminator_loss, generator_loss, grid_loss, pixel_loss
from tessera.train.batches import TrainingBatch
from tessera.train.monitor import StepStatistics, measure_batch
from tessera.train.parts import Parts
from tessera.train.recipe import Recipe
from tessera.train.schedule import learning_rate_at
from tessera.train.seeding import Purpose, derive_rng
from tessera.train.tricks import add_noise, discriminator_targets, generator_targets, instance_noise_deviation
from tessera.train.updates import (
    LossTotals,
    apply_updates,
    copy_buffers,
    get_discriminator_update,
    get_generator_update,
    restore_buffers,
)
from tessera.trunks import IMAGENET


@dataclass(frozen=True)
class StepInfo:
    """Position of a step in the run, which determines its random draws and learning rates."""

    step: int
    """From 1."""
    steps: int
    number: int
    """Index of the first batch of this step among all batches of the run; a rollback does not reset it."""
    rate: float = 1.0
    """Factor of the monitor on the learning rates."""


@dataclass(frozen=True)
class StepResult:
    """Losses and statistics of a step."""

    losses: dict[str, float]
    finite: bool
    """Whether all losses and gradients were finite; if not, neither network was updated."""
    statistics: StepStatistics


def train_step(recipe: Recipe, parts: Parts, batches: Sequence[TrainingBatch], info: StepInfo) -> StepResult:
    """Run one step on one or more batches, whose gradients are averaged."""
    losses = LossTotals(len(batches))
    adversarial = _uses_discriminator(recipe, info)
    set_learning_rates(recipe, parts, info)

    trains = _updates_generator(recipe, info)
    kept = copy_buffers(parts.discriminator) if adversarial else []
    outputs = _generator_pass(recipe, parts, batches, info, losses, trains=trains, adversarial=adversarial)
    if adversarial:
        _discriminator_pass(recipe, parts, batches, outputs, info, losses)
    updates = [get_generator_update(parts)] if trains else []
    updates += [get_discriminator_update(parts)] if adversarial else []
    finite = apply_updates(recipe, parts, updates, losses)
    if not finite and adversarial:
        restore_buffers(parts.discriminator, kept)

    values = losses.read()
    statistics = measure_batch(batches[0].lq, outputs[0], batches[0].gt)
    if recipe.adversarial is not None and recipe.adversarial.form not in ("hinge", "wgan"):
        answered = (values.get(name, math.nan) for name in ("d_real", "d_fake"))
        statistics = dataclasses.replace(
            statistics, **dict(zip(("real_prediction", "fake_prediction"), answered, strict=True))
        )
    return StepResult(values, finite, statistics)


def _updates_generator(recipe: Recipe, info: StepInfo) -> bool:
    step = recipe.step
    return info.step > step.generator_start and info.step % step.generator_every == 0


def _uses_discriminator(recipe: Recipe, info: StepInfo) -> bool:
    beginning = max(recipe.warm_up.pixel_only, recipe.step.discriminator_start)
    return recipe.adversarial is not None and info.step > beginning


def set_learning_rates(recipe: Recipe, parts: Parts, info: StepInfo) -> None:
    """Set the learning rate of this step in both optimizers."""
    discriminator_config = recipe.discriminator_optimizer or recipe.optimizer
    for optimizer, config, schedule in (
        (parts.optimizer, recipe.optimizer, recipe.schedule),
        (parts.discriminator_optimizer, discriminator_config, recipe.discriminator_schedule or recipe.schedule),
    ):
        for group in optimizer.param_groups if optimizer is not None else ():
            group["lr"] = info.rate * learning_rate_at(schedule, config.rate, info.step, info.steps)


# -------------------------------------------------------------------------------------------------------- generator


def _generator_pass(
    recipe: Recipe,
    parts: Parts,
    batches: Sequence[TrainingBatch],
    info: StepInfo,
    losses: LossTotals,
    *,
    trains: bool,
    adversarial: bool,
) -> list[Tensor]:
    """The detached outputs (B, 3, P, P) for each batch; accumulates gradients if this step trains the generator."""
    outputs: list[Tensor] = []
    parts.optimizer.zero_grad(set_to_none=True)
    with _frozen(parts.discriminator):
        for index, batch in enumerate(batches):
            with torch.set_grad_enabled(trains), _autocast(recipe, parts):
                generated = _run_generator(recipe, parts.generator, batch.lq)
            outputs.append(generated.output.detach())
            if trains:
                total = _generator_losses(recipe, parts, batch, generated, info, index, losses, adversarial=adversarial)
                parts.scaler.scale(total / len(batches)).backward()  # pyright: ignore[reportUnknownMemberType]
    return outputs


def _generator_losses(
    recipe: Recipe,
    parts: Parts,
    batch: TrainingBatch,
    generated: _Generated,
    info: StepInfo,
    index: int,
    losses: LossTotals,
    *,
    adversarial: bool,
) -> Tensor:
    """The sum of the generator's losses for one batch: a scalar with its graph."""
    sr = generated.output
    teacher = _run_teacher(recipe, parts, batch)
    taught = None if teacher is None else teacher.output.clamp(0, 1)
    warms_up = info.step <= recipe.warm_up.pixel_only
    pixel = recipe.pixel.model_copy(update={"weight": 1.0}) if warms_up else recipe.pixel
    seen = _colors(recipe, sr)
    references = _references(recipe, _select_target(batch, sharpened=recipe.sharpen.pixel), taught)
    total = losses.add(
        "pixel", _sum_weighted([(share, pixel_loss(seen, _colors(recipe, each), pixel)) for share, each in references])
    )
    if warms_up:
        return losses.add("generator", total)
    if teacher is not None and recipe.distillation is not None and recipe.distillation.features:
        total = total + losses.add("features", recipe.distillation.features * _feature_loss(generated, teacher))
    if recipe.grid is not None:
        truth = _select_target(batch, sharpened=recipe.sharpen.pixel)  # the teacher's output may contain a grid
        total = total + losses.add("grid", grid_loss(sr, truth, recipe.generator.scale, recipe.grid))
    if parts.perceptual is not None:
        references = _references(recipe, _select_target(batch, sharpened=recipe.sharpen.perceptual), taught)
        with _autocast(recipe, parts):
            seen_by_trunk = [(share, parts.perceptual(sr, each)) for share, each in references]
        perceptual = _sum_weighted([(share, each.perceptual) for share, each in seen_by_trunk])
        total = total + losses.add("perceptual", perceptual)
        if recipe.perceptual is not None and recipe.perceptual.style_weight:
            style = _sum_weighted([(share, each.style) for share, each in seen_by_trunk])
            total = total + losses.add("style", style)
    if adversarial:
        total = total + losses.add("adversarial", _adversarial_loss(recipe, parts, batch, sr, info, index))
    return losses.add("generator", total)


@dataclass(frozen=True)
class _Generated:
    """Output of a network for a batch, in fp32."""

    output: Tensor
    """(B, 3, P, P), not clipped"""
    features: Tensor | None
    """Features of its trunk, (B, F, p, p); None without a feature loss."""


def _run_generator(recipe: Recipe, network: nn.Module, lq: Tensor) -> _Generated:
    """Run a student or teacher on inputs (B, 3, p, p)."""
    if recipe.distillation is None or not recipe.distillation.features:
        output: Tensor = network(lq)
        return _Generated(output.float(), None)
    assert isinstance(network, RRDBNet)
    features = network.extract_features(lq)
    return _Generated(network.reconstruct(features).float(), features.float())


@torch.no_grad()
def _run_teacher(recipe: Recipe, parts: Parts, batch: TrainingBatch) -> _Generated | None:
    """Run the teacher on the inputs; None without a teacher."""
    if parts.teacher is None:
        return None
    with _autocast(recipe, parts):
        return _run_generator(recipe, parts.teacher.network, batch.lq)


def _feature_loss(generated: _Generated, teacher: _Generated) -> Tensor:
    """Mean absolute difference of two trunks' features, divided by the teacher's mean absolute value: () in fp32."""
    assert generated.features is not None
    assert teacher.features is not None
    return (generated.features - teacher.features).abs().mean() / teacher.features.abs().mean()


def _references(recipe: Recipe, truth: Tensor, taught: Tensor | None) -> list[tuple[float, Tensor]]:
    """Targets of the outputs, (B, 3, P, P), with their weights."""
    if taught is None or recipe.distillation is None:
        return [(1.0, truth)]
    share = recipe.distillation.share
    return [(share, taught)] if share == 1 else [(share, taught), (1 - share, truth)]


def _sum_weighted(terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """Weighted sum of losses (); bit-identical to the loss if there is a single one of weight 1."""
    return torch.stack([share * loss for share, loss in terms]).sum()


def _adversarial_loss(
    recipe: Recipe, parts: Parts, batch: TrainingBatch, sr: Tensor, info: StepInfo, index: int
) -> Tensor:
    """The generator's adversarial loss; the discriminator accumulates no gradients of its parameters."""
    assert recipe.adversarial is not None
    real = None
    if recipe.adversarial.needs_real:
        gt = _select_target(batch, sharpened=recipe.sharpen.adversarial)
        with torch.no_grad():
            real = _run_discriminator(recipe, parts, _add_instance_noise(recipe, parts, gt, info, index, "real for G"))
    fake = _run_discriminator(recipe, parts, _add_instance_noise(recipe, parts, sr, info, index, "fake for G"))
    targets = generator_targets(recipe.tricks)
    return generator_loss(real, fake, recipe.adversarial, targets=targets, mean=parts.processes.mean)


# ---------------------------------------------------------------------------------------------------- discriminator


def _discriminator_pass(
    recipe: Recipe,
    parts: Parts,
    batches: Sequence[TrainingBatch],
    outputs: Sequence[Tensor],
    info: StepInfo,
    losses: LossTotals,
) -> None:
    """The discriminator's gradients on real pictures and on the generator's detached outputs."""
    assert parts.discriminator_optimizer is not None
    assert recipe.adversarial is not None
    parts.discriminator_optimizer.zero_grad(set_to_none=True)
    for index, (batch, sr) in enumerate(zip(batches, outputs, strict=True)):
        gt = _select_target(batch, sharpened=recipe.sharpen.adversarial)
        real = _run_discriminator(recipe, parts, _add_instance_noise(recipe, parts, gt, info, index, "real for D"))
        fake = _run_discriminator(recipe, parts, _add_instance_noise(recipe, parts, sr, info, index, "fake for D"))
        targets = discriminator_targets(recipe.tricks, len(sr), _rng(recipe, parts, info, index, "labels"))
        value = discriminator_loss(real, fake, recipe.adversarial, targets=targets, mean=parts.processes.mean)
        losses.add("discriminator", value)
        for name, answer in zip(("d_real", "d_fake"), mean_predictions(real, fake, recipe.adversarial), strict=True):
            losses.add(name, answer)
        parts.discriminator_scaler.scale(value / len(batches)).backward()  # pyright: ignore[reportUnknownMemberType]


@torch.no_grad()
def mean_predictions(
    real: Sequence[Tensor], fake: Sequence[Tensor], config: AdversarialConfig
) -> tuple[Tensor, Tensor]:
    """Mean predictions of a discriminator for real and for generated pictures: () twice.

    Probabilities of being real, or, for relativistic losses, of looking more real than the other side. For least
    squares, the logits clamped to [0, 1]; for hinge and Wasserstein losses they have no bounds.
    """
    said: list[Tensor] = []
    for own, other in ((real, fake), (fake, real)):
        scales: list[Tensor] = []
        for mine, theirs in zip(own, other, strict=True):
            logits = mine
            if config.relativism != "none":
                logits = mine - (theirs.mean() if config.relativism == "average" else theirs)
            bounded = logits.clamp(0, 1) if config.form == "lsgan" else logits
            scales.append((logits.sigmoid() if config.form in ("vanilla", "wgan-softplus") else bounded).mean())
        said.append(torch.stack(scales).mean())
    return said[0], said[1]


# ------------------------------------------------------------------------------------------------------------ shared


def _run_discriminator(recipe: Recipe, parts: Parts, pictures: Tensor) -> tuple[Tensor, ...]:
    assert parts.discriminator is not None
    with _autocast(recipe, parts):
        logits: tuple[Tensor, ...] = parts.discriminator(pictures)
    return tuple(each.float() for each in logits)


def _select_target(batch: TrainingBatch, *, sharpened: bool) -> Tensor:
    return batch.sharp if sharpened and batch.sharp is not None else batch.gt


def _colors(recipe: Recipe, pictures: Tensor) -> Tensor:
    """Pictures in the color space of the pixel loss; discriminators and trunks normalize on their own."""
    return IMAGENET.apply(pictures) if recipe.step.space == "imagenet" else pictures


_INPUTS = ("real for G", "fake for G", "real for D", "fake for D")


def _add_instance_noise(
    recipe: Recipe, parts: Parts, pictures: Tensor, info: StepInfo, index: int, what: str
) -> Tensor:
    """Add instance noise, drawn independently for each of the four discriminator inputs of a step."""
    if not recipe.tricks.instance_noise:
        return pictures
    stream = parts.processes.rank * len(_INPUTS) + _INPUTS.index(what)
    rng = derive_rng(recipe.seed, "noise", info.number + index, process=stream)
    return add_noise(pictures, instance_noise_deviation(info.step, info.steps), rng)


def _rng(recipe: Recipe, parts: Parts, info: StepInfo, index: int, purpose: Purpose) -> np.random.Generator:
    return derive_rng(recipe.seed, purpose, info.number + index, process=parts.processes.rank)


@contextlib.contextmanager
def _frozen(network: nn.Module | None) -> Generator[None]:
    """Context in which gradients flow through the network but not to its parameters."""
    if network is None:
        yield
        return
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _autocast(recipe: Recipe, parts: Parts) -> torch.autocast:
    dtype = torch.bfloat16 if recipe.step.precision == "bf16" else torch.float16
    return torch.autocast(parts.processes.device.type, dtype=dtype, enabled=recipe.step.precision != "fp32")
