"""Weights in the format of ncnn: a text of layers (`.param`) and their numbers (`.bin`).

The text is read as a graph of operations, each named by what it does to what (`Graph`). The graph that Tessera's own
network would be is written down in the same way, and the two must be one: not only the same convolutions in the same
order, but every connection, slope, residual factor and enlargement. Only then do the numbers get names. Half-precision
numbers stay half-precision here, so nothing is lost or added on the way to another format.

The format: `.bin` has for each convolution, in the order of the text, a tag (fp16 or 0), the weights (O, I, K, K)
padded to 4 bytes, and the bias in fp32 without a tag; slopes of PReLU are fp32 without a tag. There is no header or
trailer.

Shapes: O output channels, I input channels, K the kernel's height and width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import torch
from pydantic import ValidationError
from torch import Tensor

from tessera.config import explain
from tessera.errors import UnknownNetworkError, WeightsError
from tessera.generators import GeneratorConfig, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.weights.dialects import state_shapes

MAGIC = "7767517"
TAG_FP16 = 0x01306B47
TAG_FP32 = 0
MAX_PARAM_BYTES = 8 << 20
MAX_LAYERS = 20_000
MAX_JOINED = 16

INTERPOLATIONS = {1: "nearest", 2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class NcnnWeights:
    """What a pair of files holds: the network, and its weights by the network's names with the numbers as stored."""

    config: GeneratorConfig
    state: dict[str, Tensor]
    notes: tuple[str, ...]
    param: Path
    bin: Path


@dataclass(frozen=True)
class Layer:
    """One line of the text."""

    line: int
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: dict[int, float]
    arrays: dict[int, tuple[float, ...]]

    def __str__(self) -> str:
        return f"layer {self.name[:40]!r} ({self.kind[:40]}, line {self.line})"

    def whole(self, key: int, default: int = 0) -> int:
        """Read a parameter that must be a whole number."""
        value = self.numbers.get(key, default)
        if value != value // 1 or abs(value) > 1 << 31:
            raise _MisfitError(f"{self} has {value} where a whole number is due (parameter {key})")
        return int(value)


class _MisfitError(Exception):
    """The files are damaged or another network's; the text says how."""


@dataclass
class Graph:
    """Operations by number; equal operations on equal inputs get the same number."""

    known: dict[tuple[object, ...], int] = field(default_factory=dict[tuple[object, ...], int])
    operations: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])

    def node(self, *what: object) -> int:
        """Give the number of an operation."""
        if what not in self.known:
            self.known[what] = len(self.operations)
            self.operations.append(what)
        return self.known[what]

    def input(self) -> int:
        """The picture."""
        return self.node("input")

    def conv(self, x: int, outputs: int, kernel: int = 3) -> int:
        """Convolve."""
        return self.node("conv", outputs, kernel, x)

    def leaky(self, x: int, slope: float) -> int:
        """Leaky ReLU; a slope of 0 is ReLU."""
        return self.node("leaky", round(slope, 6), x)

    def scaled(self, x: int, factor: float) -> int:
        """Multiply by a constant."""
        return x if factor == 1 else self.node("scaled", round(factor, 6), x)

    def add(self, *terms: int) -> int:
        """Add, in any order."""
        return self.node("add", *sorted(terms))

    def concat(self, *parts: int) -> int:
        """Join channels, in order; a join of joins is one join."""
        flat: list[object] = []
        for part in parts:
            what = self.operations[part]
            flat.extend(what[1:] if what[0] == "concat" else [part])
        if len(flat) > MAX_JOINED:
            raise _MisfitError(f"it joins {len(flat)} inputs, more than either network")
        return self.node("concat", *flat)


def read_ncnn(path: Path) -> NcnnWeights:
    """Read the pair of files of which `path` names either one.

    Raises WeightsError when one is missing, damaged or too short, and UnknownNetworkError when the layers are not those
    of RRDBNet or SRVGGNetCompact.
    """
    param, data = path.with_suffix(".param"), path.with_suffix(".bin")
    for file in (param, data):
        if not file.is_file():
            raise WeightsError(
                f"{path}: an ncnn model is two files, and {file.name} is not beside this one. Fetch both."
            )
    try:
        layers = parse_param(param)
    except _MisfitError as error:
        raise WeightsError(f"{param}: this is not a whole ncnn model: {error}. Fetch it again.") from error
    except OSError as error:
        raise WeightsError(f"{param}: this file cannot be read ({error.strerror or error}).") from error
    try:
        config, order, notes = recognize_layers(layers)
    except _MisfitError as error:
        raise UnknownNetworkError(
            f"{param}: {error}. Of ncnn models, those of RRDBNet and SRVGGNetCompact (Real-ESRGAN) can be read."
        ) from error
    try:
        with data.open("rb") as file:
            state = _read_numbers(file, data.stat().st_size, config, order)
    except _MisfitError as error:
        raise WeightsError(
            f"{data}: these numbers do not belong to {param.name}: {error}. Fetch both again."
        ) from error
    except OSError as error:
        raise WeightsError(f"{data}: this file cannot be read ({error.strerror or error}).") from error
    return NcnnWeights(config, state, notes, param, data)


# ------------------------------------------------------------------------------------------------------ the text


def parse_param(path: Path) -> list[Layer]:
    """Read the lines of a `.param` file."""
    if path.stat().st_size > MAX_PARAM_BYTES:
        raise _MisfitError(f"its text has {path.stat().st_size} bytes, more than any known model")
    try:
        lines = path.read_bytes().decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise _MisfitError("it is not the text form of a `.param` file") from None
    if len(lines) < 2 or lines[0].strip() != MAGIC:
        raise _MisfitError(f"its first line is not the number {MAGIC} that ncnn puts there")
    counts = lines[1].split()
    if len(counts) != 2 or not counts[0].isdigit() or int(counts[0][:9]) > MAX_LAYERS:
        raise _MisfitError("its second line does not give the numbers of layers and blobs")
    layers = [_parse_line(number, line) for number, line in enumerate(lines[2:], start=3) if line.strip()]
    if len(layers) != int(counts[0]):
        raise _MisfitError(f"it announces {counts[0]} layers and has {len(layers)}")
    return layers


def _parse_line(number: int, line: str) -> Layer:
    words = line.split()
    if len(words) < 4 or not (words[2].isdigit() and words[3].isdigit()):
        raise _MisfitError(f"line {number} is not a layer")
    first, last = 4 + int(words[2][:6]), 4 + int(words[2][:6]) + int(words[3][:6])
    if last > len(words):
        raise _MisfitError(f"line {number} is cut off")
    numbers: dict[int, float] = {}
    arrays: dict[int, tuple[float, ...]] = {}
    for word in words[last:]:
        key, _, value = word.partition("=")
        try:
            if int(key) <= -23300:
                arrays[-int(key) - 23300] = tuple(float(item) for item in value.split(",")[1:])
            else:
                numbers[int(key)] = float(value)
        except ValueError:
            raise _MisfitError(f"line {number} has {word[:40]!r} where a parameter is due") from None
    return Layer(number, words[0], words[1], tuple(words[4:first]), tuple(words[first:last]), numbers, arrays)


# ----------------------------------------------------------------------------------------------------- the graph

_Weighted = tuple[Layer, int]


@dataclass
class _Reading:
    """The graph of a file while it is read."""

    graph: Graph
    blobs: dict[str, int] = field(default_factory=dict[str, int])
    used: set[str] = field(default_factory=set[str])
    made: list[_Weighted] = field(default_factory=list[_Weighted])
    weighted: list[_Weighted] = field(default_factory=list[_Weighted])

    def read(self, layer: Layer) -> None:
        """Add one layer."""
        for name in layer.inputs:
            if name not in self.blobs:
                raise _MisfitError(f"{layer} reads {name[:40]!r}, which nothing before it makes")
        self.used.update(layer.inputs)
        reader = READERS.get(layer.kind)
        if reader is None:
            raise _MisfitError(f"{layer} is of a kind that neither network has")
        inputs = [self.blobs[name] for name in layer.inputs]
        if layer.kind != "Input" and not inputs:
            raise _MisfitError(f"{layer} reads nothing")
        result = reader(self, layer, inputs)
        self.made.append((layer, result))
        if len(layer.outputs) != 1 and layer.kind != "Split":
            raise _MisfitError(f"{layer} has {len(layer.outputs)} outputs")
        for name in layer.outputs:
            if name in self.blobs:
                raise _MisfitError(f"{layer} makes {name[:40]!r}, which there is already")
            self.blobs[name] = result


def _only(layer: Layer, **allowed: tuple[int, float]) -> None:
    """Refuse a layer when one of the parameters named is present with another value than the one given."""
    for what, (key, value) in allowed.items():
        if layer.numbers.get(key, value) != value:
            raise _MisfitError(f"{layer} has {what} {layer.numbers[key]:g}, and {value:g} is expected")


def _read_input(reading: _Reading, layer: Layer, inputs: list[int]) -> int:
    return reading.graph.input()


def _read_same(reading: _Reading, layer: Layer, inputs: list[int]) -> int:
    return inputs[0]


def _read_conv(reading: _Reading, layer: Layer, inputs: list[int]) -> int:
    kernel = layer.whole(1)
    if kernel != 3:
        raise _MisfitError(f"{layer} has a kernel of {kernel}, and 3 is expected")
    _only(
        layer,
        kernel_height=(11, kernel),
        dilation=(2, 1),
        dilation_height=(12, 1),
        stride=(3, 1),
        stride_height=(13, 1),
        padding_height=(14, 1),
        padding_right=(15, 1),
        padding_bottom=(16, 1),
        padding_value=(18, 0),
        int8=(8, 0),
        dynamic=(19, 0),
    )
    if layer.whole(4) != 1 or layer.whole(5) != 1:
        raise _MisfitError(f"{layer} has no padding of 1 or no bias")
    x = reading.graph.conv(inputs[0], layer.whole(0), kernel)
    if any(x == other for _, other in reading.weighted):
        raise _MisfitError(f"{layer} reads the same as another convolution")
    reading.weighted.append((layer, x))
    match layer.whole(9):
        case 0:
            return x
        case 1:
            return reading.graph.leaky(x, 0.0)
        case 2:
            return reading.graph.leaky(x, (layer.arrays.get(10) or (0.0,))[0])
        case kind:
            raise _MisfitError(f"{layer} has an activation of kind {kind}, which neither network has")


def _read_prelu(reading: _Reading, layer: Layer, inputs: list[int]) -> int:
    x = reading.graph.node("prelu", layer.whole(0), inputs[0])
    reading.weighted.append((layer, x))
    return x


def _read_relu(reading: _Reading, layer: Layer, inputs: list[int]) -> int:
    return reading.graph.leaky(inputs[0], layer.numbers.get(0, 0.0))


def _read_concat(reading: _Reading, layer: Layer, inputs: list[int]) -> int:
    _only(layer, axis=(0, 0))
    return reading.graph.concat(*inputs)


def _read_eltwise(reading: _Reading, layer: Layer, inputs: list[int]) -> int:
    if layer.whole(0) != 1:
        raise _MisfitError(f"{layer} is no sum")
    factors = layer.arrays.get(1, (1.0,) * len(inputs))
    if len(factors) != len(inputs):
        raise _MisfitError(f"{layer} has {len(factors)} factors for {len(inputs)} inputs")
    return reading.graph.add(*(reading.graph.scaled(x, factor) for x, factor in zip(inputs, factors, strict=True)))


def _read_binary(reading: _Reading, layer: Layer, inputs: list[int]) -> int:
    operation, scalar = layer.whole(0), layer.whole(1)
    if operation == 0 and not scalar and len(inputs) == 2:
        return reading.graph.add(*inputs)
    if operation == 2 and scalar and len(inputs) == 1:
        return reading.graph.scaled(inputs[0], layer.numbers.get(2, 0.0))
    raise _MisfitError(f"{layer} is neither a sum nor a product with a constant")


def _read_interp(reading: _Reading, layer: Layer, inputs: list[int]) -> int:
    kind = INTERPOLATIONS.get(layer.whole(0))
    factor = layer.numbers.get(1, 0.0)
    if kind is None or factor != layer.numbers.get(2, 0.0) or not 0 < factor <= 16 or len(inputs) != 1:
        raise _MisfitError(f"{layer} does not resize by one factor")
    _only(layer, height=(3, 0), width=(4, 0))
    return reading.graph.node("resize", kind, factor, inputs[0])


def _read_shuffle(reading: _Reading, layer: Layer, inputs: list[int]) -> int:
    _only(layer, mode=(1, 0))
    return reading.graph.node("shuffle", layer.whole(0), inputs[0])


def _read_unshuffle(reading: _Reading, layer: Layer, inputs: list[int]) -> int:
    _only(layer, mode=(1, 0))
    return reading.graph.node("unshuffle", layer.whole(0), inputs[0])


READERS: dict[str, Callable[[_Reading, Layer, list[int]], int]] = {
    "Input": _read_input,
    "Split": _read_same,
    "Noop": _read_same,
    "Convolution": _read_conv,
    "PReLU": _read_prelu,
    "ReLU": _read_relu,
    "Concat": _read_concat,
    "Eltwise": _read_eltwise,
    "BinaryOp": _read_binary,
    "Interp": _read_interp,
    "PixelShuffle": _read_shuffle,
    "Reorg": _read_unshuffle,
}

Named = tuple[str, int]


def recognize_layers(layers: list[Layer]) -> tuple[GeneratorConfig, list[tuple[Layer, str]], tuple[str, ...]]:
    """Tell which network the layers are: its configuration, the module of each layer with numbers, and notes."""
    reading = _Reading(Graph())
    for layer in layers:
        reading.read(layer)
    ends = [name for name in reading.blobs if name not in reading.used]
    if len(ends) != 1:
        raise _MisfitError(f"it has {len(ends)} outputs, and one is expected")
    output = reading.blobs[ends[0]]
    output, notes = _without_last_resize(reading, output)

    try:
        config = _infer(reading)
    except ValidationError as error:
        raise _MisfitError(f"its sizes are not ones that can be built ({explain(error)})") from error
    expected_output, modules = _expected(reading.graph, config)
    if expected_output != output:
        raise _MisfitError(_difference(reading, config, expected_output))
    names = {number: name for name, number in modules}
    if len(names) != len(reading.weighted) or any(number not in names for _, number in reading.weighted):
        raise _MisfitError(f"it has {len(reading.weighted)} layers with numbers, and {len(names)} are expected")
    return config, [(layer, names[number]) for layer, number in reading.weighted], notes


def _without_last_resize(reading: _Reading, output: int) -> tuple[int, tuple[str, ...]]:
    match reading.graph.operations[output]:
        case ("resize", str(kind), float(factor), int(before)) if factor < 1:
            note = f"The file shrinks its result to {factor:g} by {kind} resizing at the end; this was left out."
            return before, (note,)
        case _:
            return output, ()


def _infer(reading: _Reading) -> GeneratorConfig:
    convs = [layer for layer, _ in reading.weighted if layer.kind == "Convolution"]
    if len(convs) < 2:
        raise _MisfitError(f"it has {len(convs)} convolutions")
    first, last = convs[0], convs[-1]
    features, weights = first.whole(0), first.whole(6)
    inputs = weights // (features * 9) if features > 0 else 0
    operations = reading.graph.operations
    shuffles = [what[1] for what in operations if what[0] == "shuffle"]
    if shuffles:
        slopes = [what[1] for what in operations if what[0] == "leaky"]
        prelus = any(what[0] == "prelu" for what in operations)
        factor = shuffles[0]
        assert isinstance(factor, int)
        return SRVGGNetCompactConfig(
            in_channels=inputs,
            out_channels=last.whole(0) // factor**2 if factor else 0,
            scale=factor,
            features=features,
            convolutions=len(convs) - 2,
            activation="prelu" if prelus else "leakyrelu" if 0.1 in slopes else "relu",
        )
    stages = [
        round(what[2]) for what in operations if what[0] == "resize" and isinstance(what[2], float) and what[2] > 1
    ]
    unshuffles = [what[1] for what in operations if what[0] == "unshuffle" and isinstance(what[1], int)]
    unshuffle = max(unshuffles[0], 1) if unshuffles else 1
    total = 1
    for stage in stages:
        total *= stage
    return RRDBNetConfig(
        in_channels=inputs // unshuffle**2,
        out_channels=last.whole(0),
        scale=total // unshuffle,
        features=features,
        blocks=(len(convs) - 4 - len(stages)) // 15,
        growth=convs[1].whole(0),
        unshuffle=unshuffle,
        stages=tuple(stages),
    )


def _expected(graph: Graph, config: GeneratorConfig) -> tuple[int, list[Named]]:
    """Write down the network that a configuration builds as a graph: its output, and its modules with weights."""
    if isinstance(config, SRVGGNetCompactConfig):
        return _expected_srvgg(graph, config)
    assert isinstance(config, RRDBNetConfig)
    return _expected_rrdbnet(graph, config)


def _expected_srvgg(graph: Graph, config: SRVGGNetCompactConfig) -> tuple[int, list[Named]]:
    named: list[Named] = []
    x = graph.input()
    for index in range(config.convolutions + 1):
        x = graph.conv(x, config.features)
        named.append((f"body.{2 * index}", x))
        if config.activation == "prelu":
            x = graph.node("prelu", config.features, x)
            named.append((f"body.{2 * index + 1}", x))
        else:
            x = graph.leaky(x, 0.1 if config.activation == "leakyrelu" else 0.0)
    x = graph.conv(x, config.out_channels * config.scale**2)
    named.append((f"body.{2 * config.convolutions + 2}", x))
    large = graph.node("resize", "nearest", float(config.scale), graph.input())
    return graph.add(graph.node("shuffle", config.scale, x), large), named


def _expected_rrdbnet(graph: Graph, config: RRDBNetConfig) -> tuple[int, list[Named]]:
    named: list[Named] = []

    def conv(name: str, x: int, outputs: int, slope: float | None = None) -> int:
        x = graph.conv(x, outputs)
        named.append((name, x))
        return x if slope is None else graph.leaky(x, slope)

    x = graph.input()
    if config.unshuffle > 1:
        x = graph.node("unshuffle", config.unshuffle, x)
    first = x = conv("conv_first", x, config.features)
    for block in range(config.blocks):
        before = x
        for dense in (1, 2, 3):
            seen = [x]
            for number in (1, 2, 3, 4):
                read = graph.concat(*seen) if len(seen) > 1 else x
                seen.append(conv(f"body.{block}.rdb{dense}.conv{number}", read, config.growth, 0.2))
            found = conv(f"body.{block}.rdb{dense}.conv5", graph.concat(*seen), config.features)
            x = graph.add(graph.scaled(found, 0.2), x)
        x = graph.add(graph.scaled(x, 0.2), before)
    x = graph.add(first, conv("conv_body", x, config.features))
    for number, stage in enumerate(config.stages, start=1):
        large = graph.node("resize", "nearest", float(stage), x)
        x = conv(f"conv_up{number}", large, config.features, 0.2)
    x = conv("conv_hr", x, config.features, 0.2)
    return conv("conv_last", x, config.out_channels), named


def _difference(reading: _Reading, config: GeneratorConfig, expected_output: int) -> str:
    """Name the first layer that the expected network does not have."""
    operations = reading.graph.operations
    expected: set[int] = set()
    waiting = [expected_output]
    while waiting:
        number = waiting.pop()
        if number in expected:
            continue
        expected.add(number)
        what = operations[number]
        inputs = {"add": 1, "concat": 1, "conv": 3, "leaky": 2, "scaled": 2, "prelu": 2, "resize": 3}.get(
            str(what[0]), 2
        )
        waiting.extend(item for item in what[inputs:] if isinstance(item, int))
    for layer, number in reading.made:
        if number not in expected:
            what = operations[number]
            return (
                f"its layers come nearest to {config.network}, but {layer} is not there, or not with this setting or "
                f"these inputs (it is read as `{what[0]}` {_setting(what)})".replace(" )", ")")
            )
    return f"its layers come nearest to {config.network}, but layers are missing at its end"


def _setting(what: tuple[object, ...]) -> str:
    counts = {"conv": slice(1, 3), "leaky": slice(1, 2), "scaled": slice(1, 2), "resize": slice(1, 3)}
    return " ".join(str(item) for item in what[counts.get(str(what[0]), slice(0, 0))])


# --------------------------------------------------------------------------------------------------- the numbers


def _read_numbers(
    file: BinaryIO, size: int, config: GeneratorConfig, order: list[tuple[Layer, str]]
) -> dict[str, Tensor]:
    shapes = state_shapes(config)
    state: dict[str, Tensor] = {}

    def take(count: int, dtype: torch.dtype, what: str) -> Tensor:
        length = count * dtype.itemsize
        left = size - file.tell()
        if length > left:
            raise _MisfitError(f"{what} needs {length} bytes at {file.tell()}, and {left} are left")
        data = bytearray(file.read(length))
        if len(data) != length:
            raise _MisfitError(f"{what} is cut off")
        return torch.frombuffer(data, dtype=dtype)

    for layer, module in order:
        shape = shapes[f"{module}.weight"]
        count = 1
        for length in shape:
            count *= length
        if layer.kind == "PReLU":
            state[f"{module}.weight"] = take(count, torch.float32, f"{layer}").reshape(shape)
            continue
        if layer.whole(6) != count:
            raise _MisfitError(f"{layer} announces {layer.whole(6)} weights, and its place in the network has {count}")
        tag = int(take(1, torch.int32, f"the tag of {layer}")) & 0xFFFFFFFF
        if tag not in (TAG_FP16, TAG_FP32):
            raise _MisfitError(
                f"{layer} has the tag 0x{tag:08X}, and only fp16 (0x{TAG_FP16:08X}) and fp32 (0) can be read exactly"
            )
        dtype = torch.float16 if tag == TAG_FP16 else torch.float32
        padded = count + (count % 2 if tag == TAG_FP16 else 0)
        state[f"{module}.weight"] = take(padded, dtype, f"{layer}")[:count].reshape(shape)
        state[f"{module}.bias"] = take(shape[0], torch.float32, f"the bias of {layer}")
    if file.tell() != size:
        raise _MisfitError(f"{size - file.tell()} bytes are left over")
    return {name: state[name] for name in shapes}
