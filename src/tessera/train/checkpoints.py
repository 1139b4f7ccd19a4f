"""Checkpoints of a training run: one folder each, written atomically and verified by checksums.

`checkpoints/000005000/` holds safetensors files and `state.json`, written last, which lists every file with its size
and SHA-256 and carries its own checksum. A folder is filled under a temporary name and renamed; one that is damaged
nevertheless is skipped for the one before it. Nothing in it is a pickle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from tessera.errors import FileError, TrainingError, WeightsError
from tessera.storage.atomic import choose_temporary_name, flush_folder
from tessera.storage.checksum import compute_sha256
from tessera.storage.files import read_bytes, write_text
from tessera.weights.safetensors_file import write_safetensors
from tessera.weights.torch_tensors import to_arrays

STATE_NAME = "state.json"
_STEP = re.compile(r"\d{9}")
_LARGEST_STATE_BYTES = 64 << 20

WriteFile = Callable[[Path], None]


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint."""

    folder: Path
    step: int
    facts: Mapping[str, Any]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one of its files. Raises TrainingError."""
        path = self.folder / name
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{path}: this file of the checkpoint cannot be read ({error}).") from error


def checkpoint_folder(root: Path, step: int) -> Path:
    """Where the checkpoint of a step lies.

    >>> checkpoint_folder(Path("checkpoints"), 5000).name
    '000005000'
    """
    return root / f"{step:09d}"


def write_checkpoint(root: Path, step: int, files: Mapping[str, WriteFile], facts: Mapping[str, Any]) -> Checkpoint:
    """Write a checkpoint: each of `files` by its function, then the facts. Replaces one of the same step.

    Raises TrainingError, and then leaves nothing behind.
    """
    place = checkpoint_folder(root, step)
    part = choose_temporary_name(place)
    try:
        part.mkdir(parents=True)
        for name, write in files.items():
            write(part / name)
        listed = {
            name: {"bytes": (part / name).stat().st_size, "sha256": compute_sha256(part / name)} for name in files
        }
        body = json.dumps({"step": step, "files": listed, "facts": dict(facts)}, sort_keys=True, allow_nan=True)
        text = json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "body": body})
        write_text(part / STATE_NAME, text)
        for path in part.iterdir():
            _flush_file(path)
        flush_folder(part)
        old = choose_temporary_name(place)
        if place.exists():
            place.rename(old)
        part.rename(place)
        flush_folder(root)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, WeightsError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise TrainingError(
            f"{place}: cannot write the checkpoint ({reason or error}). Earlier ones are kept; make room, then resume"
            " the run (`resume`)."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Checkpoint(place, step, facts)


def _flush_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def tensor_writer(tensors: Mapping[str, Tensor]) -> WriteFile:
    """Give a function that writes tensors of any type as safetensors. It raises OSError."""
    held = to_arrays(tensors)
    return lambda path: write_safetensors(path, held, {})


def read_checkpoint_folder(folder: Path) -> Checkpoint:
    """Read a checkpoint's facts and verify its files. Raises TrainingError."""
    try:
        outer = json.loads(read_bytes(folder / STATE_NAME, max_bytes=_LARGEST_STATE_BYTES))
        body = str(outer["body"])
        if hashlib.sha256(body.encode()).hexdigest() != outer["sha256"]:
            raise TrainingError(f"{folder}: {STATE_NAME} is damaged or was changed.")
        state = json.loads(body)
        for name, known in state["files"].items():
            if Path(name).name != name:
                raise TrainingError(f"{folder}: {STATE_NAME} names a file outside the checkpoint, {name!r}.")
            path = folder / name
            if path.stat().st_size != known["bytes"] or compute_sha256(path) != known["sha256"]:
                raise TrainingError(f"{folder}: {name} does not match its checksum.")
        return Checkpoint(folder, int(state["step"]), state["facts"])
    except (OSError, FileError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrainingError(f"{folder}: this checkpoint is incomplete ({error}).") from error


def find_newest_checkpoint(root: Path, report: Callable[[str], None] = lambda _: None) -> Checkpoint | None:
    """The newest valid checkpoint; invalid ones are reported and skipped."""
    folders = list(list_checkpoints(root))
    while folders:
        try:
            return read_checkpoint_folder(folders.pop())
        except TrainingError as error:
            report(f"{error} Using the one before it." if folders else str(error))
    return None


def list_checkpoints(root: Path) -> Iterator[Path]:
    """Every checkpoint's folder, in the order of the steps."""
    with contextlib.suppress(OSError):
        yield from sorted(path for path in root.iterdir() if _STEP.fullmatch(path.name) and path.is_dir())


def remove_old_checkpoints(root: Path, *, keep: int, is_kept: Callable[[int], bool]) -> None:
    """Remove all but the newest `keep` checkpoints and those whose step `is_kept`."""
    folders = list(list_checkpoints(root))
    for folder in folders[: max(0, len(folders) - keep)]:
        if not is_kept(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------------------- optimizers


def optimizer_tensors(optimizer: Optimizer, prefix: str) -> dict[str, Tensor]:
    """The state of an optimizer for each parameter, as named tensors."""
    remembered: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{prefix}.{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, values in remembered.items()
        for name, value in values.items()
    }


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Restore the state from `optimizer_tensors`, in the memory layout of the parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, value in tensors.items():
        owner, index, field = name.rsplit(".", 2)
        if owner != prefix:
            continue
        parameter = parameters[int(index)]
        held = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value.clone()
        optimizer.state[parameter][field] = held
