"""Weights files: reading, writing and describing them.

Files of every format in `weights.formats`, from any program, become one kind of loaded generator, RGB in [0, 1].
Nothing in a file is executed, and every declared size is compared with the file's content before memory is taken.
Tessera writes safetensors with the complete configuration in the metadata, and checks it when it reads such a file.

Shapes: B pictures in a batch, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel

from tessera.errors import UnknownNetworkError, UsageError, WeightsError
from tessera.generators import CONFIG_KEY, GeneratorConfig, config_from_json, find_generator
from tessera.weights.arrays import Array, convert, format_dtype, is_floating, parse_dtype
from tessera.weights.checkpoint import read_checkpoint
from tessera.weights.described_file import (
    check_name,
    check_weight,
    prefix_errors,
    select_metadata,
    write_described,
)
from tessera.weights.dialects import Unwrapped, compare, recognize, state_shapes, unwrap
from tessera.weights.file_network import FileNetwork
from tessera.weights.foreign_network import ForeignConfig, build_foreign
from tessera.weights.formats import TITLES, Format, has_usual_suffix, identify_format
from tessera.weights.license import find_license
from tessera.weights.loaded_generator import LoadedGenerator, NetworkWeights
from tessera.weights.names import (
    derive_name,
    find_scale,
)
from tessera.weights.ncnn import read_ncnn
from tessera.weights.onnx_file import OnnxFile, read_onnx
from tessera.weights.openvino_file import OpenVinoFile, read_openvino
from tessera.weights.parts import compute_digest, find_description, list_parts, read_digest
from tessera.weights.pickle_walk import Inert
from tessera.weights.safetensors_file import read_safetensors
from tessera.weights.torch_tensors import to_arrays
from tessera.weights.torchscript_file import read_own_torchscript

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class WeightsReport:
    """Content of a file, for people to read. `problem` says why it cannot be used; unknown facts are None or empty."""

    path: Path
    name: str
    size_bytes: int
    sha256: str | None
    network: str | None = None
    dialect: str | None = None
    wrapper: str | None = None
    scale: int | None = None
    config: BaseModel | None = None
    parameters: int | None = None
    multiply_adds_128: int | None = None
    dtypes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    license: str | None = None
    problem: str | None = None
    kind: Literal["generator", "discriminator", "archive"] = "generator"


@dataclass(frozen=True)
class _Weights:
    """The weights of a file, renamed and checked, before a network is built from them."""

    config: GeneratorConfig
    state: dict[str, Array]
    dialect: str
    wrapper: str
    metadata: Mapping[str, str]
    notes: tuple[str, ...]
    dtypes: tuple[str, ...]
    network: nn.Module | FileNetwork | None = None
    choices: tuple[str, ...] = ()


# -------------------------------------------------------------------------------------------------------- reading


def load_weights(path: Path, *, scale: int | None = None, averaged: bool = True) -> LoadedGenerator:
    """Read a weights file of any known format.

    `scale` is needed only where the weights leave it open (one upsampling stage can be x2 or x3; without it the
    file's name decides); another scale than that of the weights is an error. Without `averaged`, the raw weights are
    used where a checkpoint has both.

    Raises WeightsError that says what is wrong with the file.
    """
    path = Path(path)
    weights = _read(path, scale, averaged=averaged)
    network = weights.network
    if network is None:
        fp32 = np.dtype(np.float32)
        network = NetworkWeights({name: convert(weights.state.pop(name), fp32) for name in list(weights.state)})
    sha256 = read_digest(path)
    return LoadedGenerator(
        config=weights.config,
        network=network,
        name=derive_name(path),
        source=path,
        sha256=sha256,
        dialect=weights.dialect,
        wrapper=weights.wrapper,
        metadata=weights.metadata,
        notes=weights.notes,
        choices=weights.choices,
        license=find_license(sha256, weights.metadata),
    )


def inspect_weights(path: Path) -> WeightsReport:
    """Describe a weights file, including one that cannot be used, with its `problem`."""
    path = Path(path)
    try:
        size, sha256 = sum(part.stat().st_size for part in list_parts(path)), compute_digest(path)
    except (OSError, WeightsError):
        size, sha256 = 0, None
    try:
        weights = _read(path, None)
        return WeightsReport(
            path=path,
            name=derive_name(path),
            size_bytes=size,
            sha256=sha256,
            network=weights.config.network,
            dialect=weights.dialect,
            wrapper=weights.wrapper,
            scale=weights.config.scale,
            config=weights.config,
            parameters=sum(array.size for array in weights.state.values()) or None,
            multiply_adds_128=weights.config.multiply_adds(128, 128) or None,
            dtypes=weights.dtypes,
            metadata=weights.metadata,
            notes=weights.notes,
            license=find_license(sha256, weights.metadata),
        )
    except WeightsError as error:
        return WeightsReport(
            path=path,
            name=derive_name(path),
            size_bytes=size,
            sha256=sha256,
            license=find_license(sha256, {}),
            problem=str(error),
        )


def _read(path: Path, scale: int | None, *, averaged: bool = True) -> _Weights:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Give the path of a weights file.")
    with prefix_errors(path):
        found = identify_format(path)
    path = find_description(path) or path
    read = _READERS[found]
    if not averaged and read is _read_checkpoint:
        read = partial(_read_checkpoint, averaged=False)
    weights = read(path, scale)
    if has_usual_suffix(path, found):
        return weights
    note = f"The file is {TITLES[found]}, whatever its name ends in ({path.suffix})."
    return dataclasses.replace(weights, notes=(*weights.notes, note))


def _read_checkpoint(path: Path, scale: int | None, *, averaged: bool = True) -> _Weights:
    read = read_checkpoint(path)
    with prefix_errors(path):
        if isinstance(read.content, Inert):
            raise WeightsError(f"it holds no dictionary of tensors but `{read.content.name}`.")
        weights = _read_tensors(path, unwrap(read.content, averaged=averaged), scale, {})
    if read.packed_name is None:
        return weights
    return dataclasses.replace(weights, notes=(*weights.notes, f"Read from `{read.packed_name}` in the archive."))


def _read_ncnn(path: Path, scale: int | None) -> _Weights:
    read = read_ncnn(path)
    with prefix_errors(path):
        _check_scale(read.config, scale)
        return _validate(read.config, read.state, "ncnn", "raw", {}, read.notes)


def _read_onnx(path: Path, scale: int | None) -> _Weights:
    with prefix_errors(path):
        return _describe_model_file(read_onnx(path), "onnx", scale)


def _read_openvino(path: Path, scale: int | None) -> _Weights:
    with prefix_errors(path):
        return _describe_model_file(read_openvino(path), "openvino", scale)


def _describe_model_file(read: OnnxFile | OpenVinoFile, dialect: str, scale: int | None) -> _Weights:
    """Describe a file that stays in its format: by the configuration in its metadata, else as a foreign network."""
    written = read.metadata.get(CONFIG_KEY)
    config: GeneratorConfig = (
        config_from_json(written)
        if written is not None
        else ForeignConfig(
            architecture=read.architecture,
            in_channels=read.in_channels,
            out_channels=read.out_channels,
            scale=read.scale,
            input_multiple=read.network.multiple,
        )
    )
    if (config.in_channels, config.out_channels, config.scale) != (read.in_channels, read.out_channels, read.scale):
        raise WeightsError(
            f"its metadata says x{config.scale} with {config.in_channels} channels, but the network is x{read.scale}"
            f" with {read.in_channels} channels. One of the two was changed later; use the original file."
        )
    _check_scale(config, scale)
    shown = select_metadata(read.metadata, CONFIG_KEY)
    return _Weights(config, {}, dialect, "raw", shown, read.notes, (read.type_name,), read.network)


def _read_torchscript(path: Path, scale: int | None) -> _Weights:
    with prefix_errors(path):
        read = read_own_torchscript(path)
        if read is None:
            raise WeightsError(
                "this is a TorchScript program, which is code and not only weights, and none of it is run here. If you"
                " trust it, save its weights by `torch.save(torch.jit.load(file).state_dict(), 'weights.pth')`."
            )
        return _read_described(*read, scale, "torchscript")


def _read_safetensors(path: Path, scale: int | None) -> _Weights:
    with prefix_errors(path):
        state, metadata = read_safetensors(path)
        if CONFIG_KEY not in metadata:
            return _read_tensors(path, unwrap(state), scale, metadata)
        return _read_described(state, metadata, scale, "tessera")


def _read_described(
    state: Mapping[str, Array], metadata: Mapping[str, str], scale: int | None, dialect: str
) -> _Weights:
    """Compare the weights of a file that Tessera wrote with the configuration in its metadata."""
    config = config_from_json(metadata.get(CONFIG_KEY, ""))
    if config.network == "foreign":
        raise WeightsError("the network in its metadata cannot be built.")
    problem = compare(state_shapes(config), state)
    if problem:
        raise WeightsError(
            f"its metadata says that it is {config.network}, and its tensors disagree: {problem}. One of the two "
            "was changed after it was written; use the original file."
        )
    _check_scale(config, scale)
    shown = select_metadata(metadata, CONFIG_KEY)
    ordered = {name: state[name] for name in state_shapes(config)}
    return _validate(config, ordered, dialect, "raw", shown, ())


def _read_tensors(path: Path, unwrapped: Unwrapped, scale: int | None, metadata: Mapping[str, str]) -> _Weights:
    """Recognize the network from the names and shapes of tensors."""
    try:
        found = recognize(unwrapped.state, scale=scale, named_scale=find_scale(path.stem))
    except UnknownNetworkError as error:
        if "this is a discriminator" in str(error):
            raise
        config, network = build_foreign(unwrapped.state, error)
        _check_scale(config, scale)
        notes = (*unwrapped.notes, f"A {config.architecture} network, loaded by spandrel; receptive field unknown.")
        state, network = to_arrays(network.state_dict()), network.float().eval().requires_grad_(False)
        weights = _validate(config, state, "spandrel", unwrapped.wrapper, metadata, notes, network=network)
    else:
        notes = (*unwrapped.notes, *found.notes)
        weights = _validate(found.config, found.state, found.dialect, unwrapped.wrapper, metadata, notes)
    return dataclasses.replace(weights, choices=unwrapped.choices)


def _validate(
    config: GeneratorConfig,
    state: dict[str, Array],
    dialect: str,
    wrapper: str,
    metadata: Mapping[str, str],
    notes: tuple[str, ...],
    network: nn.Module | None = None,
) -> _Weights:
    """Refuse weights that are not finite floating-point values."""
    dtypes: set[str] = set()
    for name, array in state.items():
        if network is None or is_floating(array.dtype):
            check_weight(name, array)
        if not array.size:
            raise WeightsError(f"`{name}` has the shape {array.shape}, which holds no values.")
        dtypes.add(format_dtype(array.dtype))
    if "float64" in dtypes:
        notes = (*notes, "Its double-precision weights were rounded to single precision.")
    return _Weights(config, state, dialect, wrapper, dict(metadata), notes, tuple(sorted(dtypes)), network)


_READERS: Mapping[Format, Callable[[Path, int | None], _Weights]] = {
    "checkpoint": _read_checkpoint,
    "torchscript": _read_torchscript,
    "safetensors": _read_safetensors,
    "ncnn": _read_ncnn,
    "onnx": _read_onnx,
    "openvino": _read_openvino,
}


def _check_scale(config: GeneratorConfig, scale: int | None) -> None:
    if scale is not None and scale != config.scale:
        raise WeightsError(
            f"the scale of these weights is x{config.scale}, and x{scale} was requested. Request x{config.scale}."
        )


# -------------------------------------------------------------------------------------------------------- writing


def save_weights(
    path: Path,
    config: GeneratorConfig,
    state: Mapping[str, Array] | Mapping[str, Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
    dtype: Any = None,
) -> None:
    """Write weights as safetensors with the complete configuration in the metadata.

    The file is written atomically, and the same weights give the same bytes.

    Args:
        path: The file, ending in .safetensors.
        config: The configuration of the network; its kind, sizes and scale.
        state: Finite floating-point arrays of NumPy or tensors of PyTorch, with the names and shapes of the network
            that `config` builds.
        metadata: Further text entries for the header; None for none.
        dtype: Type that all are converted to ("float16", or a type of NumPy or PyTorch); None preserves each.

    Raises:
        UsageError: The extension, the kind of network, a name, a shape or a type does not match.
        WeightsError: A value is NaN or infinite, or the file cannot be written.
    """
    path = Path(path)
    check_name(path)
    if find_generator(config) is None:
        raise UsageError(f"{path}: weights of {config.network} can be used but not written.")
    given = to_arrays(state)
    problem = compare(state_shapes(config), given)
    if problem:
        raise UsageError(f"{path}: these are not the weights of this {config.network}: {problem}.")
    arrays = {
        name: given[name] if dtype is None else convert(given[name], parse_dtype(dtype))
        for name in state_shapes(config)
    }
    for name, array in arrays.items():
        if not is_floating(array.dtype):
            raise UsageError(
                f"{path}: `{name}` has the type {format_dtype(array.dtype)}; expected floating-point weights."
            )
    with prefix_errors(path):
        for name, array in arrays.items():
            check_weight(name, array)
    write_described(path, arrays, CONFIG_KEY, config, metadata)
