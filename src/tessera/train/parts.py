"""The parts of a run, made from its recipe: networks with their first weights, optimizers, losses that hold a trunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tessera.discriminators import load_discriminator
from tessera.engines import RUN_BY
from tessera.errors import TrainingError
from tessera.generators import GeneratorConfig, RRDBNetConfig
from tessera.losses import PerceptualLoss, load_perceptual_trunk
from tessera.pruning.cutting import keep_blocks, prunable, prune
from tessera.train.ancestry import Ancestor, Ancestry, ancestry_of
from tessera.train.averaging import averaged_copy
from tessera.train.chance import chance
from tessera.train.processes import Processes
from tessera.train.recipe import OptimizerConfig, Recipe
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.zoo.models import load_model

Network = TypeVar("Network", bound=nn.Module)

DENSE_SCALE = 0.1
"""What BasicSR multiplies Kaiming's values in the dense blocks with."""


@dataclass(frozen=True)
class Teacher:
    """The frozen network that a generator learns from."""

    network: nn.Module
    """(B, 3, p, p) in [0, 1] -> (B, 3, P, P), not clipped"""
    name: str
    sha256: str
    """Of its file, because a name alone may mean another network tomorrow."""
    license: str | None = None

    @property
    def ancestor(self) -> Ancestor:
        """The same without the network."""
        return Ancestor(self.name, self.sha256, self.license)


Calibration = Callable[[], Sequence[Tensor]]
"""Gives inputs of the run, (B, 3, p, p) each in [0, 1], to measure blocks on."""


@dataclass(frozen=True)
class Parts:
    """Everything that a step works on."""

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
        """The generator as it is validated and published: its average, where there is one."""
        return self.average or self.generator


def build_parts(recipe: Recipe, processes: Processes, *, calibration: Calibration | None = None) -> Parts:
    """Make networks, optimizers and losses. Raises TesseraError where weights or trunks are not there or do not fit.

    `calibration` is asked where blocks have to be chosen; without it, as for a run that is resumed, the first stay.
    """
    notes: list[str] = []
    device, layout = processes.device, _layout(recipe)
    begun_from = load_model(recipe.start.generator) if recipe.start.generator else None
    teacher = None
    if recipe.distillation is not None:
        teacher = _teacher(recipe.distillation.teacher, recipe, device, layout)
    ancestry = ancestry_of(recipe, begun_from, None if teacher is None else teacher.ancestor)
    network = _generator(recipe, begun_from, notes, calibration)
    generator = _placed(network.train().requires_grad_(True), device, layout)
    discriminator = None
    if recipe.discriminator is not None:
        discriminator = _placed(_discriminator(recipe, notes).train().requires_grad_(True), device, layout)
    perceptual = None
    if recipe.perceptual is not None and (recipe.perceptual.weight or recipe.perceptual.style_weight):
        trunk = load_perceptual_trunk(recipe.perceptual.trunk)
        perceptual = _placed(PerceptualLoss(trunk, recipe.perceptual), device, layout)
    if recipe.step.compile:
        for network in (generator, discriminator, teacher.network if teacher is not None else None):
            if network is not None:
                network.compile()  # its forward only: names of weights stay
    half = recipe.step.precision == "fp16"
    optimizer = _adam(recipe.optimizer, generator.parameters())
    judging = recipe.discriminator_optimizer or recipe.optimizer
    return Parts(
        generator=generator,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(device.type, enabled=half),
        average=averaged_copy(generator) if recipe.ema else None,
        discriminator=discriminator,
        discriminator_optimizer=_adam(judging, discriminator.parameters()) if discriminator is not None else None,
        discriminator_scaler=torch.amp.GradScaler(device.type, enabled=half),
        perceptual=perceptual,
        teacher=teacher,
        processes=processes,
        ancestry=ancestry,
        notes=tuple(notes),
    )


def _placed(network: Network, device: torch.device, layout: torch.memory_format) -> Network:
    move: Any = network.to  # whose types do not know that both may be given
    return move(device=device, memory_format=layout)


def _layout(recipe: Recipe) -> torch.memory_format:
    return torch.channels_last if recipe.step.channels_last else torch.contiguous_format


def _adam(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=config.rate, betas=config.betas, weight_decay=config.weight_decay)


def _generator(
    recipe: Recipe, found: LoadedGenerator | None, notes: list[str], calibration: Calibration | None
) -> nn.Module:
    network = fresh_generator(recipe)
    if found is None:
        return network
    config, state = found.config, found.state
    if recipe.start.blocks:
        _check_number_of_blocks(recipe.start.blocks, recipe.generator)
        config, state = _with_fewer_blocks(found, recipe.start.blocks, notes, calibration)
    if config == recipe.generator:
        network.load_state_dict(state)
        return network
    _fit(network, state, recipe, f"{found.source or found.name} (x{found.config.scale})", notes)
    return network


def _check_number_of_blocks(blocks: int | tuple[int, ...], generator: GeneratorConfig) -> None:
    """Raises TrainingError where the network to train has another number of blocks than stay."""
    count = blocks if isinstance(blocks, int) else len(blocks)
    if isinstance(generator, RRDBNetConfig) and generator.blocks != count:
        raise TrainingError(
            f"start.blocks keeps {count}, and generator.blocks is {generator.blocks}: give both the same number, or"
            " leave generator.blocks out."
        )


def _with_fewer_blocks(
    found: LoadedGenerator, blocks: int | tuple[int, ...], notes: list[str], calibration: Calibration | None
) -> tuple[GeneratorConfig, Mapping[str, Tensor]]:
    """What is left of a network when so many of its blocks stay, or these. Raises UsageError, as `prune` does."""
    if isinstance(blocks, tuple):
        return keep_blocks(prunable(found), found.state, blocks)
    if calibration is None:
        return keep_blocks(prunable(found), found.state, range(blocks))
    pruned = prune(found, blocks, calibration(), dense=False)
    kept = ", ".join(map(str, pruned.kept))
    notes.append(
        f"{found.name}: of its {pruned.found[-1].block + 1} blocks {kept} stay (counted from 0), with which it is"
        f" {pruned.psnr_db:.1f} dB from the whole."
    )
    return pruned.config, pruned.state


def _fit(network: nn.Module, state: Mapping[str, Tensor], recipe: Recipe, source: str, notes: list[str]) -> None:
    """Take what fits. Raises TrainingError where not everything does and the recipe does not say that this is meant."""
    own = network.state_dict()
    if not own.keys() & state.keys() and [value.shape for value in own.values()] == [
        value.shape for value in state.values()
    ]:  # the same layers under another program's names, such as esrdgan's of an RRDBNet
        notes.append(f"{source}: its weights have other names, and were taken in their order.")
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
        notes.append(f"{source}: {len(fitting)} of {len(own)} tensors fit and were taken; the others begin fresh.")
    network.load_state_dict(fitting, strict=False)


def fresh_generator(recipe: Recipe) -> nn.Module:
    """A generator with first values that follow from the seed alone."""
    rng = chance(recipe.seed, "initial weights", 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63 - 1)))
        network = recipe.generator.build()
        initialize(network, recipe.start.init, recipe.start.init_scale, recipe.start.last_scale)
    return network


def initialize(network: nn.Module, how: str, scale: float, last_scale: float = 1.0) -> None:
    """Give a generator first values, from PyTorch's global chance.

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


def _discriminator(recipe: Recipe, notes: list[str]) -> nn.Module:
    assert recipe.discriminator is not None
    rng = chance(recipe.seed, "initial weights", 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63 - 1)))
        network = recipe.discriminator.build()
    if recipe.start.discriminator:
        path = Path(recipe.start.discriminator)
        _fit(network, load_discriminator(path).network.state_dict(), recipe, str(path), notes)
    return network


def _teacher(spec: str, recipe: Recipe, device: torch.device, layout: torch.memory_format) -> Teacher:
    """Load the network that a generator learns from.

    Raises TrainingError where it enlarges by another factor, is not for RGB, cannot take inputs of the size of the
    crops, or is run by a library that is not PyTorch, and what `load_model` raises.
    """
    found, scale, patch = load_model(spec), recipe.generator.scale, recipe.data.patch
    if found.dialect in RUN_BY:
        raise TrainingError(
            f"distillation.teacher: {spec} is {RUN_BY[found.dialect][0]}; take the weights that it was exported from."
        )
    if found.config.scale != scale:
        raise TrainingError(
            f"distillation.teacher: {spec} enlarges {found.config.scale} times, and the generator {scale} times; take a"
            " teacher of the same scale."
        )
    if (found.config.in_channels, found.config.out_channels) != (3, 3):
        raise TrainingError(
            f"distillation.teacher: {spec} takes {found.config.in_channels} channels and gives"
            f" {found.config.out_channels}; take a teacher for RGB."
        )
    if patch % (scale * found.config.multiple):
        raise TrainingError(
            f"distillation.teacher: {spec} needs data.patch to be a multiple of {scale * found.config.multiple}, and it"
            f" is {patch}."
        )
    if recipe.distillation is not None and recipe.distillation.features:
        _check_same_trunk(spec, found.config, recipe.generator)
    network = _placed(found.network.eval().requires_grad_(False), device, layout)
    return Teacher(network, found.name, found.sha256, found.license)


def _check_same_trunk(spec: str, teacher: GeneratorConfig, student: GeneratorConfig) -> None:
    """Raises TrainingError where what the two trunks find cannot be compared channel by channel."""
    if not isinstance(teacher, RRDBNetConfig) or not isinstance(student, RRDBNetConfig):
        raise TrainingError(
            f"distillation.features: {spec} is {teacher.network}; features are those of two rrdbnets. Set it to 0."
        )
    if (teacher.features, teacher.unshuffle) != (student.features, student.unshuffle):
        raise TrainingError(
            f"distillation.features: {spec} has {teacher.features} features after an unshuffle by {teacher.unshuffle},"
            f" and the generator {student.features} after {student.unshuffle}. Take a teacher that has as many."
        )
