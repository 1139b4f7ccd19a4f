"""Weights in the format of ncnn: a text of layers (`.param`) and their values (`.bin`).

The text is read as a structure of operations without names. The networks that could have such layers are drawn into
the same structure, and one of them must be equal: not only the same convolutions in the same order, but every
connection, slope, residual factor and upsampling. Only then do the values get names. Half-precision values stay
half-precision here, so nothing is lost or added on the way to another format.

The format: `.bin` has for each convolution, in the order of the text, a tag (fp16 or 0), the weights (O, I, K, K)
padded to 4 bytes, and the bias in fp32 without a tag; slopes of PReLU are fp32 without a tag. There is no header or
trailer.

Shapes: O output channels, I input channels, K the kernel's height and width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import ValidationError

from tessera.config import explain
from tessera.errors import UnknownNetworkError, WeightsError
from tessera.generators import GENERATORS, GeneratorConfig
from tessera.generators.structure import Drawn, LayerList, Structure, draw_structure, list_layers
from tessera.weights.arrays import Array
from tessera.weights.dialects import state_shapes
from tessera.weights.ncnn_text import TAG_FP16, TAG_FP32, NcnnLayer, NcnnMismatchError, parse_param

MAX_JOINED = 16
INTERPOLATIONS = {1: "nearest", 2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class NcnnWeights:
    """The content of a pair of files: the network, and its weights by the network's names in the stored types."""

    config: GeneratorConfig
    state: dict[str, Array]
    notes: tuple[str, ...]
    param: Path
    bin: Path


@dataclass(frozen=True)
class _Stored:
    """A layer with values in the `.bin`: the module they belong to, or the constants they must equal."""

    layer: NcnnLayer
    module: str
    constants: tuple[tuple[float, ...], ...] = ()


def read_ncnn(path: Path) -> NcnnWeights:
    """Read the pair of files of which `path` names either one.

    Raises WeightsError when one is missing, damaged or too short, and UnknownNetworkError when the layers belong to no
    known network.
    """
    param, data = path.with_suffix(".param"), path.with_suffix(".bin")
    for file in (param, data):
        if not file.is_file():
            raise WeightsError(f"{path}: an ncnn model is two files, and {file.name} is missing. Download both files.")
    try:
        layers = parse_param(param)
    except NcnnMismatchError as error:
        raise WeightsError(f"{param}: not a complete ncnn model: {error}. Download it again.") from error
    except OSError as error:
        raise WeightsError(f"{param}: cannot read this file ({error.strerror or error}).") from error
    try:
        config, order, notes = recognize_layers(layers)
    except NcnnMismatchError as error:
        known = ", ".join(generator.name for generator in GENERATORS)
        raise UnknownNetworkError(
            f"{param}: {error}. The ncnn models that can be read are those of {known}."
        ) from error
    try:
        with data.open("rb") as file:
            state = _read_values(file, data.stat().st_size, config, order)
    except NcnnMismatchError as error:
        raise WeightsError(
            f"{data}: these values do not belong to {param.name}: {error}. Download both files again."
        ) from error
    except OSError as error:
        raise WeightsError(f"{data}: cannot read this file ({error.strerror or error}).") from error
    return NcnnWeights(config, state, notes, param, data)


# -------------------------------------------------------------------------------------------------- the structure


@dataclass
class _Reading:
    """The structure of a file while it is read."""

    structure: Structure
    blobs: dict[str, int] = field(default_factory=dict[str, int])
    used: set[str] = field(default_factory=set[str])
    results: list[tuple[NcnnLayer, int]] = field(default_factory=list[tuple[NcnnLayer, int]])
    stored: list[tuple[NcnnLayer, int]] = field(default_factory=list[tuple[NcnnLayer, int]])
    """Layers with values, and the numbers of their operations."""

    def read(self, layer: NcnnLayer) -> None:
        """Add one layer."""
        for name in layer.inputs:
            if name not in self.blobs:
                raise NcnnMismatchError(f"{layer} reads {name[:40]!r}, which no earlier layer writes")
        self.used.update(layer.inputs)
        reader = READERS.get(layer.kind)
        if reader is None:
            raise NcnnMismatchError(f"{layer} is of a kind that no known network has")
        inputs = [self.blobs[name] for name in layer.inputs]
        if layer.kind != "Input" and not inputs:
            raise NcnnMismatchError(f"{layer} reads nothing")
        result = reader(self, layer, inputs)
        self.results.append((layer, result))
        if len(layer.outputs) != 1 and layer.kind != "Split":
            raise NcnnMismatchError(f"{layer} has {len(layer.outputs)} outputs")
        for name in layer.outputs:
            if name in self.blobs:
                raise NcnnMismatchError(f"{layer} writes {name[:40]!r} a second time")
            self.blobs[name] = result

    def store(self, layer: NcnnLayer, number: int) -> None:
        """Note that a layer has values."""
        if any(number == other for _, other in self.stored):
            raise NcnnMismatchError(f"{layer} reads the same as another layer of its kind")
        self.stored.append((layer, number))

    def list_layers(self) -> LayerList:
        """The layers that were read, without names."""
        convolutions = [layer for layer, _ in self.stored if layer.kind == "Convolution"]
        if len(convolutions) < 2:
            raise NcnnMismatchError(f"it has {len(convolutions)} convolutions")
        return list_layers(self.structure, [_read_sizes(layer) for layer in convolutions])


def _read_sizes(layer: NcnnLayer) -> tuple[int, int, int]:
    """Inputs, outputs and kernel of a convolution."""
    outputs, kernel, weights = layer.integer(0), layer.integer(1), layer.integer(6)
    return (weights // (outputs * kernel**2) if outputs > 0 else 0), outputs, kernel


def _require(layer: NcnnLayer, **allowed: tuple[int, float]) -> None:
    """Refuse a layer when one of the named settings is present with another value than the one given."""
    for what, (key, value) in allowed.items():
        if layer.numbers.get(key, value) != value:
            raise NcnnMismatchError(f"{layer} has {what} {layer.numbers[key]:g}, and {value:g} is expected")


def _read_input(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    return reading.structure.input()


def _read_same(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    return inputs[0]


def _read_conv(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    kernel, outputs = layer.integer(1), layer.integer(0)
    if kernel < 1 or kernel % 2 == 0 or (outputs > 0 and layer.integer(6) % (outputs * kernel**2)):
        raise NcnnMismatchError(
            f"{layer} has a kernel of {kernel} and {layer.integer(6)} weights for {outputs} outputs"
        )
    _require(
        layer,
        kernel_height=(11, kernel),
        dilation=(2, 1),
        dilation_height=(12, 1),
        stride=(3, 1),
        stride_height=(13, 1),
        padding_height=(14, kernel // 2),
        padding_right=(15, kernel // 2),
        padding_bottom=(16, kernel // 2),
        padding_value=(18, 0),
        int8=(8, 0),
        dynamic=(19, 0),
    )
    if layer.integer(4) != kernel // 2 or layer.integer(5) != 1:
        raise NcnnMismatchError(f"{layer} has no padding of {kernel // 2} or no bias")
    x = reading.structure.conv(inputs[0], outputs, kernel)
    reading.store(layer, x)
    match layer.integer(9):
        case 0:
            return x
        case 1:
            return reading.structure.leaky(x, 0.0)
        case 2:
            return reading.structure.leaky(x, (layer.arrays.get(10) or (0.0,))[0])
        case kind:
            raise NcnnMismatchError(f"{layer} has an activation of kind {kind}, which no known network has")


def _read_prelu(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    x = reading.structure.prelu(inputs[0], layer.integer(0))
    reading.store(layer, x)
    return x


def _read_depthwise(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    channels = layer.integer(0)
    _require(
        layer,
        kernel=(1, 1),
        kernel_height=(11, 1),
        stride=(3, 1),
        stride_height=(13, 1),
        padding=(4, 0),
        weights=(6, channels),
        groups=(7, channels),
        int8=(8, 0),
        activation=(9, 0),
        dynamic=(19, 0),
    )
    if layer.integer(5) != 1:
        raise NcnnMismatchError(f"{layer} has no bias")
    x = reading.structure.affine(inputs[0], channels)
    reading.store(layer, x)
    return x


def _read_relu(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    return reading.structure.leaky(inputs[0], layer.numbers.get(0, 0.0))


def _read_concat(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    _require(layer, axis=(0, 0))
    joined = len(reading.structure.flatten(inputs))
    if joined > MAX_JOINED:
        raise NcnnMismatchError(f"it joins {joined} inputs, more than any known network")
    return reading.structure.concat(*inputs)


def _read_eltwise(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    if layer.integer(0) != 1:
        raise NcnnMismatchError(f"{layer} is not a sum")
    factors = layer.arrays.get(1, (1.0,) * len(inputs))
    if len(factors) != len(inputs):
        raise NcnnMismatchError(f"{layer} has {len(factors)} factors for {len(inputs)} inputs")
    structure = reading.structure
    return structure.add(*(structure.multiply(x, factor) for x, factor in zip(inputs, factors, strict=True)))


def _read_binary(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    operation, scalar = layer.integer(0), layer.integer(1)
    if operation == 0 and not scalar and len(inputs) == 2:
        return reading.structure.add(*inputs)
    if operation == 2 and scalar and len(inputs) == 1:
        return reading.structure.multiply(inputs[0], layer.numbers.get(2, 0.0))
    raise NcnnMismatchError(f"{layer} is neither a sum nor a product with a constant")


def _read_interp(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    kind = INTERPOLATIONS.get(layer.integer(0))
    factor = layer.numbers.get(1, 0.0)
    if kind is None or factor != layer.numbers.get(2, 0.0) or not 0 < factor <= 16 or len(inputs) != 1:
        raise NcnnMismatchError(f"{layer} does not resize by one factor")
    _require(layer, height=(3, 0), width=(4, 0))
    return reading.structure.resize(inputs[0], kind, factor)


def _read_shuffle(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    _require(layer, mode=(1, 0))
    return reading.structure.shuffle(inputs[0], layer.integer(0))


def _read_unshuffle(reading: _Reading, layer: NcnnLayer, inputs: list[int]) -> int:
    _require(layer, mode=(1, 0))
    return reading.structure.unshuffle(inputs[0], layer.integer(0))


READERS: dict[str, Callable[[_Reading, NcnnLayer, list[int]], int]] = {
    "Input": _read_input,
    "Split": _read_same,
    "Noop": _read_same,
    "Convolution": _read_conv,
    "PReLU": _read_prelu,
    "ReLU": _read_relu,
    "ConvolutionDepthWise": _read_depthwise,
    "Concat": _read_concat,
    "Eltwise": _read_eltwise,
    "BinaryOp": _read_binary,
    "Interp": _read_interp,
    "PixelShuffle": _read_shuffle,
    "Reorg": _read_unshuffle,
}


def recognize_layers(layers: list[NcnnLayer]) -> tuple[GeneratorConfig, list[_Stored], tuple[str, ...]]:
    """Recognize the network: its configuration, what the layers with values hold, notes. Raises NcnnMismatchError."""
    reading = _Reading(Structure())
    for layer in layers:
        reading.read(layer)
    ends = [name for name in reading.blobs if name not in reading.used]
    if len(ends) != 1:
        raise NcnnMismatchError(f"it has {len(ends)} outputs, and one is expected")
    end, notes = _drop_last_resize(reading, reading.blobs[ends[0]])
    problems: list[tuple[int, str]] = []
    for config in _infer_candidates(reading.list_layers()):
        drawn = draw_structure(config.layers, reading.structure)
        if drawn.end == end:
            return config, _match_stored(reading, drawn), notes
        problems.append(_find_first_difference(reading, config, drawn.end))
    raise NcnnMismatchError(max(problems, key=lambda problem: problem[0])[1])


def _infer_candidates(layers: LayerList) -> list[GeneratorConfig]:
    """List the networks that could have such layers, by number and size. Raises NcnnMismatchError if none can."""
    candidates: list[GeneratorConfig] = []
    problem = ""
    for generator in GENERATORS:
        if generator.from_layers is None:
            continue
        try:
            candidates.append(generator.from_layers(layers))
        except ValidationError as error:
            problem = problem or explain(error)
    if not candidates:
        raise NcnnMismatchError(f"its sizes are out of range ({problem})")
    return candidates


def _drop_last_resize(reading: _Reading, end: int) -> tuple[int, tuple[str, ...]]:
    match reading.structure.operations[end]:
        case ("resize", str(kind), float(factor), int(before)) if factor < 1:
            note = f"The file shrinks its result to {factor:g} by {kind} resizing at the end; this was left out."
            return before, (note,)
        case _:
            return end, ()


def _match_stored(reading: _Reading, drawn: Drawn) -> list[_Stored]:
    expected = len(drawn.modules) + len(drawn.constants)
    if len(reading.stored) != expected:
        raise NcnnMismatchError(f"it has {len(reading.stored)} layers with values, and {expected} are expected")
    return [
        _Stored(layer, drawn.modules.get(number, ""), drawn.constants.get(number, ()))
        for layer, number in reading.stored
    ]


def _find_first_difference(reading: _Reading, config: GeneratorConfig, expected_end: int) -> tuple[int, str]:
    """Find the first layer that the expected network does not have: its place, and a sentence about it."""
    structure = reading.structure
    expected: set[int] = set()
    waiting = [expected_end]
    while waiting:
        number = waiting.pop()
        if number not in expected:
            expected.add(number)
            waiting.extend(structure.inputs_of(number))
    start = f"its layers are most similar to those of {config.network}, but "
    for place, (layer, number) in enumerate(reading.results):
        if number not in expected:
            kind, *settings = map(str, structure.settings_of(number))
            what = " ".join([f"`{kind}`", *settings])
            return place, f"{start}{layer} is not in it, or not with these settings or inputs (read as {what})"
    return len(reading.results), f"{start}layers are missing at the end"


# ---------------------------------------------------------------------------------------------------- the values


def _read_values(file: BinaryIO, size: int, config: GeneratorConfig, order: list[_Stored]) -> dict[str, Array]:
    shapes = state_shapes(config)
    state: dict[str, Array] = {}

    def take(count: int, dtype: str, what: str) -> Array:
        length = count * np.dtype(dtype).itemsize
        left = size - file.tell()
        if length > left:
            raise NcnnMismatchError(f"{what} needs {length} bytes at {file.tell()}, and {left} are left")
        data = file.read(length)
        if len(data) != length:
            raise NcnnMismatchError(f"{what} is cut off")
        return np.frombuffer(data, dtype)

    for stored in order:
        layer = stored.layer
        if stored.constants:
            if int(take(1, "<u4", f"the tag of {layer}")[0]) != TAG_FP32:
                raise NcnnMismatchError(f"{layer} has another tag than fp32 (0)")
            for values in stored.constants:
                if not np.allclose(take(len(values), "<f4", f"{layer}"), np.array(values, np.float32)):
                    raise NcnnMismatchError(f"{layer} has other factors or offsets than {config.network}")
            continue
        shape = shapes[f"{stored.module}.weight"]
        count = prod(shape)
        if layer.kind == "PReLU":
            state[f"{stored.module}.weight"] = take(count, "<f4", f"{layer}").reshape(shape)
            continue
        if layer.integer(6) != count:
            raise NcnnMismatchError(f"{layer} declares {layer.integer(6)} weights, and {count} are expected")
        tag = int(take(1, "<u4", f"the tag of {layer}")[0])
        if tag not in (TAG_FP16, TAG_FP32):
            raise NcnnMismatchError(
                f"{layer} has the tag 0x{tag:08X}, and only fp16 (0x{TAG_FP16:08X}) and fp32 (0) can be read exactly"
            )
        dtype = "<f2" if tag == TAG_FP16 else "<f4"
        padded = count + (count % 2 if tag == TAG_FP16 else 0)
        state[f"{stored.module}.weight"] = take(padded, dtype, f"{layer}")[:count].reshape(shape)
        state[f"{stored.module}.bias"] = take(shape[0], "<f4", f"the bias of {layer}")
    if file.tell() != size:
        raise NcnnMismatchError(f"{size - file.tell()} bytes are left over")
    return {name: state[name] for name in shapes}
