"""Resuming a run: what may change, from which checkpoint, and what happens if none is intact.

Results of a run are never overwritten by a start at step 0: without an intact checkpoint, resuming is refused, and a
restart first moves the earlier results into a folder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tessera.errors import FileError, TrainingError, UsageError
from tessera.train.checkpoints import Checkpoint, find_newest_checkpoint, list_checkpoints
from tessera.train.history import list_changed_keys, list_changes
from tessera.train.recipe import Recipe
from tessera.train.records import BEST, CONFIG_NAME, LATEST, RunFolder
from tessera.wording import format_count

FREE = ("name", "runs", "steps", "epochs", "device", "checkpoint", "validation", "report", "watch")
FREE_DATA = ("workers", "cache", "cache_gib", "cache_folder", "val", "val_lq")
"""Settings that may change on resume without any effect on the weights of the steps in common."""
NOTED = (
    *("data.batch", "data.train", "data.lq", "data.root", "data.recursive"),
    *("step.accumulate", "step.channels_last", "step.compile"),
)
"""Settings that may change on resume with a note: only the equality to an uninterrupted run, bit for bit, is lost."""
EARLIER = "earlier-"
"""Prefix of the folder that a restart moves earlier results to."""


@dataclass(frozen=True)
class Start:
    """How a run starts."""

    kind: Literal["new", "resume", "restart"]
    checkpoint: Checkpoint | None = None
    """The checkpoint to resume from; None for step 0."""


# ------------------------------------------------------------------------------------------------------ configuration


def find_fixed_changes(before: Recipe, now: Recipe) -> list[str]:
    """Keys that differ between a run and its resumption and must not, such as `generator.blocks`."""
    return [key for key in list_changed_keys(before, now) if not _is_free(key) and not _is_noted(key, before, now)]


def _is_free(key: str) -> bool:
    table, _, inner = key.partition(".")
    return table in FREE or (table == "data" and inner.split(".")[0] in FREE_DATA)


def _is_noted(key: str, before: Recipe, now: Recipe) -> bool:
    if key == "data.lq" and (before.data.lq is None) != (now.data.lq is None):
        return False  # pairs instead of a degradation are another training
    return key in NOTED


def check_resumable(folder: RunFolder, recipe: Recipe) -> None:
    """Raise UsageError when there is no run to resume, or the recipe differs in what a resumed run must keep."""
    if not folder.exists:
        raise UsageError(f"{folder.path}: no run to resume. Start one without `resume`.")
    fixed = find_fixed_changes(folder.read_config(), recipe)
    if fixed:
        more = f" and {len(fixed) - 5} more keys" if len(fixed) > 5 else ""
        names = ", ".join(fixed[:5]) if more or len(fixed) == 1 else f"{', '.join(fixed[:-1])} and {fixed[-1]}"
        raise UsageError(
            f"{folder.path}: a resumed run cannot change {names}{more}. Resume it with its own"
            f" configuration ({folder.path / CONFIG_NAME}), or start a new run with another name (name=...)."
        )


def describe_noted_changes(before: Recipe, now: Recipe) -> str:
    """One sentence about changes that end the equality to an uninterrupted run; empty without any."""
    keys = {key for key in list_changed_keys(before, now) if _is_noted(key, before, now)}
    changes = [change for change in list_changes(before, now) if change.split(" = ")[0] in keys]
    if not changes:
        return ""
    return f"Changed: {'; '.join(changes)}. Results will not be bit-identical to those of an uninterrupted run."


def update_config(folder: RunFolder, recipe: Recipe, step: int, *events: str) -> None:
    """Write the configuration that runs now, with what changed at this step. Raises TrainingError."""
    changes = list_changes(folder.read_config(), recipe)
    if not changes and not events:
        return
    history = folder.read_history() or ["step 0: started"]
    folder.write_config(recipe, [*history, f"step {step}: {'; '.join([*events, *changes])}"])


def locate_run(recipe: str, changes: Sequence[str]) -> list[str]:
    """The changes with the place of the run, if the recipe is the configuration inside a run folder.

    A run folder that was moved or renamed then resumes where it is. An explicit `name` or `runs` has precedence.
    """
    path = Path(recipe)
    if path.name != CONFIG_NAME or not (path.parent / "checkpoints").is_dir():
        return list(changes)
    folder = path.parent if path.parent.name not in ("", "..") else path.parent.resolve()
    place = {"runs": str(folder.parent), "name": folder.name}
    given = {change.partition("=")[0].strip() for change in changes}
    if given & place.keys():
        return list(changes)
    return [*(f"{key}={value}" for key, value in place.items()), *changes]


# ------------------------------------------------------------------------------------------------------------- start


def find_start(folder: RunFolder, *, resume: bool, restart: bool, report: Callable[[str], None]) -> Start:
    """Decide how a run starts, without writing anything.

    Args:
        folder: the folder of the run.
        resume: resume from the newest intact checkpoint.
        restart: start at step 0; with `resume`, only without an intact checkpoint.
        report: receives a sentence about each damaged checkpoint that is skipped.

    Raises:
        TrainingError: the folder holds a run and neither was asked for, it holds none to resume, or it has results
            but no intact checkpoint, and `restart` is off.
    """
    if not (resume or restart):
        folder.check_new()
        return Start("new")
    if not folder.exists:
        if not restart:
            folder.check_exists()
        return Start("new")
    if not resume:
        return Start("restart")
    problems: list[str] = []

    def collect(problem: str) -> None:
        problems.append(problem)
        report(problem)

    checkpoint = find_newest_checkpoint(folder.checkpoints, collect)
    if checkpoint is not None:
        return Start("resume", checkpoint)
    found = _list_results(folder, problems)
    if not found:  # stopped before its first checkpoint
        return Start("resume")
    if not restart:
        raise TrainingError(
            f"{folder.path}: expected an intact checkpoint to resume from, found {', '.join(found)}. Mount the disk or"
            " restore a checkpoint. `restart` starts again at step 0 and moves these results to"
            f" {_choose_earlier(folder)}."
        )
    return Start("restart")


def _list_results(folder: RunFolder, problems: Sequence[str]) -> list[str]:
    """What a run without an intact checkpoint has; empty if it was stopped before it made anything."""
    found: list[str] = []
    if not folder.checkpoints.is_dir():
        found.append("no folder named checkpoints")
    damaged = list(list_checkpoints(folder.checkpoints))
    if damaged:
        reason = f" ({problems[-1].rstrip('.')})" if problems else ""
        found.append(f"{format_count(len(damaged), 'damaged checkpoint')}{reason}")
    found += [name for name in (BEST, LATEST) if (folder.path / name).exists()]
    last = -1
    with contextlib.suppress(OSError, FileError):
        last = max((line["step"] for line in folder.metrics()), default=-1)
    if last >= 0:
        found.append(f"metrics up to step {last:,}")
    return found


def _choose_earlier(folder: RunFolder) -> Path:
    number = 1
    while os.path.lexists(folder.path / f"{EARLIER}{number}"):
        number += 1
    return folder.path / f"{EARLIER}{number}"


def set_results_aside(folder: RunFolder) -> Path:
    """Move everything that a run made into a new folder inside it, all but its configuration. Raises TrainingError."""
    place = _choose_earlier(folder)
    try:
        place.mkdir()
        for path in sorted(folder.path.iterdir()):
            if path.name not in (CONFIG_NAME, ".lock") and not path.name.startswith(EARLIER):
                path.rename(place / path.name)
        for inner in (folder.checkpoints, folder.samples):
            inner.mkdir()
    except OSError as error:
        raise TrainingError(
            f"{folder.path}: cannot move the earlier results to {place} ({error.strerror or error})."
        ) from error
    return place
