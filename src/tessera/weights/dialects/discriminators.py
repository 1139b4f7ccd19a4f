"""Recognition of discriminators: from the names and shapes in a file to a configuration and the network's own names.

The dialects are declared next to the networks. Tensors are renamed, copied or turned from BGR to RGB, never computed
with.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tessera.discriminators.catalog import DISCRIMINATORS
from tessera.discriminators.config import DiscriminatorConfig
from tessera.errors import UnknownNetworkError
from tessera.generators.dialect import Dialect, ScaleHint, Shapes
from tessera.weights.arrays import Array, State, zeros
from tessera.weights.dialects.reading import GENERATOR_DIALECTS, Recognized, infer_config, rename
from tessera.weights.dialects.states import format_names, state_shapes
from tessera.weights.dialects.unwrapping import MAX_WRAPPERS, Unwrapped, unwrap

PARTS = ("discriminator", "net_d", "netD", "D")
"""Keys and prefixes of the discriminator in files that hold several networks."""

COUNTER = "num_batches_tracked"
_LAYER = re.compile(r"layer(\d{1,2})\.")
_NEW_SPECTRAL = (
    (".parametrizations.weight.original", ".weight_orig"),
    (".parametrizations.weight.0._u", ".weight_u"),
    (".parametrizations.weight.0._v", ".weight_v"),
)


def discriminator_dialects() -> Iterator[Dialect[Any]]:
    """Every dialect of every discriminator, in the order of recognition."""
    for discriminator in DISCRIMINATORS:
        yield from discriminator.dialects


def find_discriminator(names: Shapes | State) -> Dialect[Any] | None:
    """The dialect whose marks are all among these names; None where there is none."""
    return next((each for each in discriminator_dialects() if all(mark in names for mark in each.marks)), None)


# ---------------------------------------------------------------------------------------------------- unwrapping


def unwrap_discriminator(content: Any) -> Unwrapped:
    """Find the tensors of the discriminator in a checkpoint, also next to those of a generator.

    Raises WeightsError when there are none.
    """
    content = _select_part(content, {})
    part = next((part for part in PARTS if isinstance(content, dict) and isinstance(content.get(part), dict)), None)
    if part is None:
        return unwrap(content)
    found = unwrap(content[part])
    return Unwrapped(found.state, part if found.wrapper == "raw" else f"{part}.{found.wrapper}", found.notes)


def _select_part(content: Any, selected: dict[int, Any], depth: int = 0) -> Any:
    """Where some names begin with a part's name, keep only those, without the prefix; visit each dictionary once."""
    if not isinstance(content, dict) or depth > MAX_WRAPPERS:
        return content
    items: dict[Any, Any] = content
    if id(items) in selected:
        return selected[id(items)]
    for part in PARTS:
        start = f"{part}."
        named = {name.removeprefix(start): items[name] for name in items if str(name).startswith(start)}
        if named:
            break
    else:
        named = {name: _select_part(value, selected, depth + 1) for name, value in items.items()}
    selected[id(items)] = named
    return named


# --------------------------------------------------------------------------------------------------- recognizing


def recognize_discriminator(state: State) -> Recognized[DiscriminatorConfig]:
    """Infer network and sizes from the names and shapes of tensors, and rename them to the network's own names.

    Raises UnknownNetworkError with what does not fit, or with what the file holds instead.
    """
    notes: list[str] = []
    renamed = rename_spectral_norms(state)
    if renamed.keys() != state.keys():
        notes.append("Its spectral normalization has the names of newer PyTorch; they were changed to the older ones.")
    state = renamed
    state = _strip_layer_prefix(state, notes)
    dialect = find_discriminator(state)
    if dialect is not None:
        return _read(dialect, state, notes)
    for known in GENERATOR_DIALECTS:
        if all(mark in state for mark in known.marks):
            raise UnknownNetworkError(
                f"this is a generator ({known.description}), and a discriminator is needed. Give the discriminator,"
                " usually the file whose name has `net_d`, `netD` or `_D` where this one has `net_g`, `netG` or `_G`."
            )
    networks = "; ".join(each.description for each in discriminator_dialects())
    raise UnknownNetworkError(
        "these weights belong to no discriminator of the ESRGAN family; their names are"
        f" {format_names(state)}. Known are {networks}."
    )


def rename_spectral_norms(state: State) -> State:
    """Rename the tensors of PyTorch's newer spectral normalization (`parametrizations`) to the older names."""
    renamed: dict[str, Array] = {}
    for name, tensor in state.items():
        for new, old in _NEW_SPECTRAL:
            if name.endswith(new):
                name = name.removesuffix(new) + old
                break
        renamed[name] = tensor
    return renamed


def _strip_layer_prefix(state: State, notes: list[str]) -> State:
    """Strip the prefix `layerN.` where all names have the same one; several networks stay as they are."""
    found = [_LAYER.match(name) for name in state]
    prefixes = {match[0] if match else "" for match in found}
    if len(prefixes) != 1 or "" in prefixes:
        return state
    (prefix,) = prefixes
    notes.append(f"All its names begin with `{prefix}`; it was read as a single network.")
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _read(dialect: Dialect[Any], state: State, notes: list[str]) -> Recognized[DiscriminatorConfig]:
    config, names = infer_config(dialect, state, ScaleHint())
    shapes = state_shapes(config)
    counters = {theirs for ours, theirs in names.items() if ours.endswith(COUNTER) and theirs not in state}
    if counters:  # PyTorch before 0.4.1 did not count; no result depends on the count
        notes.append("Its batch normalization has no batch counts; they were set to 0.")
        state = {**state, **{name: zeros((), np.int64) for name in counters}}
    renamed = rename(dialect, names, shapes, state)
    if dialect.bgr and config.in_channels >= 3:
        first = next(iter(shapes))
        order = [2, 1, 0, *range(3, config.in_channels)]
        renamed[first] = renamed[first][:, order]
        notes.append("Its weights expect BGR; they were converted so that the network takes RGB.")
    return Recognized(config, renamed, dialect.name, (*notes, *dialect.notes(config)))
