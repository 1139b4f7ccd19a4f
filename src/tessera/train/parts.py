"""The parts of a run, built from its recipe: initialized networks, optimizers, losses with a trunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tessera.errors import TrainingError, UsageError
from tessera.generators import GeneratorConfig, RRDBNetConfig
from tessera.losses import PerceptualLoss
from tessera.pruning.cutting import check_prunable, keep_blocks, prune
from tessera.train.ancestry import Ancestor, Ancestry, find_ancestry
from tessera.train.averaging import copy_for_averaging
from tessera.train.networks import LoadedNetworks
from tessera.train.processes import Processes
from tessera.train.recipe import Recipe
from tessera.train.recipe_parts import OptimizerConfig
from tessera.train.seeding import derive_rng
from tessera.weights.discriminator_file import LoadedDiscriminator
from tessera.weights.loaded_generator import LoadedGenerator

Network = TypeVar("Network", bound=nn.Module)

DENSE_SCALE = 0.1
"""Factor on Kaiming's initial values in dense blocks (BasicSR)."""


@dataclass(frozen=True)
class Teacher:
    """The frozen network that a generator learns from."""

    network: nn.Module
    """(B, 3, p, p) in [0, 1] -> (B, 3, P, P), not clipped"""
    name: str
    sha256: str
    """Digest of its file, because the file behind a name may change."""
    license: str | None = None

    @property
    def ancestor(self) -> Ancestor:
        """Its name, digest and license."""
        return Ancestor(self.name, self.sha256, self.license)


ReadCalibration = Callable[[], Sequence[Tensor]]
"""Reads inputs of the run, batches (B, 3, p, p) in [0, 1], on which to measure blocks."""


@dataclass(frozen=True)
class Parts:
    """Networks, optimizers and losses of a training step."""

    generator: nn.Module
    optimizer: torch.optim.Adam
    scaler: torch.amp.GradScaler
    average: nn.Module | None
    discriminator: nn.Module | None
    discriminator_optimizer: torch.optim.Adam | None
    discriminator_scaler: torch.amp.GradScaler
    perceptual: PerceptualLoss | None
    teacher: Teacher | None
    processes: Processes
    ancestry: Ancestry
    notes: tuple[str, ...] = ()

    @property
    def trained(self) -> nn.Module:
        """The generator that is validated and published: its average, if there is one."""
        return self.average or self.generator


def build_parts(
    recipe: Recipe,
    loaded: LoadedNetworks,
    processes: Processes,
    *,
    read_calibration: ReadCalibration | None = None,
) -> Parts:
    """Build networks, optimizers and losses. Raises TesseraError if loaded networks do not fit the recipe.

    `read_calibration` is called if `start.blocks` requires measuring blocks. Without it, as for a resumed run whose
    checkpoint has the weights, the first blocks are kept.
    """
    notes = list(loaded.notes)
    device, layout = processes.device, _memory_format(recipe)
    teacher = None
    if loaded.teacher is not None:
        teacher = _build_teacher(loaded.teacher, recipe, device, layout)
    ancestry = find_ancestry(recipe, loaded.start, None if teacher is None else teacher.ancestor)
    network = _build_generator(recipe, loaded.start, notes, read_calibration)
    generator = _move(network.train().requires_grad_(True), device, layout)
    discriminator = None
    if recipe.discriminator is not None:
        discriminator = _move(
            _build_discriminator(recipe, loaded.discriminator, notes).train().requires_grad_(True), device, layout
        )
    perceptual = None
    if recipe.perceptual is not None and loaded.trunk is not None:
        perceptual = _move(PerceptualLoss(loaded.trunk, recipe.perceptual), device, layout)
    if recipe.step.compile:
        for network in (generator, discriminator, teacher.network if teacher is not None else None):
            if network is not None:
                network.compile()  # compiles only forward, so weights keep their names
    half = recipe.step.precision == "fp16"
    optimizer = _build_adam(recipe.optimizer, generator.parameters())
    discriminator_config = recipe.discriminator_optimizer or recipe.optimizer
    return Parts(
        generator=generator,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(device.type, enabled=half),
        average=copy_for_averaging(generator) if recipe.ema else None,
        discriminator=discriminator,
        discriminator_optimizer=_build_adam(discriminator_config, discriminator.parameters())
        if discriminator is not None
        else None,
        discriminator_scaler=torch.amp.GradScaler(device.type, enabled=half),
        perceptual=perceptual,
        teacher=teacher,
        processes=processes,
        ancestry=ancestry,
        notes=tuple(notes),
    )


def _move(network: Network, device: torch.device, layout: torch.memory_format) -> Network:
    move: Any = network.to  # its type stubs do not allow both arguments
    return move(device=device, memory_format=layout)


def _memory_format(recipe: Recipe) -> torch.memory_format:
    return torch.channels_last if recipe.step.channels_last else torch.contiguous_format


def _build_adam(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=config.rate, betas=config.betas, weight_decay=config.weight_decay)


def _build_generator(
    recipe: Recipe, found: LoadedGenerator | None, notes: list[str], read_calibration: ReadCalibration | None
) -> nn.Module:
    network = build_fresh_generator(recipe)
    if found is None:
        return network
    config, state = found.config, found.state
    if recipe.start.blocks:
        _check_block_count(recipe.start.blocks, recipe.generator)
        try:
            config, state = _select_blocks(found, recipe.start.blocks, notes, read_calibration)
        except UsageError as error:
            raise UsageError(error.facts, field="start.blocks") from None
    if config == recipe.generator:
        network.load_state_dict(state)
        return network
    _load_matching_tensors(network, state, recipe, f"{found.source or found.name} (x{found.config.scale})", notes)
    return network


def _check_block_count(blocks: int | tuple[int, ...], generator: GeneratorConfig) -> None:
    """Raise TrainingError if the network to train has a different number of blocks."""
    count = blocks if isinstance(blocks, int) else len(blocks)
    if isinstance(generator, RRDBNetConfig) and generator.blocks != count:
        raise TrainingError(
            f"start.blocks keeps {count} blocks, and generator.blocks is {generator.blocks}: set both to the same"
            " number, or leave generator.blocks out."
        )


def _select_blocks(
    found: LoadedGenerator, blocks: int | tuple[int, ...], notes: list[str], read_calibration: ReadCalibration | None
) -> tuple[GeneratorConfig, Mapping[str, Tensor]]:
    """Keep the named blocks, or the most important ones on the run's inputs. Raises UsageError, as `prune` does."""
    if isinstance(blocks, tuple):
        return keep_blocks(check_prunable(found), found.state, blocks)
    if read_calibration is None:
        return keep_blocks(check_prunable(found), found.state, range(blocks))
    pruned = prune(found, blocks, read_calibration(), dense=False)
    kept = ", ".join(map(str, pruned.kept))
    notes.append(
        f"{found.name}: blocks {kept} of its {len(pruned.measured)} (from 0) are kept; PSNR to the original network"
        f" {pruned.psnr_db:.1f} dB."
    )
    return pruned.config, pruned.state


def _load_matching_tensors(
    network: nn.Module, state: Mapping[str, Tensor], recipe: Recipe, source: str, notes: list[str]
) -> None:
    """Load matching tensors. Raises TrainingError if some do not match and start.partial is off."""
    own = network.state_dict()
    if not own.keys() & state.keys() and [value.shape for value in own.values()] == [
        value.shape for value in state.values()
    ]:  # the same layers under another program's names, such as esrdgan's of an RRDBNet
        notes.append(f"{source}: its tensors have other names and were loaded in order.")
        state = dict(zip(own, state.values(), strict=True))
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    missing = [name for name in own if name not in fitting]
    if missing and not (recipe.start.partial and fitting):
        name = missing[0]
        found = f"has {tuple(state[name].shape)}" if name in state else "has none"
        raise TrainingError(
            f"{source}: these weights do not fit the recipe's network: `{name}` should be {tuple(own[name].shape)},"
            f" and the file {found} ({len(missing)} of {len(own)} tensors do not fit). Change the recipe's network, or"
            " set start.partial = true to take what fits."
        )
    if missing:
        notes.append(f"{source}: {len(fitting)} of {len(own)} tensors fit and were loaded; the others start fresh.")
    network.load_state_dict(fitting, strict=False)


def build_fresh_generator(recipe: Recipe) -> nn.Module:
    """Build a generator whose initial weights depend only on the seed."""
    rng = derive_rng(recipe.seed, "initial weights", 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63 - 1)))
        network = recipe.generator.build()
        initialize_weights(network, recipe.start.init, recipe.start.init_scale, recipe.start.last_scale)
    return network


def initialize_weights(network: nn.Module, how: str, scale: float, last_scale: float = 1.0) -> None:
    """Initialize a generator from PyTorch's global random state.

    `basicsr`: Kaiming's normal values times 0.1, biases 0, in the convolutions of dense blocks (BasicSR);
    `kaiming`: the same times `scale` in every convolution (esrdgan); `pytorch`: as they were built. The last
    convolution's are multiplied with `last_scale`.
    """
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        dense = "rdb" in name.lower() or "dense_blocks" in name
        if how == "kaiming" or (how == "basicsr" and dense):
            factor = scale if how == "kaiming" else DENSE_SCALE
            fan_in = module.in_channels * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, std=factor * math.sqrt(2 / fan_in))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    with torch.no_grad():
        for values in last.parameters() if last_scale != 1 else ():
            values.mul_(last_scale)


def _build_discriminator(recipe: Recipe, found: LoadedDiscriminator | None, notes: list[str]) -> nn.Module:
    assert recipe.discriminator is not None
    rng = derive_rng(recipe.seed, "initial weights", 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63 - 1)))
        network = recipe.discriminator.build()
    if found is not None:
        _load_matching_tensors(network, found.network.state_dict(), recipe, str(found.source), notes)
    return network


def _build_teacher(
    found: LoadedGenerator, recipe: Recipe, device: torch.device, layout: torch.memory_format
) -> Teacher:
    """Prepare the teacher network.

    Raises TrainingError if its scale differs from the generator's, it is not for RGB, it does not accept the crop size,
    or it does not run in PyTorch.
    """
    spec, scale, patch = found.name, recipe.generator.scale, recipe.data.patch
    if found.exported_as is not None:
        raise TrainingError(
            f"distillation.teacher: {spec} is {found.exported_as}, which does not run in PyTorch; use the weights that"
            " it was exported from."
        )
    if found.config.scale != scale:
        raise TrainingError(
            f"distillation.teacher: {spec} has scale {found.config.scale}, and the generator {scale};"
            " choose a teacher of the same scale."
        )
    if (found.config.in_channels, found.config.out_channels) != (3, 3):
        raise TrainingError(
            f"distillation.teacher: {spec} has {found.config.in_channels} input and"
            f" {found.config.out_channels} output channels; choose an RGB teacher."
        )
    if patch % (scale * found.config.multiple):
        raise TrainingError(
            f"distillation.teacher: {spec} needs data.patch to be a multiple of {scale * found.config.multiple}, and it"
            f" is {patch}."
        )
    if recipe.distillation is not None and recipe.distillation.features:
        _check_same_trunk(spec, found.config, recipe.generator)
    network = _move(found.network.eval().requires_grad_(False), device, layout)
    return Teacher(network, found.name, found.sha256, found.license)


def _check_same_trunk(spec: str, teacher: GeneratorConfig, student: GeneratorConfig) -> None:
    """Raise TrainingError if the features of the two trunks cannot be compared channel by channel."""
    if not isinstance(teacher, RRDBNetConfig) or not isinstance(student, RRDBNetConfig):
        raise TrainingError(
            f"distillation.features: {spec} is {teacher.network}; features are compared between two rrdbnets. Set it"
            " to 0."
        )
    if (teacher.features, teacher.unshuffle) != (student.features, student.unshuffle):
        raise TrainingError(
            f"distillation.features: {spec} has {teacher.features} features after an unshuffle by {teacher.unshuffle},"
            f" and the generator {student.features} after {student.unshuffle}. Choose a teacher with equal values."
        )
