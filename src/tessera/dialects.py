"""The names that different programs give to the same weights, and how to tell them apart.

A file of weights is a dictionary of names and tensors, sometimes inside other dictionaries and behind prefixes
(`unwrap`). From the names alone follows which network it is and who wrote it; from the shapes, how large the network is
(`recognise`). The other way, `to_dialect` gives weights the names that another program expects. These are functions on
dictionaries; tensors are renamed, copied or turned from BGR to RGB, never computed with.

Shapes of the tensors: O output channels, I input channels, K the kernel's height and width.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from types import MappingProxyType
from typing import Any, Protocol

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tessera.errors import UnknownNetworkError, WeightsError
from tessera.generators import (
    ESRDnetConfig,
    ESRGANPytorchConfig,
    GeneratorConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)

State = Mapping[str, Tensor]


class Buildable(Protocol):
    """What makes a network: the configuration of a generator or of a discriminator."""

    def build(self) -> nn.Module:
        """Make the network on the default device."""
        ...


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


@dataclass(frozen=True)
class Recognised:
    """Weights under the names of the network that `config` builds."""

    config: GeneratorConfig
    state: dict[str, Tensor]
    dialect: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dialect:
    """One way to name the weights of one network.

    `marks` are names that only this dialect has all of. `names` says for a configuration which name in the file each
    name in the network has.
    """

    name: str
    network: str
    marks: tuple[str, ...]
    pattern: re.Pattern[str]
    infer: Callable[[State, "Wish"], GeneratorConfig]
    names: Callable[[GeneratorConfig], Mapping[str, str]]
    bgr: bool = False


@dataclass(frozen=True)
class Wish:
    """The scale that the caller asked for, and the one that the file's name tells."""

    scale: int | None = None
    named_scale: int | None = None


class _MisfitError(Exception):
    """The names fit, the rest does not; the text says what."""


# ---------------------------------------------------------------------------------------------------- unwrapping


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
    notes = [f"Left out what is no tensor: {_list(left_out)}."] if left_out else []
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
        return f"a dictionary with the keys {_list(str(key)[:40] for key in keys)}" if keys else "an empty dictionary"
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


# ---------------------------------------------------------------------------------------------------- the networks


@lru_cache(maxsize=32)
def state_shapes(config: Buildable) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes of the weights of a network; it is laid out without taking memory for them."""
    with torch.device("meta"):
        network = config.build()
    return MappingProxyType({name: tuple(tensor.shape) for name, tensor in network.state_dict().items()})


def _identity(config: GeneratorConfig) -> Mapping[str, str]:
    return {name: name for name in state_shapes(config)}


def _shape(state: State, name: str) -> tuple[int, ...]:
    if name not in state:
        raise _MisfitError(f"`{name}` is missing")
    shape = tuple(state[name].shape)
    if len(shape) != 4:
        raise _MisfitError(f"`{name}` has the shape {shape} and should have four sizes, as convolutions have")
    return shape


def _count(state: State, pattern: str) -> int:
    """Count the different numbers at the place of the pattern's group, in names that match from their beginning."""
    compiled = re.compile(pattern)
    return len({match[1] for name in state if (match := compiled.match(name))})


def _rrdb_modules(config: GeneratorConfig, style: str) -> Iterator[tuple[str, str]]:
    """Yield (module of RRDBNet, module in the file) for each of the styles that RRDBNet's weights come in."""
    assert isinstance(config, RRDBNetConfig)
    stages = len(config.stages)
    first, dense, trunk, up, hr, last = {
        "esrgan-new": ("conv_first", "RRDB_trunk.{i}.RDB{j}.conv{k}", "trunk_conv", "upconv{m}", "HRconv", "conv_last"),
        "esrgan-old": (
            "model.0",
            "model.1.sub.{i}.RDB{j}.conv{k}.0",
            f"model.1.sub.{config.blocks}",
            "model.{m3}",
            f"model.{3 * stages + 2}",
            f"model.{3 * stages + 4}",
        ),
        "esrdgan": (
            "model.0",
            "model.1.module.{i}.rdbs.{j0}.conv{k}.conv.0",
            f"model.1.module.{config.blocks}",
            "model.{m1}.upconv.1",
            f"model.{2 + stages}",
            f"model.{4 + stages}",
        ),
        "esrgan-pytorch": ("conv1", "trunk.{i}.rdb{j}.conv{k}", "conv2", "upsampling.0", "conv3.0", "conv4"),
    }[style]
    yield "conv_first", first
    for i in range(config.blocks):
        for j in (1, 2, 3):
            for k in (1, 2, 3, 4, 5):
                theirs = dense.format(i=i, j=j, j0=j - 1, k=k)
                if style == "esrdgan" and k == 5:
                    theirs = theirs.replace("conv5.conv.0", "LFF")
                yield f"body.{i}.rdb{j}.conv{k}", theirs
    yield "conv_body", trunk
    for m in range(1, stages + 1):
        yield f"conv_up{m}", up.format(m=m, m1=m + 1, m3=3 * m)
    yield "conv_hr", hr
    yield "conv_last", last


def _rrdb_names(style: str) -> Callable[[GeneratorConfig], Mapping[str, str]]:
    def names(config: GeneratorConfig) -> Mapping[str, str]:
        if style == "esrdgan" and isinstance(config, ESRDnetConfig):
            return _identity(config)
        return {
            f"{ours}.{kind}": f"{theirs}.{kind}"
            for ours, theirs in _rrdb_modules(config, style)
            for kind in ("weight", "bias")
        }

    return names


def _rrdb_config(state: State, wish: Wish, *, first: str, last: str, dense: str, blocks: int, stages: int) -> Any:
    features, inputs = _shape(state, first)[:2]
    outputs = _shape(state, last)[0]
    growth = _shape(state, dense)[0]
    layout, total = (2,) * stages, 2**stages
    if stages == 1 and 3 in (wish.scale, wish.named_scale) and wish.scale != 2:
        layout, total = (3,), 3
    unshuffle = {4: 2, 16: 4}.get(inputs // outputs if outputs and inputs % outputs == 0 else 0, 1)
    if total % unshuffle:
        unshuffle = 1
    return RRDBNetConfig(
        in_channels=inputs // unshuffle**2,
        out_channels=outputs,
        scale=total // unshuffle,
        features=features,
        blocks=blocks,
        growth=growth,
        unshuffle=unshuffle,
        stages=layout,
    )


def _infer_basicsr(state: State, wish: Wish) -> GeneratorConfig:
    return _rrdb_config(
        state,
        wish,
        first="conv_first.weight",
        last="conv_last.weight",
        dense="body.0.rdb1.conv1.weight",
        blocks=_count(state, r"body\.(\d+)\."),
        stages=_count(state, r"conv_up(\d+)\."),
    )


def _infer_middle(state: State, wish: Wish) -> GeneratorConfig:
    return _rrdb_config(
        state,
        wish,
        first="conv_first.weight",
        last="conv_last.weight",
        dense="RRDB_trunk.0.RDB1.conv1.weight",
        blocks=_count(state, r"RRDB_trunk\.(\d+)\."),
        stages=_count(state, r"upconv(\d+)\."),
    )


def _infer_old(state: State, wish: Wish) -> GeneratorConfig:
    highest = max(
        (int(match[1]) for name in state if (match := re.match(r"model\.(\d{1,3})\.weight$", name))), default=0
    )
    return _rrdb_config(
        state,
        wish,
        first="model.0.weight",
        last=f"model.{highest}.weight",
        dense="model.1.sub.0.RDB1.conv1.0.weight",
        blocks=_count(state, r"model\.1\.sub\.(\d+)\.RDB"),
        stages=max((highest - 4) // 3, 0),
    )


def _infer_esrdgan(state: State, wish: Wish) -> GeneratorConfig:
    stages = _count(state, r"model\.(\d+)\.upconv\.")
    blocks = _count(state, r"model\.1\.module\.(\d+)\.rdbs")
    features, inputs = _shape(state, "model.0.weight")[:2]
    outputs, _, hr_kernel, _ = _shape(state, f"model.{4 + stages}.weight")
    growth = _shape(state, "model.1.module.0.rdbs.0.conv1.conv.0.weight")[0]
    lff_kernel = _shape(state, "model.1.module.0.rdbs.0.LFF.weight")[2]
    common: dict[str, Any] = {
        "in_channels": inputs,
        "out_channels": outputs,
        "scale": 2**stages,
        "features": features,
        "blocks": blocks,
        "growth": growth,
    }
    if lff_kernel == hr_kernel == 3:
        return RRDBNetConfig(**common, unshuffle=1, stages=(2,) * stages)
    return ESRDnetConfig(**common, lff_kernel=lff_kernel, hr_kernel=hr_kernel)


def _infer_esrgan_pytorch(state: State, wish: Wish) -> GeneratorConfig:
    features, inputs = _shape(state, "conv1.weight")[:2]
    return RRDBNetConfig(
        in_channels=inputs,
        out_channels=_shape(state, "conv4.weight")[0],
        features=features,
        blocks=_count(state, r"trunk\.(\d+)\."),
        growth=_shape(state, "trunk.0.rdb1.conv1.weight")[0],
        unshuffle=1,
        stages=(2, 2),
    )


def _infer_pytorch_gan(state: State, wish: Wish) -> GeneratorConfig:
    features, inputs = _shape(state, "conv1.weight")[:2]
    return PyTorchGANConfig.model_validate(
        {
            "in_channels": inputs,
            "out_channels": _shape(state, "conv3.2.weight")[0],
            "scale": 2 ** _count(state, r"upsampling\.(\d+)\."),
            "features": features,
            "blocks": _count(state, r"res_blocks\.(\d+)\."),
        }
    )


def _infer_srvgg(state: State, wish: Wish) -> GeneratorConfig:
    highest = max((int(match[1]) for name in state if (match := re.match(r"body\.(\d{1,4})\.", name))), default=0)
    features, inputs = _shape(state, "body.0.weight")[:2]
    outputs = _shape(state, f"body.{highest}.weight")[0]
    channels = 3 if inputs == 1 and outputs % 3 == 0 and isqrt(outputs // 3) ** 2 * 3 == outputs else inputs
    scale = isqrt(outputs // channels) if channels else 0
    if channels * scale**2 != outputs:
        raise _MisfitError(
            f"its last convolution has {outputs} outputs, which is no square number times {channels} channels"
        )
    return SRVGGNetCompactConfig(
        in_channels=inputs,
        out_channels=channels,
        scale=scale,
        features=features,
        convolutions=(highest - 2) // 2,
        activation="prelu" if "body.1.weight" in state else "relu",
    )


_DENSE = r"(?:weight|bias)$"

DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "basicsr",
        "RRDBNet with the names of BasicSR and Real-ESRGAN",
        ("conv_first.weight", "body.0.rdb1.conv1.weight"),
        re.compile(rf"(conv_(first|body|up\d|hr|last)|body\.\d+\.rdb[123]\.conv[1-5])\.{_DENSE}"),
        _infer_basicsr,
        _identity,
    ),
    Dialect(
        "esrgan-new",
        "RRDBNet with the names of xinntao/ESRGAN",
        ("conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight"),
        re.compile(
            rf"(conv_first|trunk_conv|upconv\d|HRconv|conv_last|RRDB_trunk\.\d+\.RDB[123]\.conv[1-5])\.{_DENSE}"
        ),
        _infer_middle,
        _rrdb_names("esrgan-new"),
    ),
    Dialect(
        "esrgan-old",
        "RRDBNet with the names of the original ESRGAN (`model.0`, `model.1.sub`)",
        ("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"),
        re.compile(rf"model\.(\d+|1\.sub\.\d+(\.RDB[123]\.conv[1-5]\.0)?)\.{_DENSE}"),
        _infer_old,
        _rrdb_names("esrgan-old"),
    ),
    Dialect(
        "esrdgan",
        "ESRDnet with the names of esrdgan",
        ("model.0.weight", "model.1.module.0.rdbs.0.LFF.weight"),
        re.compile(rf"model\.(\d+|1\.module\.\d+(\.rdbs\.\d+\.(conv[1-4]\.conv\.0|LFF))?|\d+\.upconv\.1)\.{_DENSE}"),
        _infer_esrdgan,
        _rrdb_names("esrdgan"),
        bgr=True,
    ),
    Dialect(
        "esrgan-pytorch",
        "the generator of ESRGAN-Pytorch",
        ("conv1.weight", "trunk.0.rdb1.conv1.weight"),
        re.compile(rf"(conv[124]|conv3\.0|upsampling\.0|trunk\.\d+\.rdb[123]\.conv[1-5])\.{_DENSE}"),
        _infer_esrgan_pytorch,
        _rrdb_names("esrgan-pytorch"),
    ),
    Dialect(
        "pytorch-gan",
        "GeneratorRRDB of PyTorch-GAN",
        ("conv1.weight", "res_blocks.0.dense_blocks.0.b1.0.weight"),
        re.compile(
            rf"(conv[12]|conv3\.[02]|upsampling\.\d+|res_blocks\.\d+\.dense_blocks\.[012]\.b[1-5]\.0)\.{_DENSE}"
        ),
        _infer_pytorch_gan,
        _identity,
    ),
    Dialect(
        "srvgg",
        "SRVGGNetCompact with the names of Real-ESRGAN",
        ("body.0.weight", "body.2.weight"),
        re.compile(rf"body\.\d+\.{_DENSE}"),
        _infer_srvgg,
        _identity,
    ),
)

DISCRIMINATORS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"conv0.weight", "gating.weight_orig"}), "the attention U-Net discriminator of A-ESRGAN"),
    (frozenset({"layer0.conv0.weight"}), "a multi-scale discriminator of A-ESRGAN"),
    (frozenset({"conv0.weight", "conv9.weight", "conv1.weight_orig"}), "the U-Net discriminator of Real-ESRGAN"),
    (frozenset({"conv0_0.weight", "linear1.weight"}), "a VGG-style discriminator of BasicSR"),
    (frozenset({"features.0.strideddownconv.0.weight"}), "a discriminator of esrdgan"),
    (frozenset({"features.0.weight", "classifier.0.weight", "classifier.2.weight"}), "a VGG-style discriminator"),
    (frozenset({"model.0.weight", "model.3.running_mean", "model.23.weight"}), "the discriminator of PyTorch-GAN"),
)


def recognise(state: State, *, scale: int | None = None, named_scale: int | None = None) -> Recognised:
    """Tell which network the weights belong to, how large it is, and rename them to that network's own names.

    A `scale` that the weights cannot make is an error. One stage of enlargement can be x2 or x3, which the weights do
    not tell: `scale`, or else `named_scale` (from the file's name), decides, and x2 is taken without either.

    Raises UnknownNetworkError with the network that came nearest and the names that did not fit.
    """
    _refuse_relatives(state)
    for dialect in DIALECTS:
        if all(mark in state for mark in dialect.marks):
            return _read(dialect, state, Wish(scale, named_scale))
    raise UnknownNetworkError(_nearest(state))


def to_dialect(config: GeneratorConfig, state: State, dialect: str) -> dict[str, Tensor]:
    """Give weights the names (and colour order) that another program expects; the opposite of `recognise`.

    Raises WeightsError when the dialect has no names for such a network.
    """
    found = next((known for known in DIALECTS if known.name == dialect), None)
    if found is None:
        raise WeightsError(f"No dialect is called {dialect!r}; there are {_list(known.name for known in DIALECTS)}.")
    usual = {"srvgg": SRVGGNetCompactConfig, "pytorch-gan": PyTorchGANConfig}.get(dialect, RRDBNetConfig)
    fits = isinstance(config, usual) or (dialect == "esrdgan" and isinstance(config, ESRDnetConfig))
    if dialect == "esrgan-pytorch" and isinstance(config, ESRGANPytorchConfig):
        return dict(state)
    if isinstance(config, RRDBNetConfig) and dialect in {"esrdgan", "esrgan-pytorch"}:
        doublings = config.unshuffle == 1 and all(stage == 2 for stage in config.stages)
        fits = doublings and (dialect == "esrdgan" or config.scale == 4)
    if not fits:
        raise WeightsError(f"The dialect {dialect} has no names for the weights of {config.network}.")
    if dialect == "esrgan-pytorch":
        for kind in ("weight", "bias"):
            if not torch.equal(state[f"conv_up1.{kind}"], state[f"conv_up2.{kind}"]):
                raise WeightsError(
                    "ESRGAN-Pytorch uses one convolution for both enlargements, and these weights have two."
                )
    flipped = _flip_colours(config, dict(state)) if found.bgr else state
    return {theirs: flipped[ours].clone() for ours, theirs in found.names(config).items()}


def _read(dialect: Dialect, state: State, wish: Wish) -> Recognised:
    start = f"these weights look like {dialect.network}, but "
    try:
        config = dialect.infer(state, wish)
    except _MisfitError as error:
        raise UnknownNetworkError(f"{start}{error}.") from error
    except ValidationError as error:
        raise UnknownNetworkError(f"{start}its sizes are not ones that can be built: {explain(error)}.") from error
    if wish.scale is not None and wish.scale != config.scale:
        raise WeightsError(
            f"these weights enlarge x{config.scale}, and x{wish.scale} was asked for. Ask for x{config.scale}."
        )
    names = dialect.names(config)
    shapes = state_shapes(config)
    problems = compare({theirs: shapes[ours] for ours, theirs in names.items()}, state)
    if problems:
        raise UnknownNetworkError(f"{start}{problems}.")
    # Copies, so that no two weights share memory, also where one name in the file serves two places.
    renamed = {ours: state[theirs].detach().clone() for ours, theirs in names.items()}
    notes: list[str] = []
    if dialect.bgr:
        renamed = _flip_colours(config, renamed)
        notes.append("Its weights work on BGR; they were turned so that the network takes and gives RGB.")
    if isinstance(config, RRDBNetConfig) and len(config.stages) == 1:
        notes.append(
            f"One stage of enlargement can be x2 or x3, which its weights do not tell; x{config.scale} was taken."
        )
    if isinstance(config, SRVGGNetCompactConfig) and config.activation != "prelu":
        notes.append("Its activation has no weights and cannot be told; ReLU was taken.")
    label = "basicsr" if dialect.name == "srvgg" else dialect.name
    return Recognised(config, renamed, label, tuple(notes))


def compare(expected: Mapping[str, tuple[int, ...]], state: State) -> str:
    """Say in words how weights differ from what a network needs; an empty text when they fit."""
    parts: list[str] = []
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    wrong = [
        f"`{name}` has the shape {tuple(state[name].shape)} and should have {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    if missing:
        parts.append(f"{len(missing)} of its names are missing ({_list(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} names do not belong to it ({_list(unexpected)})")
    if wrong:
        parts.append("; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""))
    return "; ".join(parts)


def explain(error: ValidationError) -> str:
    """Say in words what pydantic found wrong with a configuration."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) + ': ' if detail['loc'] else ''}{detail['msg']}"[:200]
        for detail in details[:3]
    )


def _flip_colours(config: GeneratorConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reverse the first three inputs of the first convolution and outputs of the last: BGR <-> RGB."""
    names = list(state_shapes(config))
    first, last = names[0], names[-1].removesuffix(".bias") + ".weight"
    order = [2, 1, 0]
    flipped = dict(state)
    if config.in_channels >= 3:
        flipped[first] = state[first][:, [*order, *range(3, config.in_channels)]].clone()
    if config.out_channels >= 3:
        outputs = [*order, *range(3, config.out_channels)]
        flipped[last] = state[last][outputs].clone()
        bias = last.removesuffix(".weight") + ".bias"
        flipped[bias] = state[bias][outputs].clone()
    return flipped


def _refuse_relatives(state: State) -> None:
    if any("conv1x1" in name for name in state):
        raise UnknownNetworkError(
            "these are weights of ESRGAN+ (`conv1x1`), whose dense blocks have further connections and noise. It is "
            "not supported; an ESRGAN without these connections is."
        )
    for marks, what in DISCRIMINATORS:
        if marks <= state.keys():
            raise UnknownNetworkError(
                f"this is a discriminator ({what}), which judges pictures and cannot enlarge them. Give the generator, "
                "usually the file of the same name without `_netD` or `_D`."
            )


def _nearest(state: State) -> str:
    scores = [(sum(bool(dialect.pattern.match(name)) for name in state), dialect) for dialect in DIALECTS]
    best, dialect = max(scores, key=lambda score: score[0])
    if best == 0:
        return (
            f"these weights belong to no network of the ESRGAN family; none of their names is known ({_list(state)})."
        )
    strangers = [name for name in state if not dialect.pattern.match(name)]
    missing = [mark for mark in dialect.marks if mark not in state]
    text = (
        f"these weights belong to no network of the ESRGAN family. The nearest is {dialect.network}: {best} of "
        f"{len(state)} names are like its own, but {_list(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    )
    return text + (
        f" and {_list(strangers)} {'does' if len(strangers) == 1 else 'do'} not belong." if strangers else "."
    )


def _list(names: Iterable[str], limit: int = 4) -> str:
    quoted = [f"`{name[:80]}`" for name in names]
    more = f" and {len(quoted) - limit} more" if len(quoted) > limit else ""
    return ", ".join(quoted[:limit]) + more
