"""Weights files: reading, writing and describing them.

Files of any format (`.pth`, `.pt`, `.ckpt`, `.safetensors`, ncnn's `.param` and `.bin`, `.onnx`, OpenVINO's `.xml`,
TorchScript as Tessera writes it) and of any program become one description of a loaded generator, RGB in [0, 1].
Nothing in a file is executed, and every declared size is compared with the file's content before memory is taken.
Tessera writes safetensors with the complete configuration in the metadata, and checks it when it reads such a file.

Shapes: B pictures in a batch, C channels, H rows, W columns, s the scale.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tessera.errors import EngineError, UnknownNetworkError, UsageError, WeightsError
from tessera.generators import CONFIG_KEY, GeneratorConfig, config_from_json, find_generator
from tessera.generators.drawing import Map, Pen
from tessera.libraries import import_library
from tessera.weights.checkpoint import read_checkpoint
from tessera.weights.described_file import (
    check_name,
    check_weight,
    hashed,
    naming,
    plain,
    shown_metadata,
    write_described,
)
from tessera.weights.dialects import Unwrapped, compare, recognize, state_shapes, unwrap
from tessera.weights.license import license_of
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.weights.names import (
    CHECKPOINT_SUFFIXES,
    NCNN_SUFFIXES,
    ONNX_SUFFIX,
    OPENVINO_SUFFIX,
    WEIGHTS_SUFFIXES,
    generator_name,
    hashed_file,
    scale_in_name,
)
from tessera.weights.ncnn import read_ncnn
from tessera.weights.onnx_file import OnnxFile, read_onnx
from tessera.weights.openvino_file import OpenVinoFile, read_openvino
from tessera.weights.pickle_walk import Inert
from tessera.weights.safetensors_file import read_safetensors
from tessera.weights.torchscript_file import is_torchscript, read_own_torchscript

FOREIGN_RADIUS = 128


class ForeignConfig(GeneratorConfig, frozen=True, extra="forbid"):
    """A network outside the family, read with the help of the `spandrel` package.

    Its layers are unknown, so its receptive field is a generous guess and its cost is 0.
    """

    network: Literal["foreign"] = "foreign"
    architecture: str = "unknown"
    input_multiple: int = 1

    @property
    def multiple(self) -> int:
        """Height and width of the input must divide by this number."""
        return self.input_multiple

    @property
    def receptive_radius(self) -> int:
        """A guess that is large enough for most networks; global attention covers the whole picture."""
        return FOREIGN_RADIUS

    def multiply_adds(self, height: int, width: int) -> int:
        """Not known: 0."""
        return 0

    def draw(self, pen: Pen[Map], picture: Map) -> Map:
        """Not possible: raises EngineError."""
        raise EngineError(f"The layers of a network of the kind {self.architecture} are unknown.")

    def build(self) -> nn.Module:
        """Not possible from here: raises WeightsError."""
        raise WeightsError(f"A network of the kind {self.architecture} can be loaded from a file, but not made anew.")


@dataclass(frozen=True)
class WeightsReport:
    """What a file holds, for people to read. `problem` says why it cannot be used; what is unknown is None or empty."""

    path: Path
    name: str
    size_bytes: int
    sha256: str | None
    network: str | None = None
    dialect: str | None = None
    wrapper: str | None = None
    scale: int | None = None
    config: GeneratorConfig | None = None
    parameters: int | None = None
    multiply_adds_128: int | None = None
    dtypes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    license: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class _Weights:
    """Weights as a file has them, renamed and checked, before they become a network."""

    config: GeneratorConfig
    state: dict[str, Tensor]
    dialect: str
    wrapper: str
    metadata: Mapping[str, str]
    notes: tuple[str, ...]
    dtypes: tuple[str, ...]
    network: nn.Module | None = None


# -------------------------------------------------------------------------------------------------------- reading


def load_weights(path: Path, *, scale: int | None = None) -> LoadedGenerator:
    """Read a weights file of any known format and make the network that it belongs to.

    `scale` is needed only where the weights leave it open (one upsampling stage can be x2 or x3; without it the
    file's name decides); a scale that the weights cannot make is an error.

    Raises WeightsError, with the sentence that says what is wrong with the file.
    """
    path = Path(path)
    weights = _read(path, scale)
    network = weights.network or assemble(weights.config, weights.state)
    sha256 = hashed(hashed_file(path))
    return LoadedGenerator(
        config=weights.config,
        network=network.eval().requires_grad_(False),
        name=generator_name(path),
        source=path,
        sha256=sha256,
        dialect=weights.dialect,
        wrapper=weights.wrapper,
        metadata=weights.metadata,
        notes=weights.notes,
        license=license_of(sha256, weights.metadata),
    )


def inspect_weights(path: Path) -> WeightsReport:
    """Describe a weights file; a file that cannot be used is described too, with its `problem`."""
    path = Path(path)
    try:
        file = hashed_file(path)
        size, sha256 = file.stat().st_size, hashed(file)
    except (OSError, WeightsError):
        size, sha256 = 0, None
    try:
        weights = _read(path, None)
        return WeightsReport(
            path=path,
            name=generator_name(path),
            size_bytes=size,
            sha256=sha256,
            network=weights.config.network,
            dialect=weights.dialect,
            wrapper=weights.wrapper,
            scale=weights.config.scale,
            config=weights.config,
            parameters=sum(tensor.numel() for tensor in weights.state.values()) or None,
            multiply_adds_128=weights.config.multiply_adds(128, 128) or None,
            dtypes=weights.dtypes,
            metadata=weights.metadata,
            notes=weights.notes,
            license=license_of(sha256, weights.metadata),
        )
    except WeightsError as error:
        return WeightsReport(
            path=path,
            name=generator_name(path),
            size_bytes=size,
            sha256=sha256,
            license=license_of(sha256, {}),
            problem=str(error),
        )


def _read(path: Path, scale: int | None) -> _Weights:
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file. Give the path of a weights file.")
    suffix = path.suffix.lower()
    if suffix == ".bin" and path.with_suffix(OPENVINO_SUFFIX).is_file() and not path.with_suffix(".param").is_file():
        path, suffix = path.with_suffix(OPENVINO_SUFFIX), OPENVINO_SUFFIX
    if suffix in CHECKPOINT_SUFFIXES:
        return _read_torchscript(path, scale) if is_torchscript(path) else _read_checkpoint(path, scale)
    if suffix == ".safetensors":
        return _read_safetensors(path, scale)
    if suffix in NCNN_SUFFIXES:
        return _read_ncnn(path, scale)
    if suffix == ONNX_SUFFIX:
        with naming(path):
            return _run_from_its_file(read_onnx(path), "onnx", scale)
    if suffix == OPENVINO_SUFFIX:
        with naming(path):
            return _run_from_its_file(read_openvino(path), "openvino", scale)
    raise WeightsError(
        f"{path}: weights files end in {', '.join(WEIGHTS_SUFFIXES)}, and this one ends in {suffix or 'nothing'}. Give"
        " one of those, or rename the file if it is one."
    )


def _read_checkpoint(path: Path, scale: int | None) -> _Weights:
    content = read_checkpoint(path).content
    with naming(path):
        if isinstance(content, Inert):
            raise WeightsError(f"it holds no dictionary of tensors but `{content.name}`.")
        return _from_names(path, unwrap(content), scale, {})


def _read_ncnn(path: Path, scale: int | None) -> _Weights:
    read = read_ncnn(path)
    with naming(path):
        _check_scale(read.config, scale)
        return _checked(read.config, read.state, "ncnn", "raw", {}, read.notes)


def _run_from_its_file(read: OnnxFile | OpenVinoFile, dialect: str, scale: int | None) -> _Weights:
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
            f"its metadata says that it takes {config.in_channels} channels and enlarges x{config.scale}, and it"
            f" takes {read.in_channels} and enlarges x{read.scale}. One of the two was changed afterwards."
        )
    _check_scale(config, scale)
    shown = shown_metadata(read.metadata, CONFIG_KEY)
    return _Weights(config, {}, dialect, "raw", shown, read.notes, (read.type_name,), read.network)


def _read_torchscript(path: Path, scale: int | None) -> _Weights:
    with naming(path):
        read = read_own_torchscript(path)
        if read is None:
            raise WeightsError(
                "this is a TorchScript program, which is code and not only weights, and none of it is run here. Where"
                " you trust it, take its weights by `torch.save(torch.jit.load(file).state_dict(), 'weights.pth')`."
            )
        return _described(*read, scale, "torchscript")


def _read_safetensors(path: Path, scale: int | None) -> _Weights:
    with naming(path):
        state, metadata = read_safetensors(path)
        if CONFIG_KEY not in metadata:
            return _from_names(path, unwrap(state), scale, metadata)
        return _described(state, metadata, scale, "tessera")


def _described(state: Mapping[str, Tensor], metadata: Mapping[str, str], scale: int | None, dialect: str) -> _Weights:
    """Weights of a file that Tessera wrote, compared with the configuration in its metadata."""
    config = config_from_json(metadata.get(CONFIG_KEY, ""))
    if config.network == "foreign":
        raise WeightsError("its metadata names no network that can be built.")
    problem = compare(state_shapes(config), state)
    if problem:
        raise WeightsError(
            f"its metadata says that it is {config.network}, and its tensors disagree: {problem}. One of the two "
            "was changed after it was written; use the original file."
        )
    _check_scale(config, scale)
    shown = shown_metadata(metadata, CONFIG_KEY)
    ordered = {name: state[name] for name in state_shapes(config)}
    return _checked(config, ordered, dialect, "raw", shown, ())


def _from_names(path: Path, unwrapped: Unwrapped, scale: int | None, metadata: Mapping[str, str]) -> _Weights:
    try:
        found = recognize(unwrapped.state, scale=scale, named_scale=scale_in_name(path.stem))
    except UnknownNetworkError as error:
        return _read_foreign(unwrapped, scale, metadata, error)
    notes = (*unwrapped.notes, *found.notes)
    return _checked(found.config, found.state, found.dialect, unwrapped.wrapper, metadata, notes)


def _read_foreign(
    unwrapped: Unwrapped, scale: int | None, metadata: Mapping[str, str], error: UnknownNetworkError
) -> _Weights:
    """Try the `spandrel` package on tensors that were already read safely; without it, say that it may help."""
    if "this is a discriminator" in str(error):
        raise error
    install = "`pip install 'tessera-sr[other-networks]'`"
    try:
        spandrel = import_library("spandrel")
    except Exception as foreign:
        if isinstance(foreign, ModuleNotFoundError) and foreign.name == "spandrel":
            raise UnknownNetworkError(
                f"{error} If it is a network outside the family, the package spandrel may load it: {install}."
            ) from error
        said = " ".join(str(foreign).split())[:300].rstrip(".") or "no reason given"
        raise UnknownNetworkError(
            f"{error} If it is a network outside the family, the package spandrel may load it; it is installed and"
            f" cannot be imported ({type(foreign).__name__}: {said}), which {install} may mend."
        ) from foreign
    try:
        model: Any = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(unwrapped.state))
    except Exception as foreign:  # spandrel answers with errors of many kinds
        raise UnknownNetworkError(f"{error} The package spandrel does not know it either.") from foreign
    size: Any = model.size_requirements
    config = ForeignConfig(
        architecture=str(model.architecture.name),
        in_channels=model.input_channels,
        out_channels=model.output_channels,
        scale=model.scale,
        input_multiple=math.lcm(int(size.multiple_of or 1), 1),
    )
    _check_scale(config, scale)
    network: nn.Module = model.model
    notes = (
        *unwrapped.notes,
        f"A network of the kind {config.architecture}, loaded through spandrel; how far it reaches is not known.",
    )
    return _checked(
        config, network.state_dict(), "spandrel", unwrapped.wrapper, metadata, notes, network=network.to(torch.float32)
    )


def _checked(
    config: GeneratorConfig,
    state: dict[str, Tensor],
    dialect: str,
    wrapper: str,
    metadata: Mapping[str, str],
    notes: tuple[str, ...],
    network: nn.Module | None = None,
) -> _Weights:
    """Refuse weights that are not finite floating-point values."""
    dtypes: set[str] = set()
    for name, tensor in state.items():
        if network is None or tensor.dtype.is_floating_point:
            check_weight(name, tensor)
        if not tensor.numel():
            raise WeightsError(f"`{name}` has the shape {tuple(tensor.shape)} and so no numbers at all.")
        dtypes.add(plain(tensor.dtype))
    if "float64" in dtypes:
        notes = (*notes, "Its numbers are double precision; they were rounded to single precision.")
    return _Weights(config, state, dialect, wrapper, dict(metadata), notes, tuple(sorted(dtypes)), network)


def assemble(config: GeneratorConfig, state: Mapping[str, Tensor]) -> nn.Module:
    """Build the network of a configuration around these tensors, in fp32, in eval mode, without gradients."""
    with torch.device("meta"):
        network = config.build()
    network.load_state_dict(
        {name: tensor.to(torch.float32).contiguous() for name, tensor in state.items()}, assign=True
    )
    return network.eval().requires_grad_(False)


def _check_scale(config: GeneratorConfig, scale: int | None) -> None:
    if scale is not None and scale != config.scale:
        raise WeightsError(
            f"the scale of these weights is x{config.scale}, and x{scale} was requested. Request x{config.scale}."
        )


# -------------------------------------------------------------------------------------------------------- writing


def save_weights(
    path: Path,
    config: GeneratorConfig,
    state: Mapping[str, Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write weights as safetensors with the complete configuration in the metadata.

    The file is written atomically, and the same weights give the same bytes.

    Args:
        path: The file, ending in .safetensors.
        config: The configuration of the network; its kind, sizes and scale.
        state: Finite floating-point tensors, with the names and shapes of the network that `config` builds.
        metadata: Further text entries for the header; None for none.
        dtype: Type that all tensors are converted to; None preserves the type of each.

    Raises:
        UsageError: The extension, the kind of network, a name, a shape or a type does not match.
        WeightsError: A value is NaN or infinite, or the file cannot be written.
    """
    path = Path(path)
    check_name(path)
    if find_generator(config) is None:
        raise UsageError(f"{path}: weights of a network of the kind {config.network} cannot be written, only used.")
    problem = compare(state_shapes(config), state)
    if problem:
        raise UsageError(f"{path}: these are not the weights of this {config.network}: {problem}.")
    tensors = {
        name: state[name].detach().to("cpu", dtype or state[name].dtype).contiguous() for name in state_shapes(config)
    }
    for name, tensor in tensors.items():
        if not tensor.dtype.is_floating_point:
            raise UsageError(f"{path}: `{name}` holds {plain(tensor.dtype)} numbers, and weights are floating-point.")
    with naming(path):
        for name, tensor in tensors.items():
            check_weight(name, tensor)
    write_described(path, tensors, CONFIG_KEY, config, metadata)
