"""One training step, from top to bottom: the generator against its losses, then the discriminator, then the average.

The order is that of ESRGAN's and Real-ESRGAN's code: both networks see both as they were before the step. Gradients of
both are there before either moves, so that a step which is no number moves neither.

Shapes: B crops, p side at low resolution, P side of the truth.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from tessera.generators import RRDBNet
from tessera.losses import AdversarialConfig, discriminator_loss, generator_loss, grid_loss, pixel_loss
from tessera.train.averaging import update_average
from tessera.train.batches import TrainingBatch
from tessera.train.chance import Purpose, chance
from tessera.train.parts import Parts
from tessera.train.recipe import Recipe
from tessera.train.schedule import rate_at
from tessera.train.tricks import discriminator_targets, generator_targets, instance_noise_deviation, noisy
from tessera.train.watch import Sight, look_at
from tessera.trunks import IMAGENET


@dataclass(frozen=True)
class Moment:
    """Where in a run a step is: what its chance and its rates follow from."""

    step: int
    """From 1."""
    steps: int
    number: int
    """Of the first batch of this step among all batches of the run; a run that rolled back does not see them again."""
    rate: float = 1.0
    """What the watch multiplies the learning rates with."""


@dataclass(frozen=True)
class StepResult:
    """What a step found."""

    losses: dict[str, float]
    finite: bool
    """Whether every loss and every gradient was a number; where not, both networks are as they were."""
    sight: Sight


def train_step(recipe: Recipe, parts: Parts, batches: Sequence[TrainingBatch], moment: Moment) -> StepResult:
    """Carry out one step on one or more batches, whose gradients are averaged."""
    losses = _Sums(len(batches))
    adversarial = _adversarial_now(recipe, moment)
    set_rates(recipe, parts, moment)

    trains = _trains_generator(recipe, moment)
    kept = _buffers(parts.discriminator) if adversarial else []
    outputs = _generator_pass(recipe, parts, batches, moment, losses, trains=trains, adversarial=adversarial)
    if adversarial:
        _discriminator_pass(recipe, parts, batches, outputs, moment, losses)
    sides = [_generator_side(parts)] if trains else []
    sides += [_judging_side(parts)] if adversarial else []
    finite = _step_all(recipe, parts, sides, losses)
    if not finite and adversarial:
        _put_back(parts.discriminator, kept)

    values = losses.read()
    sight = look_at(batches[0].lq, outputs[0], batches[0].gt)
    if recipe.adversarial is not None and recipe.adversarial.form not in ("hinge", "wgan"):
        answered = (values.get(name, math.nan) for name in ("d_real", "d_fake"))
        sight = dataclasses.replace(sight, **dict(zip(("real_answer", "fake_answer"), answered, strict=True)))
    return StepResult(values, finite, sight)


def _trains_generator(recipe: Recipe, moment: Moment) -> bool:
    step = recipe.step
    return moment.step > step.generator_start and moment.step % step.generator_every == 0


def _adversarial_now(recipe: Recipe, moment: Moment) -> bool:
    beginning = max(recipe.warm_up.pixel_only, recipe.step.discriminator_start)
    return recipe.adversarial is not None and moment.step > beginning


def set_rates(recipe: Recipe, parts: Parts, moment: Moment) -> None:
    """Give both optimizers the learning rate of this step."""
    judging = recipe.discriminator_optimizer or recipe.optimizer
    for optimizer, config, schedule in (
        (parts.optimizer, recipe.optimizer, recipe.schedule),
        (parts.discriminator_optimizer, judging, recipe.discriminator_schedule or recipe.schedule),
    ):
        for group in optimizer.param_groups if optimizer is not None else ():
            group["lr"] = moment.rate * rate_at(schedule, config.rate, moment.step, moment.steps)


# -------------------------------------------------------------------------------------------------------- generator


def _generator_pass(
    recipe: Recipe,
    parts: Parts,
    batches: Sequence[TrainingBatch],
    moment: Moment,
    losses: _Sums,
    *,
    trains: bool,
    adversarial: bool,
) -> list[Tensor]:
    """The generator's outputs (B, 3, P, P) for each batch, detached; its gradients, where this step trains it."""
    outputs: list[Tensor] = []
    parts.optimizer.zero_grad(set_to_none=True)
    with _frozen(parts.discriminator):
        for index, batch in enumerate(batches):
            with torch.set_grad_enabled(trains), _autocast(recipe, parts):
                seen = _seen(recipe, parts.generator, batch.lq)
            outputs.append(seen.output.detach())
            if trains:
                total = _generator_losses(recipe, parts, batch, seen, moment, index, losses, adversarial=adversarial)
                parts.scaler.scale(total / len(batches)).backward()  # pyright: ignore[reportUnknownMemberType]
    return outputs


def _generator_losses(
    recipe: Recipe,
    parts: Parts,
    batch: TrainingBatch,
    made: _Seen,
    moment: Moment,
    index: int,
    losses: _Sums,
    *,
    adversarial: bool,
) -> Tensor:
    """The sum of the generator's losses for one batch: a scalar with its graph."""
    sr = made.output
    teacher = _ask_teacher(recipe, parts, batch)
    taught = None if teacher is None else teacher.output.clamp(0, 1)
    warms_up = moment.step <= recipe.warm_up.pixel_only
    pixel = recipe.pixel.model_copy(update={"weight": 1.0}) if warms_up else recipe.pixel
    seen = _colors(recipe, sr)
    references = _references(recipe, _chosen(batch, sharpened=recipe.sharpen.pixel), taught)
    total = losses.add(
        "pixel", _weighted_sum([(share, pixel_loss(seen, _colors(recipe, each), pixel)) for share, each in references])
    )
    if warms_up:
        return losses.add("generator", total)
    if teacher is not None and recipe.distillation is not None and recipe.distillation.features:
        total = total + losses.add("features", recipe.distillation.features * _features_apart(made, teacher))
    if recipe.grid is not None:
        truth = _chosen(batch, sharpened=recipe.sharpen.pixel)  # a teacher may have a grid of its own
        total = total + losses.add("grid", grid_loss(sr, truth, recipe.generator.scale, recipe.grid))
    if parts.perceptual is not None:
        references = _references(recipe, _chosen(batch, sharpened=recipe.sharpen.perceptual), taught)
        with _autocast(recipe, parts):
            seen_by_trunk = [(share, parts.perceptual(sr, each)) for share, each in references]
        perceptual = _weighted_sum([(share, each.perceptual) for share, each in seen_by_trunk])
        total = total + losses.add("perceptual", perceptual)
        if recipe.perceptual is not None and recipe.perceptual.style_weight:
            style = _weighted_sum([(share, each.style) for share, each in seen_by_trunk])
            total = total + losses.add("style", style)
    if adversarial:
        total = total + losses.add("adversarial", _adversarial_loss(recipe, parts, batch, sr, moment, index))
    return losses.add("generator", total)


@dataclass(frozen=True)
class _Seen:
    """What a network makes of a batch, in fp32."""

    output: Tensor
    """(B, 3, P, P), not clipped"""
    features: Tensor | None
    """(B, F, p, p), what its trunk found; None where no loss looks at it."""


def _seen(recipe: Recipe, network: nn.Module, lq: Tensor) -> _Seen:
    """Run a network on inputs, (B, 3, p, p)."""
    if recipe.distillation is None or not recipe.distillation.features:
        output: Tensor = network(lq)
        return _Seen(output.float(), None)
    assert isinstance(network, RRDBNet)
    features = network.features(lq)
    return _Seen(network.enlarge(features).float(), features.float())


@torch.no_grad()
def _ask_teacher(recipe: Recipe, parts: Parts, batch: TrainingBatch) -> _Seen | None:
    """What the teacher makes of the inputs; None where there is no teacher."""
    if parts.teacher is None:
        return None
    with _autocast(recipe, parts):
        return _seen(recipe, parts.teacher.network, batch.lq)


def _features_apart(made: _Seen, teacher: _Seen) -> Tensor:
    """Mean absolute difference of what two trunks found, over the mean of what the teacher's did: () in fp32."""
    assert made.features is not None
    assert teacher.features is not None
    return (made.features - teacher.features).abs().mean() / teacher.features.abs().mean()


def _references(recipe: Recipe, truth: Tensor, taught: Tensor | None) -> list[tuple[float, Tensor]]:
    """What outputs are compared with, each (B, 3, P, P), and how much it counts."""
    if taught is None or recipe.distillation is None:
        return [(1.0, truth)]
    share = recipe.distillation.share
    return [(share, taught)] if share == 1 else [(share, taught), (1 - share, truth)]


def _weighted_sum(terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """The sum of losses () by their shares; one alone is what it was, to the bit."""
    return torch.stack([share * loss for share, loss in terms]).sum()


def _adversarial_loss(
    recipe: Recipe, parts: Parts, batch: TrainingBatch, sr: Tensor, moment: Moment, index: int
) -> Tensor:
    """What the generator pays for being told apart; the discriminator passes gradients on and keeps none."""
    assert recipe.adversarial is not None
    real = None
    if recipe.adversarial.needs_real:
        gt = _chosen(batch, sharpened=recipe.sharpen.adversarial)
        with torch.no_grad():
            real = _judged(recipe, parts, _noised(recipe, parts, gt, moment, index, "real for G"))
    fake = _judged(recipe, parts, _noised(recipe, parts, sr, moment, index, "fake for G"))
    targets = generator_targets(recipe.tricks)
    return generator_loss(real, fake, recipe.adversarial, targets=targets, mean=parts.processes.mean)


# ---------------------------------------------------------------------------------------------------- discriminator


def _discriminator_pass(
    recipe: Recipe,
    parts: Parts,
    batches: Sequence[TrainingBatch],
    outputs: Sequence[Tensor],
    moment: Moment,
    losses: _Sums,
) -> None:
    """The discriminator's gradients on real pictures and on the generator's outputs, which it gets detached."""
    assert parts.discriminator_optimizer is not None
    assert recipe.adversarial is not None
    parts.discriminator_optimizer.zero_grad(set_to_none=True)
    for index, (batch, sr) in enumerate(zip(batches, outputs, strict=True)):
        gt = _chosen(batch, sharpened=recipe.sharpen.adversarial)
        real = _judged(recipe, parts, _noised(recipe, parts, gt, moment, index, "real for D"))
        fake = _judged(recipe, parts, _noised(recipe, parts, sr, moment, index, "fake for D"))
        targets = discriminator_targets(recipe.tricks, len(sr), _rng(recipe, parts, moment, index, "labels"))
        value = discriminator_loss(real, fake, recipe.adversarial, targets=targets, mean=parts.processes.mean)
        losses.add("discriminator", value)
        for name, answer in zip(("d_real", "d_fake"), answers(real, fake, recipe.adversarial), strict=True):
            losses.add(name, answer)
        parts.discriminator_scaler.scale(value / len(batches)).backward()  # pyright: ignore[reportUnknownMemberType]


@torch.no_grad()
def answers(real: Sequence[Tensor], fake: Sequence[Tensor], config: AdversarialConfig) -> tuple[Tensor, Tensor]:
    """What a discriminator says to real and to generated pictures, on average: () twice.

    Probabilities of being real, or of looking more real than the other side where the loss compares; for least squares
    its answers are such numbers themselves; for hinge and Wasserstein losses they have no bounds.
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


@dataclass(frozen=True)
class _Side:
    """One of the two networks, with what it is trained by."""

    name: str
    network: nn.Module
    optimizer: torch.optim.Adam
    scaler: torch.amp.GradScaler


def _generator_side(parts: Parts) -> _Side:
    return _Side("generator", parts.generator, parts.optimizer, parts.scaler)


def _judging_side(parts: Parts) -> _Side:
    assert parts.discriminator is not None
    assert parts.discriminator_optimizer is not None
    return _Side("discriminator", parts.discriminator, parts.discriminator_optimizer, parts.discriminator_scaler)


def _step_all(recipe: Recipe, parts: Parts, sides: Sequence[_Side], losses: _Sums) -> bool:
    """Average gradients over all processes, limit them, and step all sides.

    False, and no step at all, where a loss or a gradient is no number: networks step together or stay as they are.
    """
    sound = True
    for side in sides:
        parameters = list(side.network.parameters())
        parts.processes.average_gradients(parameters)  # before they are unscaled: what overflows does so for all
        side.scaler.unscale_(side.optimizer)
        norm = _norm(parameters, recipe.step.clip)
        losses.note(f"{side.name[0]}_gradient", norm)
        # With loss scaling, gradients that are too large are the scaler's affair, which leaves the step out itself.
        sound = sound and (math.isfinite(float(norm)) or side.scaler.is_enabled())
    read = losses.read()
    sound = sound and all(math.isfinite(read[side.name]) for side in sides)
    (unsound,) = parts.processes.any(not sound)
    for side in sides:
        before = side.scaler.get_scale()
        if not unsound:
            side.scaler.step(side.optimizer)
        side.scaler.update()
        left_out = unsound or side.scaler.get_scale() < before
        if side.name == "generator" and parts.average is not None and not left_out:
            update_average(parts.average, parts.generator, recipe.ema)
    return not unsound


def _buffers(network: nn.Module | None) -> list[Tensor]:
    """What a network remembers beside its parameters: statistics of batches, estimates of spectral norms."""
    return [buffer.clone() for buffer in network.buffers()] if network is not None else []


@torch.no_grad()
def _put_back(network: nn.Module | None, kept: Sequence[Tensor]) -> None:
    for buffer, before in zip(network.buffers() if network is not None else (), kept, strict=True):
        buffer.copy_(before)


def _norm(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """The norm of all gradients before they are limited, where there is a limit."""
    gradients = [parameter for parameter in parameters if parameter.grad is not None]
    if limit:
        return nn.utils.clip_grad_norm_(gradients, limit)
    return nn.utils.get_total_norm([parameter.grad for parameter in gradients if parameter.grad is not None])


def _judged(recipe: Recipe, parts: Parts, pictures: Tensor) -> tuple[Tensor, ...]:
    assert parts.discriminator is not None
    with _autocast(recipe, parts):
        logits: tuple[Tensor, ...] = parts.discriminator(pictures)
    return tuple(each.float() for each in logits)


def _chosen(batch: TrainingBatch, *, sharpened: bool) -> Tensor:
    return batch.sharp if sharpened and batch.sharp is not None else batch.gt


def _colors(recipe: Recipe, pictures: Tensor) -> Tensor:
    """Pictures as the pixel loss compares them; discriminators and trunks normalize by themselves."""
    return IMAGENET.apply(pictures) if recipe.step.space == "imagenet" else pictures


_INPUTS = ("real for G", "fake for G", "real for D", "fake for D")


def _noised(recipe: Recipe, parts: Parts, pictures: Tensor, moment: Moment, index: int, what: str) -> Tensor:
    """Instance noise, with draws of its own for each of a step's four inputs of the discriminator."""
    if not recipe.tricks.instance_noise:
        return pictures
    stream = parts.processes.rank * len(_INPUTS) + _INPUTS.index(what)
    rng = chance(recipe.seed, "noise", moment.number + index, process=stream)
    return noisy(pictures, instance_noise_deviation(moment.step, moment.steps), rng)


def _rng(recipe: Recipe, parts: Parts, moment: Moment, index: int, purpose: Purpose) -> np.random.Generator:
    return chance(recipe.seed, purpose, moment.number + index, process=parts.processes.rank)


@contextlib.contextmanager
def _frozen(network: nn.Module | None) -> Generator[None]:
    """Within: gradients flow through the network, and none is kept for its parameters."""
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


@dataclass
class _Sums:
    """Losses by name, averaged over the batches of a step; on the device until they are read, all at once."""

    batches: int
    _held: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def add(self, name: str, value: Tensor) -> Tensor:
        self.note(name, value.detach() / self.batches)
        return value

    def note(self, name: str, value: Tensor) -> None:
        self._held[name] = self._held[name] + value if name in self._held else value

    def read(self) -> dict[str, float]:
        if not self._held:
            return {}
        return dict(
            zip(self._held, torch.stack([value.float() for value in self._held.values()]).tolist(), strict=True)
        )
