"""Changes over a recipe: keys that only make sense with a choice that was changed give way to the new choice.

A recipe or file lies below, a change (`adversarial.relativism=none`, or a file that names its recipe) above. Keys that
the change gives always stay, so a contradiction inside a change is still an error; keys that only the lower layer or a
default has are dropped or fitted where they contradict the change.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from pydantic import BaseModel, ValidationError

from tessera.config import Values
from tessera.dataset.config import DataConfig
from tessera.degrade import Degradation
from tessera.discriminators.catalog import DISCRIMINATORS
from tessera.generators import GENERATORS, GeneratorConfig
from tessera.losses.perceptual import substitute_layers
from tessera.train.recipe_parts import AUTO
from tessera.train.schedule import Schedule
from tessera.trunks import TRUNKS

AVERAGE_KEYS = ("mean_over", "detach_means", "generator_terms")
"""Keys of `adversarial` that say how the mean of a relativistic average loss is taken."""
SOFT_LABELS = ("noisy_labels", "one_sided_label_smoothing")
"""Tricks that need labels between 0 and 1."""
SOFT_FORMS = ("vanilla", "lsgan")
"""Forms of the adversarial loss that have such labels."""
_DEFAULT_PATCH: int = DataConfig.model_fields["patch"].default
_EVEN = 16
"""A fitted crop stays divisible by this, so that discriminators can halve it four times."""


def _list_kinds(union: Any, tag: str) -> dict[str, type[BaseModel]]:
    members = [each for each in _flatten(union) if isinstance(each, type) and issubclass(each, BaseModel)]
    return {str(member.model_fields[tag].default): member for member in members}


def _flatten(union: Any) -> Iterable[Any]:
    arguments = typing.get_args(union)
    return [inner for each in arguments for inner in _flatten(each)] if arguments else [union]


_VARIANTS: tuple[tuple[str, str, dict[str, type[BaseModel]]], ...] = (
    ("generator", "network", {each.name: each.config for each in GENERATORS}),
    ("discriminator", "network", {each.name: each.config for each in DISCRIMINATORS}),
    ("degradation", "kind", _list_kinds(Degradation, "kind")),
    ("schedule", "kind", _list_kinds(Schedule, "kind")),
    ("discriminator_schedule", "kind", _list_kinds(Schedule, "kind")),
)
"""Tables that hold one of several records, the key that says which, and the records."""


def give_way(lower: Mapping[str, Any], upper: Mapping[str, Any], merged: Values) -> Values:
    """Drop or fit the keys of `merged` that `upper` does not give and that contradict it.

    >>> lower = {"adversarial": {"relativism": "average", "detach_means": True}}
    >>> upper = {"adversarial": {"relativism": "none"}}
    >>> give_way(lower, upper, {"adversarial": {"relativism": "none", "detach_means": True}})
    {'adversarial': {'relativism': 'none'}}
    """
    values = {name: dict(cast(Values, value)) if isinstance(value, dict) else value for name, value in merged.items()}
    layers = _Layers(lower, upper, values)
    for table, tag, kinds in _VARIANTS:
        _drop_foreign_keys(layers, table, tag, kinds)
    _drop_unused_terms(layers)
    _drop_start(layers)
    _fit_crop(layers)
    _fit_validation(layers)
    batch, pool = layers.get_upper("data", "batch"), cast(Any, values.get("pool"))
    if isinstance(batch, int) and isinstance(pool, int) and 0 < pool < batch and "pool" not in upper:
        values["pool"] = batch
    return values


class _Layers:
    """The lower and the upper layer, and the values that come out."""

    def __init__(self, lower: Mapping[str, Any], upper: Mapping[str, Any], values: Values) -> None:
        self.lower = lower
        self.upper = upper
        self.values = values

    def table(self, name: str) -> Values:
        found = self.values.get(name)
        return cast(Values, found) if isinstance(found, dict) else {}

    def get(self, name: str, key: str) -> Any:
        return self.table(name).get(key)

    def is_given(self, name: str, key: str) -> bool:
        """Whether the upper layer has this key."""
        above: Any = self.upper.get(name)
        return isinstance(above, dict) and key in above

    def get_upper(self, name: str, key: str) -> Any:
        """The upper layer's value; None if it has none."""
        return self.get(name, key) if self.is_given(name, key) else None

    def drop(self, name: str, *keys: str) -> None:
        """Drop keys that the upper layer does not give."""
        for key in keys:
            if not self.is_given(name, key):
                self.table(name).pop(key, None)

    def set(self, name: str, key: str, value: Any) -> None:
        """Set a key; its table is created if it is missing."""
        self.values[name] = {**self.table(name), key: value}


def _drop_foreign_keys(layers: _Layers, table: str, tag: str, kinds: Mapping[str, type[BaseModel]]) -> None:
    """Drop keys of another network or kind than the one that was chosen."""
    kind = kinds.get(str(layers.get_upper(table, tag)))
    if kind is not None:
        layers.drop(table, *(key for key in layers.table(table) if key not in kind.model_fields))


def _drop_unused_terms(layers: _Layers) -> None:
    relativism, form = (layers.get_upper("adversarial", key) for key in ("relativism", "form"))
    if relativism in ("none", "pairwise"):
        layers.drop("adversarial", *AVERAGE_KEYS)
    if form is not None and form not in SOFT_FORMS:
        layers.drop("tricks", *SOFT_LABELS)
    if layers.get_upper("perceptual", "normalize") is False:
        layers.drop("perceptual", "range_norm")
    _fit_trunk(layers)
    if layers.get_upper("generator", "scale") == 1 and "grid" not in layers.upper:
        layers.values.pop("grid", None)
    chosen = next((each for each in DISCRIMINATORS if each.name == layers.get_upper("discriminator", "network")), None)
    if chosen is not None and not chosen.has_attention:
        layers.drop("report", "attention_every")
    if layers.is_given("data", "patch"):  # a discriminator of fixed size follows the crops
        layers.drop("discriminator", "input_size")


def _fit_trunk(layers: _Layers) -> None:
    """Replace the layers of another trunk by the nearest ones of the trunk that was chosen."""
    name, chosen = layers.get_upper("perceptual", "trunk"), layers.get("perceptual", "layers")
    known = next((trunk for trunk in TRUNKS if trunk.name == name), None)
    if known is None or not isinstance(chosen, dict) or layers.is_given("perceptual", "layers"):
        return
    with torch.device("meta"):
        trunk = known.build(known.normalization)
    weights = cast("dict[str, float]", chosen)
    if any(layer not in trunk.layers for layer in weights):
        layers.set("perceptual", "layers", substitute_layers(weights, trunk))


def _fit_crop(layers: _Layers) -> None:
    """Fit the crop, its margin and the grid loss's window to a scale, network or crop that was chosen."""
    config = _build_config(layers.table("generator"))
    if not isinstance(config, GeneratorConfig):
        return
    step, patch = config.scale * config.multiple, layers.table("data").get("patch", _DEFAULT_PATCH)
    if isinstance(patch, int) and patch % step and not layers.is_given("data", "patch"):
        layers.set("data", "patch", _round_up(patch, math.lcm(step, _EVEN)))
        layers.drop("discriminator", "input_size")
    margin = layers.get("cut", "margin")
    if isinstance(margin, int) and 2 * margin % config.scale and not layers.is_given("cut", "margin"):
        layers.set("cut", "margin", _round_up(margin, config.scale))
    patch, window = layers.get("data", "patch"), layers.get("grid", "window") or 8
    fits = not (isinstance(patch, int) and isinstance(window, int)) or window * config.scale <= patch
    if layers.table("grid") and not fits and not layers.is_given("grid", "window"):
        layers.set("grid", "window", max(1, patch // config.scale))


def _drop_start(layers: _Layers) -> None:
    """Drop the published start of a recipe if a change asks for another network; one that is given is not optional."""
    if layers.is_given("start", "generator"):
        layers.drop("start", "optional")
        return
    before: Any = layers.lower.get("generator")
    start: Any = layers.lower.get("start")
    if not isinstance(before, dict) or not isinstance(start, dict) or not cast(Values, start).get("optional"):
        return
    given: Any = layers.upper.get("generator")
    if not isinstance(given, dict):
        return
    configs = [_build_config(table) for table in (cast(Values, before), layers.table("generator"))]
    if configs[0] != configs[1]:
        layers.set("start", "generator", "")


def _build_config(generator: Values) -> BaseModel | None:
    """The configuration of a generator; None if it is not valid, which is described later."""
    kind = next((each.config for each in GENERATORS if each.name == generator.get("network")), None)
    try:
        known = {key: value for key, value in generator.items() if kind is not None and key in kind.model_fields}
        return None if kind is None else kind.model_validate(known)
    except ValidationError:
        return None


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _fit_validation(layers: _Layers) -> None:
    """Select the best checkpoint by a metric that is measured, and measure the one that selects."""
    metrics, best = (layers.get("validation", key) for key in ("metrics", "best"))
    metrics_given, best_given = (layers.is_given("validation", key) for key in ("metrics", "best"))
    if metrics_given and not best_given and isinstance(metrics, list) and metrics:
        automatic = ("perceptual", "niqe", "psnr") if layers.table("adversarial") else ("psnr",)
        wanted = automatic if best in (None, AUTO) else (best,)
        if not any(each in cast("list[Any]", metrics) for each in wanted):
            layers.set("validation", "best", metrics[0])
    elif best_given and not metrics_given:
        measured = cast("list[Any]", metrics) if isinstance(metrics, list) else ["psnr", "ssim"]
        if best not in (AUTO, *measured):
            layers.set("validation", "metrics", [*measured, best])
