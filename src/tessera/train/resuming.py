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
from tessera.train.history import StoredConfig, format_config, list_changed_keys, list_changes
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
    before: StoredConfig | None = None
    """The configuration that ran last; None for a new run."""
    earlier: Path | None = None
    """The folder to move earlier results to, for a restart."""


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


def check_resumable(folder: RunFolder, recipe: Recipe) -> StoredConfig:
    """Read the configuration of a run to resume.

    Raises UsageError when there is no run to resume, or the recipe differs in what a resumed run must keep.
    """
    if not folder.exists:
        raise UsageError(f"{folder.path}: no run to resume. Start one without `resume`.")
    before = folder.read_config()
    fixed = find_fixed_changes(before.recipe, recipe)
    if fixed:
        more = f" and {len(fixed) - 5} more keys" if len(fixed) > 5 else ""
        names = ", ".join(fixed[:5]) if more or len(fixed) == 1 else f"{', '.join(fixed[:-1])} and {fixed[-1]}"
        raise UsageError(
            f"{folder.path}: a resumed run cannot change {names}{more}. Resume it with its own"
            f" configuration ({folder.path / CONFIG_NAME}), or start a new run with another name (name=...)."
        )
    return before


def describe_noted_changes(before: Recipe, now: Recipe) -> str:
    """One sentence about changes that end the equality to an uninterrupted run; empty without any."""
    keys = {key for key in list_changed_keys(before, now) if _is_noted(key, before, now)}
    changes = [change for change in list_changes(before, now) if change.split(" = ")[0] in keys]
    if not changes:
        return ""
    return f"Changed: {'; '.join(changes)}. Results will not be bit-identical to those of an uninterrupted run."


def format_changed_config(start: Start, recipe: Recipe) -> str | None:
    """Format the configuration that runs now with its history, for the run folder; None if nothing changed."""
    if start.before is None:
        return format_config(recipe, [])
    events = list_changes(start.before.recipe, recipe)
    if start.earlier is not None:
        events.insert(0, f"restarted; earlier results moved to {start.earlier.name}")
    if not events:
        return None
    step = start.checkpoint.step if start.checkpoint is not None else 0
    return format_config(recipe, [*(start.before.history or ["step 0: started"]), f"step {step}: {'; '.join(events)}"])


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


def find_start(
    folder: RunFolder, recipe: Recipe, *, resume: bool, restart: bool, report: Callable[[str], None]
) -> Start:
    """Decide how a run starts, without writing anything.

    Args:
        folder: the folder of the run.
        recipe: the configuration to start with.
        resume: resume from the newest intact checkpoint.
        restart: start at step 0; with `resume`, only without an intact checkpoint.
        report: receives a sentence about each damaged checkpoint that is skipped.

    Raises:
        TrainingError: the folder holds a run and neither was asked for, it holds none to resume, or it has results
            but no intact checkpoint, and `restart` is off.
        UsageError: the recipe differs in what a resumed run must keep.
    """
    if not (resume or restart):
        folder.check_new()
        return Start("new")
    if not folder.exists:
        if not restart:
            folder.check_exists()
        return Start("new")
    if not resume:
        return Start("restart", before=folder.read_config(), earlier=_choose_earlier(folder))
    problems: list[str] = []

    def collect(problem: str) -> None:
        problems.append(problem)
        report(problem)

    checkpoint = find_newest_checkpoint(folder.checkpoints, collect)
    if checkpoint is not None:
        return Start("resume", checkpoint, before=check_resumable(folder, recipe))
    found = _list_results(folder, problems)
    if not found:  # stopped before its first checkpoint
        return Start("resume", before=check_resumable(folder, recipe))
    if not restart:
        raise TrainingError(
            f"{folder.path}: expected an intact checkpoint to resume from, found {', '.join(found)}. Mount the disk or"
            " restore a checkpoint. `restart` starts again at step 0 and moves these results to"
            f" {_choose_earlier(folder)}."
        )
    return Start("restart", before=folder.read_config(), earlier=_choose_earlier(folder))


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


def set_results_aside(folder: RunFolder, place: Path) -> None:
    """Move everything that a run made into a new folder inside it, all but its configuration. Raises TrainingError."""
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
