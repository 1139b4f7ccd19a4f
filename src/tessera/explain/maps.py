"""Attention maps and logits of a discriminator, computed without changing its state.

Gates are named as in A-ESRGAN: A1 is the deepest, at a quarter of the size, A3 the shallowest, at full size; of several
networks, D1 reads the picture at full size, D2 at half. A2_D2 has a quarter of the picture's size.

Shapes: B pictures, H, W height and width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.discriminators.attention_unet import AttentionMaps
from tessera.discriminators.catalog import DISCRIMINATORS
from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.spectral_norm import SpectralConv2d
from tessera.errors import UsageError

_DIVISORS = (4, 2, 1)
"""Size of the network's input divided by that of each map, the deepest first."""
_ITERATIONS = 30
"""Iterations of the power method that bring the norms of untrained layers within half a percent."""


@runtime_checkable
class AttentionNetwork(Protocol):
    """A discriminator with attention gates."""

    config: DiscriminatorConfig

    def compute_attention(self, x: Tensor) -> tuple[AttentionMaps, ...]:
        """(B, C, H, W) -> the maps of each scale, full size first."""
        ...


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One gate: its name and the size of its map."""

    name: str
    depth: int
    """1 to 3, the deepest first."""
    scale: int
    """1 for the network that reads the full size, 2 for half of it, and so on."""
    divisor: int
    """Size of the picture divided by the size of the map."""


def list_gates(config: DiscriminatorConfig) -> tuple[Gate, ...]:
    """List the gates of a discriminator, those of the full size first, each from deep to shallow.

    >>> from tessera.discriminators.multi_scale import MultiScaleConfig
    >>> [(gate.name, gate.divisor) for gate in list_gates(MultiScaleConfig())]
    [('A1_D1', 4), ('A2_D1', 2), ('A3_D1', 1), ('A1_D2', 8), ('A2_D2', 4), ('A3_D2', 2)]

    Raises UsageError for a discriminator without gates.
    """
    scales = config.attention_scales
    if not scales:
        raise UsageError(_describe_missing_gates(config.network))
    return tuple(
        Gate(
            name=f"A{depth}" if scales == 1 else f"A{depth}_D{scale}",
            depth=depth,
            scale=scale,
            divisor=divisor << (scale - 1),
        )
        for scale in range(1, scales + 1)
        for depth, divisor in enumerate(_DIVISORS, 1)
    )


@contextlib.contextmanager
def in_eval_mode(network: nn.Module) -> Generator[None]:
    """Put a network into eval mode without gradients; restore the mode of each module afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad(), _without_tf32(network):
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _without_tf32(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Switch TF32 off, in which CUDA convolutions round the factors of fp32 products to 10 bits."""
    given = next(network.parameters(), None)
    if given is None or given.device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def compute_attention_maps(discriminator: nn.Module, picture: Tensor) -> dict[str, Tensor]:
    """Compute the map of every attention gate of A-ESRGAN's discriminators, at its native size, by the gate's name.

    (B, 3, H, W), RGB in [0, 1], any size -> {"A1": (B, 1, ceil(H/4), ceil(W/4)), "A2": (B, 1, ceil(H/2), ceil(W/2)),
    "A3": (B, 1, H, W)} in (0, 1) for attention-unet; for multi-scale A1_D1 ... A3_D1 of these shapes, then A1_D2 ...
    A3_D2 with twice the divisors, and so on. In eval mode, without gradients; neither the weights and buffers nor the
    mode of the network are changed. Raises UsageError for other networks, and for anything but a batch of pictures.
    """
    if not isinstance(discriminator, AttentionNetwork):
        config = getattr(discriminator, "config", None)
        raise UsageError(
            _describe_missing_gates(
                config.network if isinstance(config, DiscriminatorConfig) else type(discriminator).__name__
            )
        )
    with in_eval_mode(discriminator):
        found = discriminator.compute_attention(picture)
    gates = iter(list_gates(discriminator.config))
    return {next(gates).name: each for maps in found for each in maps}


def _describe_missing_gates(network: str) -> str:
    gated = ", ".join(each.name for each in DISCRIMINATORS if each.has_attention)
    return f"The discriminator {network} has no attention gates. Discriminators with attention gates: {gated}."


def estimate_norms(network: nn.Module) -> bool:
    """Estimate the spectral norms of an untrained discriminator -> whether it was untrained.

    Before the first step the vectors of the power method are random, so eval mode divides by a wrong norm. Checkpoints
    of later steps contain estimates, which stay unchanged. Changes the buffers of `network`: pass a copy.
    """
    counters = [buffer for name, buffer in network.named_buffers() if name.endswith("num_batches_tracked")]
    if not counters or any(bool(counter != 0) for counter in counters):
        return False
    for module in network.modules():
        if isinstance(module, SpectralConv2d):
            training = module.training
            module.train()
            with torch.no_grad():
                for _ in range(_ITERATIONS):
                    module.normalize_weight()
            module.train(training)
    return True


def compute_logits(discriminator: nn.Module, picture: Tensor) -> dict[str, Tensor]:
    """Compute the logits of a per-pixel discriminator; above 0 a pixel counts as real.

    (B, 3, H, W), RGB in [0, 1], any size -> {"D1": (B, 1, H, W), "D2": (B, 1, ceil(H/2), ceil(W/2)), ...}. In eval
    mode, without gradients, and without changing the network. Raises UsageError for anything but a batch of pictures.
    """
    with in_eval_mode(discriminator):
        found: tuple[Tensor, ...] = discriminator(picture)
    return {f"D{scale}": logits for scale, logits in enumerate(found, 1)}


def upsample_map(values: Tensor, divisor: int, size: tuple[int, int]) -> Tensor:
    """Upsample a map to the `size` (H, W) of its picture: (B, 1, ceil(H/d), ceil(W/d)) -> (B, 1, H, W), bilinear.

    Each value belongs to the center of its d x d pixels.
    """
    if divisor > 1:
        values = F.interpolate(values, scale_factor=divisor, mode="bilinear", align_corners=False)
    return values[..., : size[0], : size[1]]
