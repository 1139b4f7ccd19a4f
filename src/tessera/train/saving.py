"""Saving a run to a checkpoint and restoring it.

A checkpoint has the networks, their average, the optimizer states, the pair pool and the loss scaling. It has no random
states: all random draws follow from the seed and the number of crops drawn so far, which is in the facts.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tessera.errors import TrainingError, WeightsError
from tessera.train.checkpoints import (
    Checkpoint,
    WriteFile,
    load_optimizer,
    optimizer_tensors,
    remove_old_checkpoints,
    tensor_writer,
    write_checkpoint,
)
from tessera.train.parts import Parts
from tessera.train.pool import PairPool
from tessera.train.recipe import Recipe
from tessera.weights.discriminator_file import save_discriminator
from tessera.weights.files import save_weights

GENERATOR = "generator.safetensors"
AVERAGE = "average.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
OPTIMIZERS = "optimizers.safetensors"
POOL = "pool.safetensors"
STEP_KEY = "tessera.step"
"""Metadata key of the step, in every weights file of a run."""


def save_run(
    root: Path, step: int, recipe: Recipe, parts: Parts, pool: PairPool, facts: Mapping[str, Any]
) -> Checkpoint:
    """Write the checkpoint of a step and remove old ones. Raises TrainingError."""
    scalers = {"scaler": parts.scaler.state_dict(), "discriminator_scaler": parts.discriminator_scaler.state_dict()}
    files = _files(step, recipe, parts, pool)
    files |= {name: _move_stored_pool(root, name) for name in map(_pool_name, range(1, parts.processes.count))}
    digests = parts.ancestry.teacher_digests
    taught = {"teacher": digests} if digests is not None else {}
    written = write_checkpoint(root, step, files, {**facts, **scalers, **taught})
    every = recipe.checkpoint.keep_every
    remove_old_checkpoints(
        root, keep=recipe.checkpoint.keep, is_kept=lambda old: bool(every) and old % every == 0 and old > 0
    )
    return written


def restore_run(found: Checkpoint, parts: Parts, pool: PairPool) -> None:
    """Restore the parts and the pool from a checkpoint.

    Raises TrainingError, also if the teacher's file has changed.
    """
    _refuse_another_teacher(found, parts)
    parts.generator.load_state_dict(found.tensors(GENERATOR))
    if parts.average is not None:
        parts.average.load_state_dict(found.tensors(AVERAGE))
    if parts.discriminator is not None:
        parts.discriminator.load_state_dict(found.tensors(DISCRIMINATOR))
    optimizers = found.tensors(OPTIMIZERS)
    load_optimizer(parts.optimizer, optimizers, "generator")
    if parts.discriminator_optimizer is not None:
        load_optimizer(parts.discriminator_optimizer, optimizers, "discriminator")
    parts.scaler.load_state_dict(dict(found.facts["scaler"]))
    parts.discriminator_scaler.load_state_dict(dict(found.facts["discriminator_scaler"]))
    pool.load(found.tensors(POOL), parts.processes.device)
    processes = parts.processes
    if processes.count == found.facts["processes"] > 1 and processes.rank:
        pool.load(found.tensors(_pool_name(processes.rank)), processes.device)
    elif processes.count != found.facts["processes"]:
        pool.keep_share(processes.rank, processes.count)


def _refuse_another_teacher(found: Checkpoint, parts: Parts) -> None:
    before, now = found.facts.get("teacher"), parts.ancestry.teacher_digests
    if before != now and parts.ancestry.teachers:
        names = " and ".join(each.name for each in parts.ancestry.teachers)
        raise TrainingError(
            f"The teacher, {names}, is not the file that the run started with (SHA-256 {before}, now {now}). Restore"
            " the old file, or start a new run."
        )


def store_pool(root: Path, rank: int, pool: PairPool) -> None:
    """Store the pool of a process other than the first, which adds it to the checkpoint."""
    if rank:
        tensor_writer(pool.state())(root / f".{_pool_name(rank)}")


def _pool_name(rank: int) -> str:
    return f"pool-{rank}.safetensors"


def _move_stored_pool(root: Path, name: str) -> WriteFile:
    def move(path: Path) -> None:
        (root / f".{name}").replace(path)

    return move


def publish(path: Path, step: int, recipe: Recipe, parts: Parts, metadata: Mapping[str, str]) -> None:
    """Write the validated generator (its average, if any) as one file with its configuration. Raises WeightsError."""
    state = parts.trained.state_dict()
    save_weights(path, recipe.generator, state, metadata={**_origin(step, recipe, parts), **metadata})


def publish_discriminator(folder: Path, step: int, recipe: Recipe, parts: Parts) -> None:
    """Write the discriminator's weights alone, as `discriminator_5000.safetensors`. Raises TrainingError."""
    if parts.discriminator is None or recipe.discriminator is None:
        return
    path = folder / f"discriminator_{step}.safetensors"
    try:
        folder.mkdir(exist_ok=True)
        state = parts.discriminator.state_dict()
        save_discriminator(path, recipe.discriminator, state, metadata=_origin(step, recipe, parts))
    except (OSError, WeightsError) as error:
        raise TrainingError(
            f"{path}: cannot be written ({error}). Make room, then resume the run (`resume`)."
        ) from None


def _origin(step: int, recipe: Recipe, parts: Parts) -> dict[str, str]:
    return {"tessera.run": recipe.name, STEP_KEY: str(step)} | parts.ancestry.metadata


def _files(step: int, recipe: Recipe, parts: Parts, pool: PairPool) -> dict[str, WriteFile]:
    origin = _origin(step, recipe, parts)

    def weights(network: nn.Module) -> WriteFile:
        return functools.partial(save_weights, config=recipe.generator, state=network.state_dict(), metadata=origin)

    optimizers = optimizer_tensors(parts.optimizer, "generator")
    files = {GENERATOR: weights(parts.generator), POOL: tensor_writer(pool.state())}
    if parts.average is not None:
        files[AVERAGE] = weights(parts.average)
    if parts.discriminator is not None and recipe.discriminator is not None:
        discriminator, state = recipe.discriminator, parts.discriminator.state_dict()
        files[DISCRIMINATOR] = functools.partial(save_discriminator, config=discriminator, state=state, metadata=origin)
    if parts.discriminator_optimizer is not None:
        optimizers |= optimizer_tensors(parts.discriminator_optimizer, "discriminator")
    return files | {OPTIMIZERS: tensor_writer(optimizers)}
