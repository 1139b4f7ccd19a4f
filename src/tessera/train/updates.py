"""Updates of the networks at the end of a step: gradients averaged, clipped and applied, or none of them.

Shapes: () for losses and norms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tessera.train.averaging import update_average
from tessera.train.parts import Parts
from tessera.train.recipe import Recipe


@dataclass
class LossTotals:
    """Losses by name, averaged over the batches of a step; on the device until `read`, which transfers all at once."""

    batches: int
    _held: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def add(self, name: str, value: Tensor) -> Tensor:
        """Add the loss of one batch, and return it."""
        self.note(name, value.detach() / self.batches)
        return value

    def note(self, name: str, value: Tensor) -> None:
        """Add a value that is not averaged over the batches."""
        self._held[name] = self._held[name] + value if name in self._held else value

    def read(self) -> dict[str, float]:
        """Read all values from the device."""
        if not self._held:
            return {}
        return dict(
            zip(self._held, torch.stack([value.float() for value in self._held.values()]).tolist(), strict=True)
        )


@dataclass(frozen=True)
class NetworkUpdate:
    """One of the two networks with its optimizer."""

    name: str
    network: nn.Module
    optimizer: torch.optim.Adam
    scaler: torch.amp.GradScaler


def get_generator_update(parts: Parts) -> NetworkUpdate:
    """The generator with its optimizer."""
    return NetworkUpdate("generator", parts.generator, parts.optimizer, parts.scaler)


def get_discriminator_update(parts: Parts) -> NetworkUpdate:
    """The discriminator with its optimizer."""
    assert parts.discriminator is not None
    assert parts.discriminator_optimizer is not None
    return NetworkUpdate(
        "discriminator", parts.discriminator, parts.discriminator_optimizer, parts.discriminator_scaler
    )


def apply_updates(recipe: Recipe, parts: Parts, updates: Sequence[NetworkUpdate], losses: LossTotals) -> bool:
    """Average gradients over all processes, clip them, and step all optimizers.

    Returns False, without any step, if a loss or gradient is not finite: either all networks are updated or none.
    """
    sound = True
    for update in updates:
        parameters = list(update.network.parameters())
        parts.processes.average_gradients(parameters)  # before unscaling, so an overflow is seen by all
        update.scaler.unscale_(update.optimizer)
        norm = _gradient_norm(parameters, recipe.step.clip)
        losses.note(f"{update.name[0]}_gradient", norm)
        # With loss scaling, the scaler itself skips steps whose gradients overflow.
        sound = sound and (math.isfinite(float(norm)) or update.scaler.is_enabled())
    read = losses.read()
    sound = sound and all(math.isfinite(read[update.name]) for update in updates)
    (unsound,) = parts.processes.any(not sound)
    for update in updates:
        before = update.scaler.get_scale()
        if not unsound:
            update.scaler.step(update.optimizer)
        update.scaler.update()
        left_out = unsound or update.scaler.get_scale() < before
        if update.name == "generator" and parts.average is not None and not left_out:
            update_average(parts.average, parts.generator, recipe.ema)
    return not unsound


def copy_buffers(network: nn.Module | None) -> list[Tensor]:
    """Copy a network's buffers: batch statistics, estimates of spectral norms."""
    return [buffer.clone() for buffer in network.buffers()] if network is not None else []


@torch.no_grad()
def restore_buffers(network: nn.Module | None, kept: Sequence[Tensor]) -> None:
    """Restore what `copy_buffers` returned."""
    for buffer, before in zip(network.buffers() if network is not None else (), kept, strict=True):
        buffer.copy_(before)


def _gradient_norm(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Norm of all gradients before clipping."""
    gradients = [parameter for parameter in parameters if parameter.grad is not None]
    if limit:
        return nn.utils.clip_grad_norm_(gradients, limit)
    return nn.utils.get_total_norm([parameter.grad for parameter in gradients if parameter.grad is not None])
