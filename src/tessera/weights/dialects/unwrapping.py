"""From what a checkpoint holds to one bare dictionary of tensors, without other dictionaries and prefixes around it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tessera.errors import WeightsError
from tessera.weights.dialects.states import State, listed

# In order of preference: the averaged weights first.
WRAPPERS = (
    "params_ema",
    "params-ema",
    "params",
    "state_dict",
    "model_state_dict",
    "generator",
    "net_g",
    "netG",
    "model",
    "net",
)
PREFIXES = ("module.", "_orig_mod.", "netG.", "net_g.", "generator.", "G.", "net.")
GENERATOR_PREFIXES = ("netG.", "net_g.", "generator.", "G.")
MAX_WRAPPERS = 4


@dataclass(frozen=True)
class Unwrapped:
    """The bare dictionary of tensors, and the keys under which it was found (`raw` when it lay bare)."""

    state: dict[str, Tensor]
    wrapper: str
    notes: tuple[str, ...] = ()


def unwrap(content: Any) -> Unwrapped:
    """Find the dictionary of tensors in what a checkpoint held, and take common prefixes off its names.

    Raises WeightsError when there is none.
    """
    path: list[str] = []
    while len(path) < MAX_WRAPPERS and isinstance(content, dict):
        found = next((key for key in WRAPPERS if _has_tensors(content.get(key))), None)
        if found is None:
            break
        path.append(found)
        content = content[found]
    if not isinstance(content, dict) or not _has_tensors(content):
        raise WeightsError(
            f"it holds no dictionary of tensors but {_describe(content)}. A file of weights is what "
            "`torch.save(network.state_dict(), file)` writes."
        )
    items: dict[Any, Any] = content
    state = {name: value for name, value in items.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not state:
        raise WeightsError("its tensors have no names, so it cannot be told what they are weights of.")
    left_out = [str(name)[:40] for name in items if name not in state]
    notes = [f"Left out what is no tensor: {listed(left_out)}."] if left_out else []
    state, more = _strip_prefixes(state)
    return Unwrapped(state, ".".join(path) or "raw", (*notes, *more))


def _has_tensors(value: Any, depth: int = 0) -> bool:
    if not isinstance(value, dict) or depth > MAX_WRAPPERS:
        return False
    if any(isinstance(item, Tensor) for item in value.values()):
        return True
    return any(_has_tensors(value.get(key), depth + 1) for key in WRAPPERS)


def _describe(content: Any) -> str:
    if isinstance(content, dict):
        keys: list[Any] = list(content)
        return f"a dictionary with the keys {listed(str(key)[:40] for key in keys)}" if keys else "an empty dictionary"
    return "a single tensor" if isinstance(content, Tensor) else f"a value of the kind {type(content).__name__}"


def _strip_prefixes(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    notes: list[str] = []
    for prefix in GENERATOR_PREFIXES:
        inside = {name: tensor for name, tensor in state.items() if name.startswith(prefix)}
        if 0 < len(inside) < len(state):
            notes.append(f"Used the tensors named `{prefix}...` and left out {len(state) - len(inside)} others.")
            state = inside
    while prefix := _common_prefix(state):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state, tuple(notes)


def _common_prefix(state: State) -> str | None:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) and name != prefix for name in state):
            return prefix
    # `model.` belongs to the names of the original architecture (`model.0`), and elsewhere it is a wrapper's.
    if all(name.startswith("model.") and not name.removeprefix("model.")[:1].isdigit() for name in state):
        return "model."
    return None
