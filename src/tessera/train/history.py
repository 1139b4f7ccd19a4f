"""The configuration file of a run: the configuration that ran last, with its changes in comments at the top.

# step 0: started (Tessera 0.2.0)
# step 30: steps = 60 (was 30)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tessera.config import Values, format_toml, parse_toml, validate
from tessera.errors import FileError, UsageError
from tessera.storage.files import read_bytes
from tessera.train.recipe import Recipe

_TITLE = "# The configuration of this run, and how it changed:"
_MARK = "#   "
_LARGEST_BYTES = 16 << 20


def format_config(recipe: Recipe, history: Sequence[str]) -> str:
    """Format a configuration as TOML, with one comment line per entry of the history."""
    head = [_TITLE, *(_MARK + " ".join(entry.split()) for entry in history), ""] if history else []
    return "".join(f"{line}\n" for line in head) + format_toml(recipe)


@dataclass(frozen=True)
class StoredConfig:
    """The content of a configuration file."""

    recipe: Recipe
    history: tuple[str, ...] = ()
    """The start and all changes, one entry each."""


def read_config(path: Path) -> StoredConfig:
    """Read a configuration file. Raises UsageError."""
    try:
        data = read_bytes(path, max_bytes=_LARGEST_BYTES)
    except FileError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{path}: this file cannot be read ({error.strerror or error}).") from error
    recipe = validate(Recipe, parse_toml(data, path), str(path))
    entries: list[str] = []
    title, *lines = data.decode(errors="replace").splitlines() or [""]
    for line in lines if title == _TITLE else ():
        if not line.startswith(_MARK):
            break
        entries.append(line.removeprefix(_MARK))
    return StoredConfig(recipe, tuple(entries))


def list_changes(before: Recipe, now: Recipe) -> list[str]:
    """List the keys that differ, with their values: `steps = 60 (was 30)`."""
    old, new = (_flatten(recipe.model_dump(mode="json")) for recipe in (before, now))
    keys = list(dict.fromkeys([*old, *new]))
    return [f"{key} = {_show(new, key)} (was {_show(old, key)})" for key in keys if old.get(key) != new.get(key)]


def list_changed_keys(before: Recipe, now: Recipe) -> list[str]:
    """List the keys that differ, such as `data.batch`, in the order of the record."""
    old, new = (_flatten(recipe.model_dump(mode="json")) for recipe in (before, now))
    return [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]


def _flatten(values: Values, path: str = "") -> Values:
    """Nested tables -> dotted keys; None counts as missing."""
    flat: Values = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(cast(Values, value), f"{path}{key}.")
        elif value is not None:
            flat[f"{path}{key}"] = value
    return flat


def _show(values: Values, key: str) -> str:
    value: Any = values.get(key, "unset")
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."
