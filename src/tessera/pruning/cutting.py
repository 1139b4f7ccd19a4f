"""Pruning of whole blocks: the configuration and the unchanged weights of the blocks that are kept.

Shapes: B pictures, C channels, H and W an input.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.errors import UsageError
from tessera.generators import GeneratorConfig, RRDBNetConfig
from tessera.generators.rrdbnet.network import RRDBNet
from tessera.pruning.importance import BlockImportance, compute_outputs, find_least_important, measure_importance
from tessera.weights.license import LICENSE_KEY
from tessera.weights.loaded_generator import LoadedGenerator

START_KEY = "tessera.begun_from"
"""Metadata key of the network that weights started from: its name and the SHA-256 of its file."""
_BLOCK = re.compile(r"body\.(\d+)\.(.+)")

Progress = Callable[[int, int], None]
"""Called with the number of removed blocks, and of blocks to remove."""


@dataclass(frozen=True)
class RemovedBlock:
    """A removed block, and the fidelity of the network without it and those removed before."""

    block: int
    psnr_db: float
    """PSNR to the original network on the calibration pictures."""


@dataclass(frozen=True)
class PrunedNetwork:
    """A network with fewer blocks, and the measurements behind the choice."""

    config: RRDBNetConfig
    state: dict[str, Tensor]
    kept: tuple[int, ...]
    """Numbers of the blocks that are kept, from 0, in the original network."""
    measured: tuple[BlockImportance, ...]
    """Importance of each block of the original network alone."""
    removed: tuple[RemovedBlock, ...]
    """In the order of their removal."""

    @property
    def psnr_db(self) -> float:
        """PSNR of the pruned to the original network on the calibration pictures."""
        return self.removed[-1].psnr_db


def prune(
    generator: LoadedGenerator,
    blocks: int,
    pictures: Sequence[Tensor],
    *,
    dense: bool = True,
    on_removal: Progress | None = None,
) -> PrunedNetwork:
    """Remove the least important block and measure the rest again, until `blocks` are left.

    Repeated measurement matters: a block gains importance if another one with the same effect is removed. Pictures are
    batches (B, C, H, W) in [0, 1]. Raises UsageError if the network is not an RRDBNet with more than `blocks` blocks,
    and without pictures.
    """
    config = check_prunable(generator)
    if not 1 <= blocks < config.blocks:
        raise UsageError(
            f"expected 1 to {config.blocks - 1}, because {generator.name} has {config.blocks} blocks; found {blocks}.",
            field="blocks",
        )
    if not pictures:
        raise UsageError("no pictures to measure the blocks on.", field="calibration")
    network, kept = _copy_network(generator, pictures[0].device), tuple(range(config.blocks))
    references = compute_outputs(network, pictures)
    original = measured = measure_importance(network, pictures, references, dense=dense)
    removed: list[RemovedBlock] = []
    while True:
        least = find_least_important(measured)
        removed.append(RemovedBlock(kept[least.block], least.psnr_db))
        kept = tuple(block for block in kept if block != removed[-1].block)
        if on_removal is not None:
            on_removal(len(removed), config.blocks - blocks)
        if len(kept) == blocks:
            return PrunedNetwork(*keep_blocks(config, generator.state, kept), kept, original, tuple(removed))
        del network.body[least.block]
        measured = measure_importance(network, pictures, references, dense=False)


def check_prunable(generator: LoadedGenerator) -> RRDBNetConfig:
    """Return the configuration of a network that can be pruned. Raises UsageError for others."""
    config: GeneratorConfig = generator.config
    if not isinstance(config, RRDBNetConfig) or generator.exported_as is not None:
        raise UsageError(f"{generator.name}: expected weights of an rrdbnet, found {config.network}.")
    return config


def keep_blocks(
    config: RRDBNetConfig, state: Mapping[str, Tensor], kept: Sequence[int]
) -> tuple[RRDBNetConfig, dict[str, Tensor]]:
    """Remove all blocks that are not in `kept` and renumber the others from 0; other tensors stay.

    Raises UsageError if `kept` is not an ascending selection of the network's blocks.
    """
    if not kept or list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < config.blocks:
        listed = ", ".join(map(str, kept)) or "none"
        raise UsageError(f"expected some of 0 to {config.blocks - 1}, ascending; found {listed}.", field="blocks")
    renumbered = {str(old): new for new, old in enumerate(kept)}
    left: dict[str, Tensor] = {}
    for name, tensor in state.items():
        inside = _BLOCK.fullmatch(name)
        if inside is None:
            left[name] = tensor
        elif inside[1] in renumbered:
            left[f"body.{renumbered[inside[1]]}.{inside[2]}"] = tensor
    return config.model_copy(update={"blocks": len(kept)}), left


def describe_origin(generator: LoadedGenerator, pruned: PrunedNetwork) -> dict[str, str]:
    """Build the metadata of a pruned network: the original, the blocks that are kept, the license."""
    metadata = {
        START_KEY: f"{generator.name}, sha256 {generator.sha256}",
        "tessera.blocks": ", ".join(map(str, pruned.kept)),
    }
    return metadata if generator.license is None else {**metadata, LICENSE_KEY: generator.license}


def _copy_network(generator: LoadedGenerator, device: torch.device) -> RRDBNet:
    """Copy the network to the pictures' device, where blocks can be taken out of it."""
    network = copy.deepcopy(generator.network)
    assert isinstance(network, RRDBNet)
    torch.nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
    return network.to(device=device)
