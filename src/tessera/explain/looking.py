"""What the gates of a discriminator let through of a picture, and what it answers, without leaving a trace in it.

Gates are named as users of A-ESRGAN know them: A1 is the deepest, at a quarter of the size, A3 the shallowest, at full
size; of several networks, D1 sees the picture at full size, D2 at half. So A2_D2 lies at a quarter.

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
"""How many times smaller than what its network sees each map is, the deepest first."""
_ITERATIONS = 30
"""Of the power method: the norms of fresh layers are then right to half a percent."""


@runtime_checkable
class AttentionNetwork(Protocol):
    """A discriminator with attention gates."""

    config: DiscriminatorConfig

    def attention(self, x: Tensor) -> tuple[AttentionMaps, ...]:
        """(B, C, H, W) -> the maps of each scale, full size first."""
        ...


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One gate: its name, and how many times smaller than the picture its map is."""

    name: str
    depth: int
    """1 to 3, the deepest first."""
    scale: int
    """1 for the network that sees the whole size, 2 for that which sees half of it, and so on."""
    divisor: int


def gates_of(config: DiscriminatorConfig) -> tuple[Gate, ...]:
    """The gates of a discriminator, those of the full size first, each from deep to shallow.

    >>> from tessera.discriminators.multi_scale import MultiScaleConfig
    >>> [(gate.name, gate.divisor) for gate in gates_of(MultiScaleConfig())]
    [('A1_D1', 4), ('A2_D1', 2), ('A3_D1', 1), ('A1_D2', 8), ('A2_D2', 4), ('A3_D2', 2)]

    Raises UsageError for a discriminator without gates.
    """
    scales = config.attention_scales
    if not scales:
        raise UsageError(_no_gates(config.network))
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
def only_looking(network: nn.Module) -> Generator[None]:
    """Put a network into eval mode without gradients; afterwards each of its parts is in the mode it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad(), _whole_fp32(network):
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _whole_fp32(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """CUDA convolutions round the factors of fp32 products to 10 bits (TF32) unless they are told not to."""
    given = next(network.parameters(), None)
    if given is None or given.device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def attention_maps(discriminator: nn.Module, picture: Tensor) -> dict[str, Tensor]:
    """Give the map of every attention gate of A-ESRGAN's discriminators, at its own size, by the gate's name.

    (B, 3, H, W), RGB in [0, 1], any size -> {"A1": (B, 1, ceil(H/4), ceil(W/4)), "A2": (B, 1, ceil(H/2), ceil(W/2)),
    "A3": (B, 1, H, W)} in (0, 1) for attention-unet; for multi-scale A1_D1 ... A3_D1 of these shapes, then A1_D2 ...
    A3_D2 with twice the divisors, and so on. In eval mode, without gradients; neither the weights and buffers nor the
    mode of the network are changed. Raises UsageError for another network, or for what is no batch of pictures.
    """
    if not isinstance(discriminator, AttentionNetwork):
        config = getattr(discriminator, "config", None)
        raise UsageError(
            _no_gates(config.network if isinstance(config, DiscriminatorConfig) else type(discriminator).__name__)
        )
    with only_looking(discriminator):
        found = discriminator.attention(picture)
    gates = iter(gates_of(discriminator.config))
    return {next(gates).name: each for maps in found for each in maps}


def _no_gates(network: str) -> str:
    gated = ", ".join(each.name for each in DISCRIMINATORS if each.has_attention)
    return f"The discriminator {network} has no attention gates. Discriminators with attention gates: {gated}."


def settle_norms(network: nn.Module) -> bool:
    """Estimate the spectral norms of a discriminator that has not done a step -> whether it was one.

    Before the first step the vectors of the norms are random, and what eval mode divides by is far from the norm; every
    later checkpoint has estimates, which are left as they are. Changes the buffers of `network`, so give a copy.
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
                    module.normalized_weight()
            module.train(training)
    return True


def answers(discriminator: nn.Module, picture: Tensor) -> dict[str, Tensor]:
    """Give the answers of a discriminator that judges each pixel, as logits: above 0 it takes a pixel for real.

    (B, 3, H, W), RGB in [0, 1], any size -> {"D1": (B, 1, H, W), "D2": (B, 1, ceil(H/2), ceil(W/2)), ...}. In eval
    mode, without gradients, and without changing the network. Raises UsageError for what is no batch of pictures.
    """
    with only_looking(discriminator):
        found: tuple[Tensor, ...] = discriminator(picture)
    return {f"D{scale}": logits for scale, logits in enumerate(found, 1)}


def enlarged(values: Tensor, divisor: int, size: tuple[int, int]) -> Tensor:
    """Lay a map over its picture of `size` (H, W): (B, 1, ceil(H/d), ceil(W/d)) -> (B, 1, H, W), bilinear.

    Each value is taken to stand in the middle of the d x d pixels that it belongs to.
    """
    if divisor > 1:
        values = F.interpolate(values, scale_factor=divisor, mode="bilinear", align_corners=False)
    return values[..., : size[0], : size[1]]
