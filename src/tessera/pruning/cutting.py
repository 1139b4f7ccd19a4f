"""A network with some of its blocks: its configuration and its weights, which are those that it had.

Shapes: B pictures, C channels, H and W an input.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.errors import UsageError
from tessera.generators import GeneratorConfig, RRDBNetConfig
from tessera.generators.rrdbnet import RRDBNet
from tessera.pruning.importance import BlockImportance, least_important, measure_importance, outputs_of
from tessera.weights.files import assemble
from tessera.weights.license import LICENSE_KEY
from tessera.weights.loaded_generator import LoadedGenerator

_BLOCK = re.compile(r"body\.(\d+)\.(.+)")


Progress = Callable[[int, int], None]
"""Is told how many blocks are out, and how many have to be."""


@dataclass(frozen=True)
class Dropped:
    """A block that was taken out, and what the network was without it and those before."""

    block: int
    psnr_db: float
    """To the whole network, on the pictures that the blocks were measured on."""


@dataclass(frozen=True)
class Pruned:
    """What is left of a network, and why."""

    config: RRDBNetConfig
    state: dict[str, Tensor]
    kept: tuple[int, ...]
    """The blocks that stayed, as the whole network counts them from 0."""
    found: tuple[BlockImportance, ...]
    """Of the blocks of the whole network, each left out alone."""
    dropped: tuple[Dropped, ...]
    """In the order in which they went."""

    @property
    def psnr_db(self) -> float:
        """Of what is left to the whole network, on the same pictures."""
        return self.dropped[-1].psnr_db


def prune(
    generator: LoadedGenerator,
    blocks: int,
    pictures: Sequence[Tensor],
    *,
    dense: bool = True,
    on_drop: Progress | None = None,
) -> Pruned:
    """Take out the least important block, measure what is left, and again until so many blocks stay.

    Measuring anew matters: what one block adds is more when another, which did the same, is gone. Pictures are batches
    (B, C, H, W) in [0, 1]. Raises UsageError for a network that is not an RRDBNet, for a number of blocks that it does
    not have more than, and without pictures.
    """
    config = prunable(generator)
    if not 1 <= blocks < config.blocks:
        raise UsageError(f"{generator.name} has {config.blocks} blocks: expected to keep 1 to {config.blocks - 1}.")
    if not pictures:
        raise UsageError("There are no pictures to measure the blocks on.")
    device, kept = pictures[0].device, tuple(range(config.blocks))
    network = _network(config, generator.state, device)
    wholes = outputs_of(network, pictures)
    found = measuring = measure_importance(network, pictures, wholes, dense=dense)
    dropped: list[Dropped] = []
    while True:
        least = least_important(measuring)
        dropped.append(Dropped(kept[least.block], least.psnr_db))
        kept = tuple(block for block in kept if block != dropped[-1].block)
        cut, state = keep_blocks(config, generator.state, kept)
        if on_drop is not None:
            on_drop(len(dropped), config.blocks - blocks)
        if len(kept) == blocks:
            return Pruned(cut, state, kept, found, tuple(dropped))
        measuring = measure_importance(_network(cut, state, device), pictures, wholes, dense=False)


def prunable(generator: LoadedGenerator) -> RRDBNetConfig:
    """The configuration of a network that blocks can be taken from. Raises UsageError for others."""
    config: GeneratorConfig = generator.config
    if not isinstance(config, RRDBNetConfig) or generator.dialect in ("onnx", "openvino"):
        raise UsageError(f"{generator.name}: blocks are taken from weights of an rrdbnet; this is {config.network}.")
    return config


def keep_blocks(
    config: RRDBNetConfig, state: Mapping[str, Tensor], kept: Sequence[int]
) -> tuple[RRDBNetConfig, dict[str, Tensor]]:
    """Leave all blocks out but those `kept`, which are counted from 0 anew; all else stays.

    Raises UsageError where `kept` is not an ascending choice of the network's blocks.
    """
    if not kept or list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < config.blocks:
        named = ", ".join(map(str, kept)) or "none"
        raise UsageError(f"Blocks to keep: expected some of 0 to {config.blocks - 1}, ascending, and found {named}.")
    place = {str(old): new for new, old in enumerate(kept)}
    left: dict[str, Tensor] = {}
    for name, tensor in state.items():
        inside = _BLOCK.fullmatch(name)
        if inside is None:
            left[name] = tensor
        elif inside[1] in place:
            left[f"body.{place[inside[1]]}.{inside[2]}"] = tensor
    return config.model_copy(update={"blocks": len(kept)}), left


def origin_of(generator: LoadedGenerator, pruned: Pruned) -> dict[str, str]:
    """What the file of a pruned network says of it: what it was cut out of, and whose license it stays under."""
    said = {
        "tessera.begun_from": f"{generator.name}, sha256 {generator.sha256}",
        "tessera.blocks": ", ".join(map(str, pruned.kept)),
    }
    return said if generator.license is None else {**said, LICENSE_KEY: generator.license}


def _network(config: RRDBNetConfig, state: Mapping[str, Tensor], device: torch.device) -> RRDBNet:
    network = assemble(config, state)
    assert isinstance(network, RRDBNet)
    return network.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
