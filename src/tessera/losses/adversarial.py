"""Adversarial losses of the generator and the discriminator, as in each system of the family.

A discriminator returns a tuple of logits, one tensor for each scale: (B, 1), or a map (B, 1, h, w). Both losses are one
scalar with one backward pass. The targets for real and fake are arguments, so that smoothed, noisy and flipped labels
are up to the caller.

In these published losses, the means of the relativistic form pass gradients in the discriminator's step: ESRGAN of
2018, PyTorch-GAN, ESRGAN-Pytorch, esrdgan. BasicSR today computes the step in two halves and drops them
(`detach_means`); its second half also runs the discriminator on the fake picture again, which changes its batch
normalization but no loss here.

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
from tessera.losses.pixel import Weight, to_single

Form = Literal["vanilla", "lsgan", "hinge", "wgan", "wgan-softplus"]
Logits = Tensor | Sequence[Tensor]
"""Logits for each scale; a single tensor is one scale."""


class AdversarialConfig(BaseModel, frozen=True, extra="forbid"):
    """Adversarial loss: the form of a term, the comparison, and the reduction of terms and scales.

    `form` is binary cross-entropy on logits (vanilla), squares (lsgan), hinge, or the critic's mean (wgan), optionally
    through a softplus. `relativism` compares with nothing, with the mean of the other side (Jolicoeur-Martineau 2018),
    or picture by picture. `mean_over`, `detach_means` (in the discriminator's step; the generator's needs them) and
    `generator_terms` apply to the average only. `combine` reduces the two terms of a loss that has two.
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
        """Whether the generator's loss needs the logits of real pictures."""
        return self.relativism != "none"

    @model_validator(mode="after")
    def _check_unused(self) -> Self:
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
    """Targets for real and fake: numbers, or tensors that broadcast to every scale's logits.

    Tensors (B, 1, 1, 1) with one target per picture also fit logits (B, 1).

    Forms other than vanilla and lsgan only use the direction: 1 and 0, or 0 and 1 if flipped.
    """

    real: float | Tensor = 1.0
    fake: float | Tensor = 0.0


_PLAIN = Targets()


def _keep(mean: Tensor) -> Tensor:
    return mean


def generator_loss(
    real: Logits | None,
    fake: Logits,
    config: AdversarialConfig,
    *,
    targets: Targets = _PLAIN,
    mean: Callable[[Tensor], Tensor] = _keep,
) -> Tensor:
    """Compute the weighted loss of the generator: logits per scale twice -> (), gradients to `fake`.

    Real logits may be None without relativism. `mean` receives the mean over this process and returns the mean over all
    processes, in the same shape, with gradients.

    Raises UsageError for logits that do not belong together, and for targets that the form does not support.
    """
    fakes = _list_scales(fake)
    if not config.needs_real:
        return config.weight * _reduce_scales(
            [_compute_term(config.form, each, targets.real, critic=False) for each in fakes], config
        )
    losses: list[Tensor] = []
    for r, f in _pair_logits(real, fakes, config):
        r = r.detach()
        if config.relativism == "pairwise":
            losses.append(_compute_term(config.form, f - r, targets.real))
            continue
        as_real = _compute_term(config.form, f - _average(r, config, mean), targets.real)
        if config.generator_terms == "fake":
            losses.append(as_real)
        else:
            as_fake = _compute_term(config.form, r - _average(f, config, mean), targets.fake)
            losses.append(_combine(as_fake, as_real, config))
    return config.weight * _reduce_scales(losses, config)


def discriminator_loss(
    real: Logits,
    fake: Logits,
    config: AdversarialConfig,
    *,
    targets: Targets = _PLAIN,
    mean: Callable[[Tensor], Tensor] = _keep,
) -> Tensor:
    """Compute the unweighted loss of the discriminator: logits per scale twice -> ().

    `fake` are the logits of results that were detached from the generator. `mean` and errors are as in
    `generator_loss`.
    """
    losses: list[Tensor] = []
    for r, f in _pair_logits(real, _list_scales(fake), config):
        if config.relativism == "pairwise":
            losses.append(_compute_term(config.form, r - f, targets.real))
            continue
        of_real, of_fake = r, f
        if config.relativism == "average":
            mean_r, mean_f = _average(r, config, mean), _average(f, config, mean)
            if config.detach_means:
                mean_r, mean_f = mean_r.detach(), mean_f.detach()
            of_real, of_fake = r - mean_f, f - mean_r
        as_real, as_fake = (
            _compute_term(config.form, of_real, targets.real),
            _compute_term(config.form, of_fake, targets.fake),
        )
        losses.append(_combine(as_real, as_fake, config))
    return _reduce_scales(losses, config)


def _compute_term(form: Form, logits: Tensor, target: float | Tensor, *, critic: bool = True) -> Tensor:
    """Mean distance of logits from their target -> ().

    `critic` is False only for a generator without relativism: its hinge has no margin (Lim, Ye 2017), while the
    relativistic one has it in both steps (Jolicoeur-Martineau 2018).
    """
    if form in ("vanilla", "lsgan"):
        wanted = torch.as_tensor(target, dtype=logits.dtype, device=logits.device)
        if wanted.ndim > logits.ndim and set(wanted.shape[logits.ndim :]) == {1}:  # one per picture, for maps too
            wanted = wanted.reshape(wanted.shape[: logits.ndim])
        try:
            wanted = wanted.expand_as(logits)
        except RuntimeError:
            raise UsageError(
                f"The targets have the shape {tuple(wanted.shape)}, which does not broadcast to the logits "
                f"{tuple(logits.shape)}."
            ) from None
        if form == "lsgan":
            return F.mse_loss(logits, wanted)
        return F.binary_cross_entropy_with_logits(logits, wanted)
    if isinstance(target, Tensor) or target not in (0.0, 1.0):
        raise UsageError(
            f"The form {form!r} of the adversarial loss supports real (1) and fake (0) only, found a target of "
            f"{'a tensor' if isinstance(target, Tensor) else target}. Soft and noisy labels go with vanilla and lsgan."
        )
    toward = logits if target == 1.0 else -logits
    if form == "wgan-softplus":
        return F.softplus(-toward).mean()
    if form == "hinge" and critic:
        return F.relu(1 - toward).mean()
    return -toward.mean()


def _average(logits: Tensor, config: AdversarialConfig, over_processes: Callable[[Tensor], Tensor]) -> Tensor:
    """(B, ...) -> () over everything, or (1, ...) over the batch for each position of the map."""
    return over_processes(logits.mean(0, keepdim=True) if config.mean_over == "batch" else logits.mean())


def _combine(one: Tensor, other: Tensor, config: AdversarialConfig) -> Tensor:
    return one + other if config.combine == "sum" else (one + other) / 2


def _reduce_scales(losses: Sequence[Tensor], config: AdversarialConfig) -> Tensor:
    total = torch.stack(tuple(losses)).sum()
    return total / len(losses) if config.scales == "mean" else total


def _list_scales(logits: Logits) -> list[Tensor]:
    scales = [logits] if isinstance(logits, Tensor) else list(logits)
    if not scales:
        raise UsageError("The adversarial loss needs logits of at least one scale, found none.")
    return [to_single(each) for each in scales]


def _pair_logits(real: Logits | None, fakes: list[Tensor], config: AdversarialConfig) -> list[tuple[Tensor, Tensor]]:
    if real is None:
        raise UsageError(f"The relativism {config.relativism!r} needs real logits, found none.")
    reals = _list_scales(real)
    if len(reals) != len(fakes):
        raise UsageError(f"Expected as many scales of fake logits as of real ones, {len(reals)}; found {len(fakes)}.")
    for r, f in zip(reals, fakes, strict=True):
        same = r.shape == f.shape if config.relativism == "pairwise" else r.shape[1:] == f.shape[1:]
        if not same:
            raise UsageError(
                f"Real and fake logits must have the same shape, found {tuple(r.shape)} and {tuple(f.shape)}."
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
    """Find the adversarial loss of a published system.

    >>> adversarial_preset("realesrgan").weight
    0.1

    Raises UsageError with the known names.
    """
    found = next((preset for preset in ADVERSARIAL_PRESETS if preset.name == name), None)
    if found is None:
        names = ", ".join(preset.name for preset in ADVERSARIAL_PRESETS)
        raise UsageError(f"No published adversarial loss is called {name!r}; there are {names}.")
    return found.config
