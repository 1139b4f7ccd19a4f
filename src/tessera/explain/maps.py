"""Attention maps and logits of a discriminator, computed without changing its state.

Gates are named as in A-ESRGAN: A1 is the deepest, at a quarter of the size, A3 the shallowest, at full size; of several
networks, D1 reads the picture at full size, D2 at half. A2_D2 has a quarter of the picture's size.

The picture is not padded, so the maps are those of A-ESRGAN's scripts at every size. D2 reads floor(H/2) rows.

Shapes: B pictures, H, W height and width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.discriminators.attention_unet import DIVISORS
from tessera.discriminators.attention_unet_network import AttentionMaps
from tessera.discriminators.catalog import DISCRIMINATORS
from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.spectral_norm import SpectralConv2d
from tessera.errors import UsageError

_ITERATIONS = 30
"""Iterations of the power method that bring the norms of untrained layers within half a percent."""


@runtime_checkable
class AttentionNetwork(Protocol):
    """A discriminator with attention gates."""

    config: DiscriminatorConfig

    def iterate_scales(self, x: Tensor, *, with_logits: bool) -> Iterator[tuple[AttentionMaps, Tensor | None]]:
        """(B, C, H, W) -> the maps, and the logits if wanted, of each scale, full size first."""
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
    """Size of the picture divided by the size of the map, both before rounding."""


@dataclass(frozen=True)
class Analysis:
    """Maps of all gates by gate name, and logits by network: D1, D2 ...; no logits if they were not wanted."""

    maps: dict[str, Tensor]
    logits: dict[str, Tensor]


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
        for depth, divisor in enumerate(DIVISORS, 1)
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


@contextlib.contextmanager
def in_published_mode(network: nn.Module) -> Generator[None]:
    """Put a network into training mode, as A-ESRGAN's scripts leave it; restore modes and buffers afterwards.

    Each run then refines the spectral norms by one iteration first, and batch normalization uses the picture's own
    statistics, which changes the logits but not the maps.
    """
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with in_eval_mode(network):
        network.train()
        try:
            yield
        finally:
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])


def _without_tf32(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Switch TF32 off, in which CUDA convolutions round the factors of fp32 products to 10 bits."""
    given = next(network.parameters(), None)
    if given is None or given.device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def analyze(
    discriminator: nn.Module, picture: Tensor, *, with_logits: bool = True, as_published: bool = False
) -> Analysis:
    """Compute the maps of every attention gate and, if wanted, the logits, from one pass of each encoder.

    (B, 3, H, W), RGB in [0, 1], any size -> see `compute_attention_maps` and `compute_logits`. With `as_published`, in
    training mode, as A-ESRGAN's scripts do. Raises UsageError as `compute_attention_maps`.
    """
    if not isinstance(discriminator, AttentionNetwork):
        config = getattr(discriminator, "config", None)
        raise UsageError(
            _describe_missing_gates(
                config.network if isinstance(config, DiscriminatorConfig) else type(discriminator).__name__
            )
        )
    gates = iter(list_gates(discriminator.config))
    found = Analysis({}, {})
    with in_published_mode(discriminator) if as_published else in_eval_mode(discriminator):
        for scale, (maps, logits) in enumerate(discriminator.iterate_scales(picture, with_logits=with_logits), 1):
            found.maps.update((next(gates).name, each) for each in maps)
            if logits is not None:
                found.logits[f"D{scale}"] = logits
    return found


def compute_attention_maps(discriminator: nn.Module, picture: Tensor) -> dict[str, Tensor]:
    """Compute the map of every attention gate of A-ESRGAN's discriminators, at its native size, by the gate's name.

    (B, 3, H, W), RGB in [0, 1], any size -> {"A1": (B, 1, ceil(H/4), ceil(W/4)), "A2": (B, 1, ceil(H/2), ceil(W/2)),
    "A3": (B, 1, H, W)} in (0, 1) for attention-unet; for multi-scale A1_D1 ... A3_D1 of these shapes, then A1_D2 ...
    A3_D2 of the same for floor(H/2) x floor(W/2), and so on. In eval mode, without gradients; neither the weights and
    buffers nor the mode of the network are changed. Raises UsageError for other networks, and for anything but a batch
    of pictures.
    """
    return analyze(discriminator, picture, with_logits=False).maps


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

    (B, 3, H, W), RGB in [0, 1], any size -> {"D1": (B, 1, H, W), "D2": (B, 1, floor(H/2), floor(W/2)), ...}. In eval
    mode, without gradients, and without changing the network. Raises UsageError for anything but a batch of pictures.
    """
    with in_eval_mode(discriminator):
        found: tuple[Tensor, ...] = discriminator(picture)
    return {f"D{scale}": logits for scale, logits in enumerate(found, 1)}


def upsample_map(values: Tensor, divisor: int, size: tuple[int, int]) -> Tensor:
    """Upsample a map to the `size` (H, W) of its picture: (B, 1, h, w) -> (B, 1, H, W), bilinear.

    Each value belongs to the center of its d x d pixels. The last pixels of a picture that its halving left out get the
    values of their neighbors.
    """
    if divisor > 1:
        values = F.interpolate(values, scale_factor=divisor, mode="bilinear", align_corners=False)
    below, right = (max(0, wanted - found) for wanted, found in zip(size, values.shape[-2:], strict=True))
    return F.pad(values, (0, right, 0, below), mode="replicate")[..., : size[0], : size[1]]
