"""From the content of a checkpoint to one flat dictionary of tensors, without enclosing dictionaries and prefixes.

Where a file holds averaged weights (an exponential moving average, EMA) in addition to the raw ones, the averaged ones
are used, as the trainers that write them recommend. They are recognized by the word `ema` in a key or in the first part
of tensor names: BasicSR's `params_ema`, `net_g_ema`, MMEditing's `generator_ema.`, timm's `state_dict_ema`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tessera.errors import WeightsError
from tessera.weights.arrays import Array, State, is_floating
from tessera.weights.dialects.states import format_names

# In order of preference, after keys of averaged weights.
WRAPPERS = (
    "params",
    "state_dict",
    "model_state_dict",
    "generator",
    "generator_state_dict",
    "net_g",
    "netG",
    "net_G",
    "model_g",
    "model_G",
    "gen",
    "G",
    "g",
    "G_state_dict",
    "g_state_dict",
    "model",
    "net",
)
PREFIXES = ("module.", "_orig_mod.", "netG.", "net_g.", "generator.", "G.", "net.")
GENERATOR_PREFIXES = ("netG.", "net_g.", "generator.", "G.")
MAX_WRAPPERS = 4

_DISCRIMINATOR = re.compile(r"(?i)(?:^|[_\-])(?:d|net_?d|disc|discriminator|critic)(?:$|[_\-])")
_TRAINING = re.compile(r"(?i)(?:^|[_\-])(?:opt(?:im\w*)?|sched\w*|(?:grad_?)?scaler|loss\w*|criterion)(?:$|[_\-])")


@dataclass(frozen=True)
class Unwrapped:
    """The flat dictionary of tensors, and the keys under which it was found (`raw` without enclosing keys)."""

    state: dict[str, Array]
    wrapper: str
    notes: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    """The notes about which of several sets of weights was used."""


def is_averaged(key: str) -> bool:
    """Whether a key or a part of a name says that the weights in it are averaged, and not a discriminator's.

    >>> [is_averaged(key) for key in ("params_ema", "generator_ema", "EMA", "net_d_ema", "schema", "params")]
    [True, True, True, False, False, False]
    """
    return "ema" in re.split(r"[_\-]", key.lower()) and not _DISCRIMINATOR.search(key)


def unwrap(content: Any, *, averaged: bool = True) -> Unwrapped:
    """Find the dictionary of tensors in the content of a checkpoint, and strip common prefixes from its names.

    Without `averaged`, the raw weights are used where the outermost dictionary has both. Raises WeightsError when there
    is none.
    """
    if not averaged:
        content = _drop_averaged(content)
    whole = content
    path: list[str] = []
    others: list[str] = []
    visited: dict[int, _Survey] = {}
    while len(path) < MAX_WRAPPERS and isinstance(content, dict):
        inside: dict[Any, Any] = content
        found = _list_wrappers(inside, visited)
        if not found:
            break
        others += [".".join((*path, key)) for key in found[1:] if not _survey_key(inside, key, visited).averaged]
        path.append(found[0])
        content = inside[found[0]]
    notes: list[str] = []
    choices: list[str] = []
    if any(is_averaged(key) for key in path):
        instead = f", not those in {format_names(others)}" if others else ""
        notes.append(f"Used the averaged weights in `{'.'.join(path)}`{instead}.")
        choices += notes if others else []
    if not isinstance(content, dict) or not _survey(content, {}).tensors:
        raise WeightsError(
            f"it holds no dictionary of tensors but {_describe(content)}. Expected the file that "
            "`torch.save(network.state_dict(), file)` writes."
        )
    items: dict[Any, Any] = content
    state = {
        name: value
        for name, value in items.items()
        if isinstance(name, str) and isinstance(value, np.ndarray) and not _is_counter(name, value)
    }
    if not state:
        raise WeightsError("its tensors have no names, so their network is unknown.")
    left_out = [str(name)[:40] for name in items if name not in state]
    if left_out:
        notes.append(f"Left out {format_names(left_out)}, which are not weights.")
    if unnamed := _find_unnamed_averages(whole, set()):
        choices.append(f"The averaged weights in `{unnamed}` have no names and were not used.")
        notes.append(choices[-1])
    state, more = _strip_prefixes(state)
    return Unwrapped(state, ".".join(path) or "raw", (*notes, *more), (*choices, *more))


def _drop_averaged(content: Any) -> Any:
    """Drop the averaged weights of a dictionary that has raw ones too."""
    if not isinstance(content, dict):
        return content
    items: dict[Any, Any] = content
    raw = {key: value for key, value in items.items() if not is_averaged(str(key))}
    return raw if _survey(raw, {}).tensors else items


def _is_counter(name: str, value: Array) -> bool:
    """Whether a tensor outside of all modules counts steps: `step_counter`, `n_averaged`."""
    return "." not in name and not value.ndim and not is_floating(value.dtype)


@dataclass(frozen=True)
class _Survey:
    """Whether there are tensors of a network in a dictionary, directly or further inside, and averaged ones."""

    tensors: bool = False
    averaged: bool = False


def _list_wrappers(items: Mapping[Any, Any], visited: dict[int, _Survey]) -> list[str]:
    """List the keys with a network's tensors in them, in order of preference.

    A key of no known trainer counts only if averaged weights are in it, or if nothing else has tensors.
    """
    keys = [key for key in items if _survey_key(items, key, visited).tensors]
    averaged = [key for key in keys if is_averaged(key)]
    averaged += [key for key in keys if key not in averaged and _survey_key(items, key, visited).averaged]
    known = [key for key in WRAPPERS if key in keys and key not in averaged]
    unknown = [key for key in keys if key not in averaged and key not in known]
    alone = len(keys) == 1 and not _has_own_tensors(items)
    return [*averaged, *known, *unknown] if averaged or known or alone else []


def _survey_key(items: Mapping[Any, Any], key: Any, visited: dict[int, _Survey], depth: int = 0) -> _Survey:
    """Look for tensors under a key, unless it names a discriminator or the state of a training."""
    if not isinstance(key, str) or _DISCRIMINATOR.search(key) or _TRAINING.search(key):
        return _Survey()
    found = _survey(items[key], visited, depth + 1)
    return replace(found, averaged=found.averaged or (found.tensors and is_averaged(key)))


def _survey(value: Any, visited: dict[int, _Survey], depth: int = 0) -> _Survey:
    """Look for tensors in a dictionary and in those inside it; each dictionary is visited once."""
    if not isinstance(value, dict) or depth > MAX_WRAPPERS:
        return _Survey()
    items: dict[Any, Any] = value
    if id(items) not in visited:
        visited[id(items)] = _Survey()  # a dictionary inside itself
        inside = [_survey_key(items, key, visited, depth) for key, item in items.items() if isinstance(item, dict)]
        tensors = _has_own_tensors(items) or any(found.tensors for found in inside)
        visited[id(items)] = _Survey(tensors, any(found.averaged for found in inside))
    return visited[id(items)]


def _has_own_tensors(items: Mapping[Any, Any]) -> bool:
    return any(isinstance(item, np.ndarray) and item.ndim for item in items.values())


def _find_unnamed_averages(value: Any, visited: set[int], path: tuple[str, ...] = ()) -> str | None:
    """Find averaged weights that are a list of tensors, as torch_ema's `shadow_params`, and return their keys."""
    if isinstance(value, list | tuple):
        values: Sequence[Any] = value
        unnamed = bool(values) and all(isinstance(item, np.ndarray) for item in values)
        return ".".join(path) if unnamed and any(is_averaged(key) for key in path) else None
    if not isinstance(value, dict) or len(path) > MAX_WRAPPERS or id(value) in visited:
        return None
    items: dict[Any, Any] = value
    visited.add(id(items))
    found = (
        _find_unnamed_averages(item, visited, (*path, key))
        for key, item in items.items()
        if isinstance(key, str) and isinstance(item, dict | list | tuple) and not _TRAINING.search(key)
    )
    return next((name for name in found if name), None)


def _describe(content: Any) -> str:
    if isinstance(content, dict):
        keys: list[Any] = list(content)
        return (
            f"a dictionary with the keys {format_names(str(key)[:40] for key in keys)}"
            if keys
            else "an empty dictionary"
        )
    return "a single tensor" if isinstance(content, np.ndarray) else f"a value of type {type(content).__name__}"


def _strip_prefixes(state: dict[str, Array]) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Strip common prefixes -> the tensors, and notes if one prefix was chosen among several."""
    notes: list[str] = []
    firsts = dict.fromkeys(name.partition(".")[0] for name in state if "." in name)
    averaged = [f"{first}." for first in firsts if is_averaged(first)]
    for prefix in (*averaged[:1], *GENERATOR_PREFIXES):
        inside = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        if 0 < len(inside) < len(state):
            what = "averaged weights" if prefix in averaged else "tensors"
            notes.append(f"Used the {what} named `{prefix}...` and left out {len(state) - len(inside)} others.")
            state = inside
        elif inside and prefix in averaged:
            state = inside
    while prefix := _find_common_prefix(state):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state, tuple(notes)


def _find_common_prefix(state: State) -> str | None:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) and name != prefix for name in state):
            return prefix
    # `model.` belongs to the names of the original architecture (`model.0`); elsewhere it is a wrapper's.
    if all(name.startswith("model.") and not name.removeprefix("model.")[:1].isdigit() for name in state):
        return "model."
    return None
