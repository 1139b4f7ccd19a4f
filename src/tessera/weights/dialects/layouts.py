"""The dialects: who names the weights of which network how, and how its size follows from the shapes.

Shapes of the tensors: O output channels, I input channels, K the kernel's height and width.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

from tessera.generators import (
    ESRDnetConfig,
    GeneratorConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)
from tessera.weights.dialects.states import State, state_shapes


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


class MisfitError(Exception):
    """The names fit, the rest does not; the text says what."""


def _identity(config: GeneratorConfig) -> Mapping[str, str]:
    return {name: name for name in state_shapes(config)}


def _shape(state: State, name: str) -> tuple[int, ...]:
    if name not in state:
        raise MisfitError(f"`{name}` is missing")
    shape = tuple(state[name].shape)
    if len(shape) != 4:
        raise MisfitError(f"`{name}` has the shape {shape} and should have four sizes, as convolutions have")
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
        raise MisfitError(
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
