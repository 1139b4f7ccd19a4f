"""What the generator and the discriminator want of each other, as each system of the family has it.

A discriminator gives a tuple of logits, one tensor for each scale that it looks at: (B, 1), or a map (B, 1, h, w). Both
losses are one scalar, to be called backward on once. Which numbers stand for real and fake is passed in, so that
smoothed, noisy and flipped labels are the business of whoever trains.

Published losses in which the means of the relativistic form pass gradients in the discriminator's step: ESRGAN of 2018,
PyTorch-GAN, ESRGAN-Pytorch, esrdgan. BasicSR today takes the step in two halves and so drops them (`detach_means`); its
second half also runs the discriminator on the fake again, which its batch normalization sees but no loss here does.

Shapes: B pictures, h, w the height and width of a map of logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, model_validator
from torch import Tensor

from tessera.errors import UsageError
from tessera.losses.pixel import Weight, at_least_single

Form = Literal["vanilla", "lsgan", "hinge", "wgan", "wgan-softplus"]
Logits = Tensor | Sequence[Tensor]
"""Logits for each scale; a tensor alone is one scale, not a batch of them."""


class AdversarialConfig(BaseModel, frozen=True, extra="forbid"):
    """The adversarial term: what a term is, what it compares, and how terms and scales are put together.

    `form` is binary cross-entropy on logits (vanilla), squares (lsgan), hinge, or the critic's mean (wgan) as it is or
    through a softplus. `relativism` compares with nothing, with the mean of the other side (Jolicoeur-Martineau 2018),
    or picture by picture. `mean_over`, `detach_means` (in the discriminator's step; the generator's needs them) and
    `generator_terms` belong to the average. `combine` is said of the two terms of a loss that has two.
    """

    form: Form = "vanilla"
    relativism: Literal["none", "average", "pairwise"] = "none"
    mean_over: Literal["everything", "batch"] = "everything"
    detach_means: bool = False
    generator_terms: Literal["both", "fake"] = "both"
    combine: Literal["mean", "sum"] = "sum"
    scales: Literal["sum", "mean"] = "sum"
    weight: Weight = 1.0

    @property
    def needs_real(self) -> bool:
        """Whether the generator's loss reads the logits of real pictures."""
        return self.relativism != "none"

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        given = {"mean_over", "detach_means", "generator_terms"} & self.model_fields_set
        changed = sorted(name for name in given if getattr(self, name) != type(self).model_fields[name].default)
        if self.relativism != "average" and changed:
            raise ValueError(
                f"{' and '.join(changed)} say how an average is taken, and relativism is {self.relativism!r}; "
                'leave them out, or set relativism to "average"'
            )
        return self


@dataclass(frozen=True)
class Targets:
    """What stands for real and for fake: numbers, or tensors that broadcast to every scale's logits.

    Tensors (B, 1, 1, 1) with one target per picture also fit logits (B, 1).

    Of each form but vanilla and lsgan only the direction is used, so there they are 1 and 0, or 0 and 1 when flipped.
    """

    real: float | Tensor = 1.0
    fake: float | Tensor = 0.0


_PLAIN = Targets()


def _as_it_is(mean: Tensor) -> Tensor:
    return mean


def generator_loss(
    real: Logits | None,
    fake: Logits,
    config: AdversarialConfig,
    *,
    targets: Targets = _PLAIN,
    mean: Callable[[Tensor], Tensor] = _as_it_is,
) -> Tensor:
    """What the generator pays for being told apart, with the weight: logits per scale twice -> (), gradients to `fake`.

    Real logits may be left out (None) where nothing is compared. `mean` gets the mean over this process and gives that
    over all of them, in the same shape, with gradients.

    Raises UsageError for logits that do not belong together, and for targets that the form cannot have.
    """
    fakes = _scales(fake)
    if not config.needs_real:
        return config.weight * _over_scales(
            [_wanted(config.form, each, targets.real, critic=False) for each in fakes], config
        )
    losses: list[Tensor] = []
    for r, f in _pairs(real, fakes, config):
        r = r.detach()
        if config.relativism == "pairwise":
            losses.append(_wanted(config.form, f - r, targets.real))
            continue
        as_real = _wanted(config.form, f - _mean(r, config, mean), targets.real)
        if config.generator_terms == "fake":
            losses.append(as_real)
        else:
            losses.append(_both(_wanted(config.form, r - _mean(f, config, mean), targets.fake), as_real, config))
    return config.weight * _over_scales(losses, config)


def discriminator_loss(
    real: Logits,
    fake: Logits,
    config: AdversarialConfig,
    *,
    targets: Targets = _PLAIN,
    mean: Callable[[Tensor], Tensor] = _as_it_is,
) -> Tensor:
    """What the discriminator pays for its mistakes, without any weight: logits per scale twice -> ().

    `fake` are the logits of results that were detached from the generator. `mean` and errors are as in
    `generator_loss`.
    """
    losses: list[Tensor] = []
    for r, f in _pairs(real, _scales(fake), config):
        if config.relativism == "pairwise":
            losses.append(_wanted(config.form, r - f, targets.real))
            continue
        of_real, of_fake = r, f
        if config.relativism == "average":
            mean_r, mean_f = _mean(r, config, mean), _mean(f, config, mean)
            if config.detach_means:
                mean_r, mean_f = mean_r.detach(), mean_f.detach()
            of_real, of_fake = r - mean_f, f - mean_r
        as_real, as_fake = (
            _wanted(config.form, of_real, targets.real),
            _wanted(config.form, of_fake, targets.fake),
        )
        losses.append(_both(as_real, as_fake, config))
    return _over_scales(losses, config)


def _wanted(form: Form, logits: Tensor, target: float | Tensor, *, critic: bool = True) -> Tensor:
    """The mean distance of logits from what they should be, -> ().

    `critic` is False only for a generator that is compared with nothing: its hinge has no margin (Lim, Ye 2017), while
    the relativistic one has it in both steps (Jolicoeur-Martineau 2018).
    """
    if form in ("vanilla", "lsgan"):
        wanted = torch.as_tensor(target, dtype=logits.dtype, device=logits.device)
        if wanted.ndim > logits.ndim and set(wanted.shape[logits.ndim :]) == {1}:  # one per picture, for maps too
            wanted = wanted.reshape(wanted.shape[: logits.ndim])
        try:
            wanted = wanted.expand_as(logits)
        except RuntimeError:
            raise UsageError(
                f"The targets have the shape {tuple(wanted.shape)}, which does not spread over the logits "
                f"{tuple(logits.shape)}."
            ) from None
        if form == "lsgan":
            return F.mse_loss(logits, wanted)
        return F.binary_cross_entropy_with_logits(logits, wanted)
    if isinstance(target, Tensor) or target not in (0.0, 1.0):
        raise UsageError(
            f"The form {form!r} of the adversarial loss knows real (1) and fake (0) only, and a target is "
            f"{'a tensor' if isinstance(target, Tensor) else target}. Soft and noisy labels go with vanilla and lsgan."
        )
    toward = logits if target == 1.0 else -logits
    if form == "wgan-softplus":
        return F.softplus(-toward).mean()
    if form == "hinge" and critic:
        return F.relu(1 - toward).mean()
    return -toward.mean()


def _mean(logits: Tensor, config: AdversarialConfig, over_processes: Callable[[Tensor], Tensor]) -> Tensor:
    """(B, ...) -> () over everything, or (1, ...) over the batch, each place of the map for itself."""
    return over_processes(logits.mean(0, keepdim=True) if config.mean_over == "batch" else logits.mean())


def _both(one: Tensor, other: Tensor, config: AdversarialConfig) -> Tensor:
    return one + other if config.combine == "sum" else (one + other) / 2


def _over_scales(losses: Sequence[Tensor], config: AdversarialConfig) -> Tensor:
    total = torch.stack(tuple(losses)).sum()
    return total / len(losses) if config.scales == "mean" else total


def _scales(logits: Logits) -> list[Tensor]:
    scales = [logits] if isinstance(logits, Tensor) else list(logits)
    if not scales:
        raise UsageError("The adversarial loss needs logits of one scale at least, and found none.")
    return [at_least_single(each) for each in scales]


def _pairs(real: Logits | None, fakes: list[Tensor], config: AdversarialConfig) -> list[tuple[Tensor, Tensor]]:
    if real is None:
        raise UsageError(f"The relativism {config.relativism!r} compares with real logits, and none were given.")
    reals = _scales(real)
    if len(reals) != len(fakes):
        raise UsageError(
            f"There are {len(reals)} scales of real logits and {len(fakes)} of fake ones; they should pair."
        )
    for r, f in zip(reals, fakes, strict=True):
        same = r.shape == f.shape if config.relativism == "pairwise" else r.shape[1:] == f.shape[1:]
        if not same:
            raise UsageError(
                f"Real and fake logits of one scale should have one shape, found {tuple(r.shape)} and {tuple(f.shape)}."
            )
    return list(zip(reals, fakes, strict=True))


# ---------------------------------------------------------------------------------------------------------- published


@dataclass(frozen=True)
class AdversarialPreset:
    """The adversarial loss of one published system."""

    name: str
    config: AdversarialConfig
    system: str


ADVERSARIAL_PRESETS: tuple[AdversarialPreset, ...] = (
    AdversarialPreset(
        "esrgan",
        AdversarialConfig(relativism="average", combine="mean", weight=5e-3),
        "ESRGAN, 2018: both terms halved in both steps, one backward of the discriminator's",
    ),
    AdversarialPreset(
        "esrgan-basicsr",
        AdversarialConfig(relativism="average", detach_means=True, combine="mean", weight=5e-3),
        "ESRGAN in BasicSR today: the discriminator's two halves one after another, so no gradient through the means",
    ),
    AdversarialPreset(
        "realesrgan",
        AdversarialConfig(weight=0.1),
        "Real-ESRGAN: nothing is compared; the discriminator's two terms are added, not halved",
    ),
    AdversarialPreset(
        "a-esrgan",
        AdversarialConfig(scales="sum", weight=0.1),
        "A-ESRGAN Single and Multi: as Real-ESRGAN, the scales added, so that the weight is 0.1 for each",
    ),
    AdversarialPreset(
        "pytorch-gan",
        AdversarialConfig(relativism="average", mean_over="batch", generator_terms="fake", combine="mean", weight=5e-3),
        "PyTorch-GAN: means over the batch for each patch, one term in the generator's step, two halved in the other",
    ),
    AdversarialPreset(
        "esrgan-pytorch",
        AdversarialConfig(relativism="average", generator_terms="fake", combine="sum", weight=1e-3),
        "ESRGAN-Pytorch: one term in the generator's step, two added ones in the discriminator's",
    ),
    AdversarialPreset(
        "esrdgan-relativistic",
        AdversarialConfig(relativism="pairwise", weight=5e-3),
        "esrdgan, gan_type relativistic: result against truth picture by picture, one term in each step",
    ),
    AdversarialPreset(
        "esrdgan-relativisticavg",
        AdversarialConfig(relativism="average", combine="mean", weight=5e-3),
        "esrdgan, gan_type relativisticavg: as ESRGAN, 2018",
    ),
)


def adversarial_preset(name: str) -> AdversarialConfig:
    """Give the adversarial loss of a published system.

    >>> adversarial_preset("realesrgan").weight
    0.1

    Raises UsageError with the names there are.
    """
    found = next((preset for preset in ADVERSARIAL_PRESETS if preset.name == name), None)
    if found is None:
        names = ", ".join(preset.name for preset in ADVERSARIAL_PRESETS)
        raise UsageError(f"No published adversarial loss is called {name!r}; there are {names}.")
    return found.config
