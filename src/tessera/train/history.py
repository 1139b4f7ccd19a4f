"""The configuration file of a run: the configuration that ran last, with its changes in comments at the top.

# step 0: started (Tessera 0.2.0)
# step 30: steps = 60 (was 30)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from tessera.config import Values, format_toml
from tessera.storage.files import read_bytes
from tessera.train.recipe import Recipe

_TITLE = "# The configuration of this run, and how it changed:"
_MARK = "#   "
_LARGEST_BYTES = 16 << 20


def format_config(recipe: Recipe, history: list[str]) -> str:
    """Format a configuration as TOML, with one comment line per entry of the history."""
    head = [_TITLE, *(_MARK + " ".join(entry.split()) for entry in history), ""] if history else []
    return "".join(f"{line}\n" for line in head) + format_toml(recipe)


def read_history(path: Path) -> list[str]:
    """Read the history of a configuration file. Raises OSError, FileError."""
    lines = read_bytes(path, max_bytes=_LARGEST_BYTES).decode(errors="replace").splitlines()
    if not lines or lines[0] != _TITLE:
        return []
    entries: list[str] = []
    for line in lines[1:]:
        if not line.startswith(_MARK):
            break
        entries.append(line.removeprefix(_MARK))
    return entries


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
