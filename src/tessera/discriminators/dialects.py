"""The names that different programs give to the weights of the same discriminator, and how to tell them apart.

From the names follows which network it is and who wrote it; from the shapes, how large it is. These are functions on
dictionaries; tensors are renamed, copied or turned from BGR to RGB, never computed with.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from tessera.config import explain
from tessera.discriminators.attention_unet import AttentionUNetConfig
from tessera.discriminators.config import DiscriminatorConfig
from tessera.discriminators.esrdgan import WIDTHS as ESRDGAN_WIDTHS
from tessera.discriminators.esrdgan import ESRDGANConfig
from tessera.discriminators.multi_scale import MultiScaleConfig
from tessera.discriminators.patch import PatchConfig
from tessera.discriminators.unet import UNetConfig
from tessera.discriminators.vgg_style import WIDTHS, VGGStyleConfig
from tessera.errors import UnknownNetworkError
from tessera.weights.dialects import DIALECTS as GENERATOR_DIALECTS
from tessera.weights.dialects import MAX_WRAPPERS, State, Unwrapped, compare, state_shapes, unwrap

PARTS = ("discriminator", "net_d", "netD", "D")
"""Under what a file that holds more than one network has the discriminator, as a key or before a dot."""

COUNTER = "num_batches_tracked"
_LAYER = re.compile(r"layer(\d{1,2})\.")
_NEW_SPECTRAL = (
    (".parametrizations.weight.original", ".weight_orig"),
    (".parametrizations.weight.0._u", ".weight_u"),
    (".parametrizations.weight.0._v", ".weight_v"),
)


@dataclass(frozen=True)
class Recognized:
    """Weights under the names of the network that `config` builds."""

    config: DiscriminatorConfig
    state: dict[str, Tensor]
    dialect: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dialect:
    """One way to name the weights of one network.

    `marks` are names that only this dialect has all of. `names` says for a configuration which name in the file each
    name in the network has. `bgr_first` is the convolution that sees the picture, where it was trained on BGR.
    """

    name: str
    network: str
    marks: tuple[str, ...]
    infer: Callable[[State], DiscriminatorConfig]
    names: Callable[[DiscriminatorConfig], Mapping[str, str]]
    bgr_first: str | None = None


class _MisfitError(Exception):
    """The names fit, the rest does not; the text says what."""


# ---------------------------------------------------------------------------------------------------- unwrapping


def unwrap_discriminator(content: Any) -> Unwrapped:
    """Find the tensors of the discriminator in what a checkpoint held, also beside those of a generator.

    Raises WeightsError when there are none.
    """
    content = _own_names(content)
    part = next((part for part in PARTS if isinstance(content, dict) and isinstance(content.get(part), dict)), None)
    if part is None:
        return unwrap(content)
    found = unwrap(content[part])
    return Unwrapped(found.state, part if found.wrapper == "raw" else f"{part}.{found.wrapper}", found.notes)


def _own_names(content: Any, depth: int = 0) -> Any:
    """Where some names begin with that of a part, keep these only, without it."""
    if not isinstance(content, dict) or depth > MAX_WRAPPERS:
        return content
    items: dict[Any, Any] = content
    for part in PARTS:
        start = f"{part}."
        named = {name.removeprefix(start): items[name] for name in items if str(name).startswith(start)}
        if named:
            return named
    return {name: _own_names(value, depth + 1) for name, value in items.items()}


# ---------------------------------------------------------------------------------------------------- the networks


def _identity(config: DiscriminatorConfig) -> Mapping[str, str]:
    return {name: name for name in state_shapes(config)}


def _sequential_names(config: DiscriminatorConfig) -> Mapping[str, str]:
    """Name the weights of the VGG-style network as one list of layers has them, activations counted."""
    assert isinstance(config, VGGStyleConfig)
    modules = {"conv0_0": "features.0", "linear1": "classifier.0", "linear2": "classifier.2"}
    place = 2
    for level in range(config.levels):
        for half in (0, 1) if level else (1,):
            modules[f"conv{level}_{half}"] = f"features.{place}"
            modules[f"bn{level}_{half}"] = f"features.{place + 1}"
            place += 3
    return {name: f"{modules[module]}.{kind}" for name in state_shapes(config) for module, kind in [name.split(".")]}


def _sizes(state: State, name: str) -> tuple[int, int, int]:
    """Outputs, inputs and kernel of a convolution."""
    shape = tuple(state[name].shape) if name in state else None
    if shape is None:
        raise _MisfitError(f"`{name}` is missing")
    if len(shape) != 4:
        raise _MisfitError(f"`{name}` has the shape {shape} and should have four sizes, as convolutions have")
    return shape[0], shape[1], shape[2]


def _last_side(state: State, linear: str, channels: int) -> int:
    """Side of the last map, of so many channels, that a linear layer reads; 0 where it is no square."""
    shape = tuple(state[linear].shape) if linear in state else ()
    pixels = shape[1] // max(channels, 1) if len(shape) == 2 else 0
    return isqrt(pixels) if isqrt(pixels) ** 2 == pixels else 0


def _count(state: State, pattern: str) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})


def _infer_attention(state: State) -> DiscriminatorConfig:
    features, inputs, _ = _sizes(state, "conv0.weight")
    return AttentionUNetConfig(in_channels=inputs, features=features)


def _infer_multi(state: State) -> DiscriminatorConfig:
    features, inputs, _ = _sizes(state, "layer0.conv0.weight")
    return MultiScaleConfig(in_channels=inputs, features=features, scales=_count(state, _LAYER.pattern))


def _infer_unet(state: State) -> DiscriminatorConfig:
    features, inputs, _ = _sizes(state, "conv0.weight")
    return UNetConfig(in_channels=inputs, features=features)


def _vgg_config(state: State, first: str, last: str, levels: int, biases: bool) -> DiscriminatorConfig:
    features, inputs, _ = _sizes(state, first)
    levels = min(levels, len(WIDTHS))
    side = _last_side(state, last, features * WIDTHS[levels - 1]) if levels else 0
    return VGGStyleConfig.model_validate(
        {
            "in_channels": inputs,
            "features": features,
            "input_size": side << levels,
            "biases": "all" if biases else "first",
        }
    )


def _infer_vgg(state: State) -> DiscriminatorConfig:
    return _vgg_config(
        state, "conv0_0.weight", "linear1.weight", _count(state, r"conv(\d+)_0\."), "conv0_1.bias" in state
    )


def _infer_sequential(state: State) -> DiscriminatorConfig:
    strided = _count(state, r"features\.(\d+)\.running_mean")
    return _vgg_config(
        state, "features.0.weight", "classifier.0.weight", (strided + 1) // 2, "features.2.bias" in state
    )


def _infer_esrdgan(state: State) -> DiscriminatorConfig:
    features, inputs, kernel = _sizes(state, "features.0.strideddownconv.0.weight")
    if "features.0.strideddownconv.3.running_mean" in state:
        norm = "batch"
    else:  # these two have no weights, but one of them takes a place in the list
        norm = "instance" if "features.1.strideddownconv.3.weight" in state else "none"
    side = _last_side(state, "classifier.0.weight", features * ESRDGAN_WIDTHS[-1])
    return ESRDGANConfig.model_validate(
        {
            "in_channels": inputs,
            "features": features,
            "kernel": kernel,
            "norm": norm,
            "input_size": side << len(ESRDGAN_WIDTHS),
        }
    )


def _infer_patch(state: State) -> DiscriminatorConfig:
    features, inputs, _ = _sizes(state, "model.0.weight")
    return PatchConfig.model_validate({"in_channels": inputs, "features": features})


DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "a-esrgan",
        "the multi-scale discriminator of A-ESRGAN",
        ("layer0.conv0.weight", "layer0.gating.weight_orig"),
        _infer_multi,
        _identity,
    ),
    Dialect(
        "a-esrgan",
        "the attention U-Net discriminator of A-ESRGAN",
        ("conv0.weight", "gating.weight_orig"),
        _infer_attention,
        _identity,
    ),
    Dialect(
        "basicsr",
        "the U-Net discriminator of Real-ESRGAN",
        ("conv0.weight", "conv1.weight_orig", "conv9.weight"),
        _infer_unet,
        _identity,
    ),
    Dialect(
        "basicsr", "a VGG-style discriminator of BasicSR", ("conv0_0.weight", "linear1.weight"), _infer_vgg, _identity
    ),
    Dialect(
        "esrdgan",
        "a discriminator of esrdgan",
        ("features.0.strideddownconv.0.weight", "classifier.0.weight"),
        _infer_esrdgan,
        _identity,
        bgr_first="features.0.strideddownconv.0.weight",
    ),
    Dialect(
        "esrgan-pytorch",
        "a VGG-style discriminator with the names of ESRGAN-Pytorch",
        ("features.0.weight", "classifier.0.weight", "classifier.2.weight"),
        _infer_sequential,
        _sequential_names,
    ),
    Dialect(
        "pytorch-gan",
        "the discriminator of PyTorch-GAN",
        ("model.0.weight", "model.3.running_mean", "model.23.weight"),
        _infer_patch,
        _identity,
    ),
)


def recognize_discriminator(state: State) -> Recognized:
    """Tell which discriminator the weights belong to, how large it is, and rename them to that network's own names.

    Raises UnknownNetworkError with what did not fit, or with what the weights are instead.
    """
    notes: list[str] = []
    state = _old_spectral_names(state, notes)
    state = _single_layer(state, notes)
    for dialect in DIALECTS:
        if all(mark in state for mark in dialect.marks):
            return _read(dialect, state, notes)
    for known in GENERATOR_DIALECTS:
        if all(mark in state for mark in known.marks):
            raise UnknownNetworkError(
                f"this is a generator ({known.network}), which enlarges pictures and cannot judge them. Give the "
                "discriminator, usually the file whose name has `net_d`, `netD` or `_D` where this one has `net_g`, "
                "`netG` or `_G`."
            )
    listed = ", ".join(f"`{name[:80]}`" for name in list(state)[:4])
    networks = "; ".join(dialect.network for dialect in DIALECTS)
    raise UnknownNetworkError(
        f"these weights belong to no discriminator of the ESRGAN family; they are called {listed}"
        f"{f' and {len(state) - 4} more' if len(state) > 4 else ''}. Known are {networks}."
    )


def _old_spectral_names(state: State, notes: list[str]) -> State:
    """Rename what PyTorch's newer spectral normalization (`parametrizations`) calls the same three tensors."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for new, old in _NEW_SPECTRAL:
            if name.endswith(new):
                name = name.removesuffix(new) + old
                break
        renamed[name] = tensor
    if renamed.keys() != state.keys():
        notes.append("Its spectral normalization is PyTorch's newer one; its tensors were renamed to the older names.")
    return renamed


def _single_layer(state: State, notes: list[str]) -> State:
    """Take the prefix off one network that was saved from a set of one, or out of a set; never off several."""
    found = [_LAYER.match(name) for name in state]
    prefixes = {match[0] if match else "" for match in found}
    if len(prefixes) != 1 or "" in prefixes:
        return state
    (prefix,) = prefixes
    notes.append(f"All its names begin with `{prefix}`, as in a set of one; it was read as a single network.")
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _read(dialect: Dialect, state: State, notes: list[str]) -> Recognized:
    start = f"these weights look like {dialect.network}, but "
    try:
        config = dialect.infer(state)
    except _MisfitError as error:
        raise UnknownNetworkError(f"{start}{error}.") from error
    except ValidationError as error:
        raise UnknownNetworkError(f"{start}its sizes are not ones that can be built: {explain(error)}.") from error
    names = dialect.names(config)
    shapes = state_shapes(config)
    counters = {theirs for ours, theirs in names.items() if ours.endswith(COUNTER) and theirs not in state}
    if counters:  # PyTorch before 0.4.1 did not count; the count has no part in any result
        notes.append("It does not say how many batches its normalization has seen; 0 was taken.")
        state = {**state, **{name: torch.zeros((), dtype=torch.int64) for name in counters}}
    problems = compare({theirs: shapes[ours] for ours, theirs in names.items()}, state)
    if problems:
        raise UnknownNetworkError(f"{start}{problems}.")
    renamed = {ours: state[theirs].detach().clone() for ours, theirs in names.items()}
    if dialect.bgr_first is not None and config.in_channels >= 3:
        order = [2, 1, 0, *range(3, config.in_channels)]
        renamed[dialect.bgr_first] = renamed[dialect.bgr_first][:, order].clone()
        notes.append("Its weights work on BGR; they were turned so that the network takes RGB.")
    if isinstance(config, ESRDGANConfig):
        notes.append("Its activation has no weights and cannot be told; leaky ReLU was taken.")
    oldest = isinstance(config, VGGStyleConfig) and config.biases == "all" and dialect.name == "esrgan-pytorch"
    return Recognized(config, renamed, "esrgan-old" if oldest else dialect.name, tuple(notes))
