"""ncnn on the processor: fp32 with Winograd's convolutions, for RRDBNet and SRVGGNetCompact.

Weights that came as ncnn files are read from these files. Any other weights are written down in ncnn's format, in
memory: the text of layers by `write_param`, the numbers by `write_numbers`; `tessera.weights.ncnn` explains the format.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import ctypes
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from tessera.engines.engine import Tiles
from tessera.engines.memory import without_memory_errors
from tessera.errors import EngineError, OutOfMemoryError, WeightsError
from tessera.generators import GeneratorConfig, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.generators.rrdbnet import RESIDUAL, SLOPE
from tessera.libraries import import_library
from tessera.machine import cores
from tessera.weights.dialects import state_shapes
from tessera.weights.ncnn import MAGIC, TAG_FP16, TAG_FP32, Layer, parse_param, read_ncnn

if TYPE_CHECKING:
    from tessera.engines.engine import Engine
    from tessera.weights.files import LoadedGenerator

_NO_MEMORY = -100
_MAPS_AT_ONCE = 12
"""Feature maps that Winograd's products and the maps around them take (measured: 49 KB a pixel for RRDBNet x4)."""


class NcnnEngine:
    """Runs RRDBNet or SRVGGNetCompact with ncnn on the processor, in fp32 (Lavin and Gray, 2016, for the convolutions).

    Raises EngineError for other networks, and when the `ncnn` package cannot be imported.
    """

    name = "ncnn"
    precision = "fp32"

    def __init__(self, generator: LoadedGenerator, *, threads: int | None = None) -> None:
        self.threads = cores().usable if threads is None else threads
        config = generator.config
        shapes = {name: tuple(tensor.shape) for name, tensor in generator.network.state_dict().items()}
        if not isinstance(config, RRDBNetConfig | SRVGGNetCompactConfig) or shapes != state_shapes(config):
            raise EngineError(
                f"The ncnn engine runs rrdbnet and srvggnetcompact, and {generator.name} is {config.network}; "
                "use the pytorch engine."
            )
        self._config = config
        self._net, self._input, self._output = _open(generator, config, self.threads)
        self.bytes_per_pixel = _bytes_per_pixel(config)

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped."""
        scale, (batch, _, height, width) = self._config.scale, tiles.shape
        with without_memory_errors(tiles):
            result = np.empty((batch, self._config.out_channels, height * scale, width * scale), np.float32)
            for tile, place in zip(np.ascontiguousarray(tiles), result, strict=True):
                self._run_one(tile, place)
        return result

    def exact(self) -> Engine:
        """Itself: ncnn runs in fp32 here."""
        return self

    def _run_one(self, tile: Tiles, place: Tiles) -> None:
        """(C, h, w) -> (C, s*h, s*w), written into `place`."""
        ncnn = import_library("ncnn")
        # An extractor holds what is under way; the net is only read, so threads share it.
        extractor: Any = self._net.create_extractor()
        extractor.input(self._input, ncnn.Mat(tile))  # a view: `tile` has to outlive the work
        code, mat = extractor.extract(self._output)
        if code == _NO_MEMORY:
            raise OutOfMemoryError(f"Memory ran out on a tile {tuple(tile.shape)}.")
        if code != 0:
            raise EngineError(f"ncnn gave the error {code} on a tile {tuple(tile.shape)}; use the pytorch engine.")
        place[...] = mat.numpy()  # a view again, of memory that goes with `mat`


def _bytes_per_pixel(config: RRDBNetConfig | SRVGGNetCompactConfig) -> int:
    pictures = 16 * config.out_channels * config.scale**2
    maps = config.features * 4 * _MAPS_AT_ONCE
    if isinstance(config, SRVGGNetCompactConfig):
        return maps + pictures
    joined = (config.features + 4 * config.growth) * 4 * _MAPS_AT_ONCE // config.unshuffle**2
    return maps * config.scale**2 + joined + pictures


# -------------------------------------------------------------------------------------------------------- loading


def _open(
    generator: LoadedGenerator, config: RRDBNetConfig | SRVGGNetCompactConfig, threads: int
) -> tuple[Any, str, str]:
    """A net with the generator's numbers, and the names of its input and output."""
    own = _from_its_files(generator, threads)
    if own is not None:
        return own
    text, modules = write_param(config)
    numbers = io.BytesIO(write_numbers(generator.network.state_dict(), modules))
    return _load(text, numbers, threads), "in0", "out0"


def _from_its_files(generator: LoadedGenerator, threads: int) -> tuple[Any, str, str] | None:
    """Load the files that a generator came from; None if it has none, or they hold something else by now."""
    if generator.dialect != "ncnn" or generator.source is None:
        return None
    try:
        weights = read_ncnn(generator.source)
        state = generator.network.state_dict()
        if weights.config != generator.config or any(
            not torch.equal(tensor.float(), state[name]) for name, tensor in weights.state.items()
        ):
            return None
        layers = parse_param(weights.param)
        with weights.bin.open("rb") as numbers:
            net = _load(weights.param.read_text(encoding="ascii"), numbers, threads)
    except (OSError, WeightsError):
        return None
    return net, next(layer.outputs[0] for layer in layers if layer.kind == "Input"), _network_output(layers)


def _network_output(layers: list[Layer]) -> str:
    """The network's output, before the downscaling that some files end with (`weights.ncnn` leaves it out, too)."""
    read = {name for layer in layers for name in layer.inputs}
    makers = {name: layer for layer in layers for name in layer.outputs}
    end = next(name for name in makers if name not in read)
    last = makers[end]
    while last.kind in ("Noop", "Split"):
        last = makers[last.inputs[0]]
    return last.inputs[0] if last.kind == "Interp" and last.numbers.get(1, 1.0) < 1 else end


def _load(text: str, numbers: BinaryIO, threads: int) -> Any:
    try:
        ncnn = import_library("ncnn")  # what is compiled in it has no types
    except (ImportError, OSError) as error:
        raise EngineError(f"The package ncnn cannot be imported: {error}.") from error

    class FromStream(ncnn.DataReader):
        """Gives ncnn its numbers without a file name, which its own `fopen` could not always read."""

        def read(self, buf: Any, size: int) -> int:
            data = numbers.read(size)
            ctypes.memmove(_address(buf, None), data, len(data))
            return len(data)

    net: Any = ncnn.Net()
    for name in dir(net.opt):
        if name.startswith(("use_fp16", "use_bf16", "use_int8", "use_vulkan")):
            setattr(net.opt, name, False)
    net.opt.num_threads = threads
    if net.load_param_mem(text) != 0 or net.load_model(FromStream()) != 0:
        raise EngineError("ncnn cannot load this network; use the pytorch engine.")
    return net


_address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


# -------------------------------------------------------------------------------------------------------- writing


@dataclass
class _Text:
    """Layers while they are written; a blob may be read several times, and gets its Split at the end.

    ncnn knows a float by its point or exponent: where it wants one, it takes the bits of `1` for a tiny number.
    """

    layers: list[tuple[str, tuple[str, ...], str, str]] = field(
        default_factory=list[tuple[str, tuple[str, ...], str, str]]
    )
    modules: list[str] = field(default_factory=list[str])

    def layer(self, kind: str, inputs: tuple[str, ...], parameters: str = "", module: str | None = None) -> str:
        """Add a layer; what it makes has the name that is returned."""
        output = "in0" if kind == "Input" else f"b{len(self.layers)}"
        self.layers.append((kind, inputs, output, parameters))
        if module is not None:
            self.modules.append(module)
        return output

    def conv(self, module: str, x: str, inputs: int, outputs: int, slope: float | None = None) -> str:
        """A convolution of 3x3, with a leaky ReLU in it if there is a slope."""
        leaky = "" if slope is None else f" 9=2 -23310=1,{slope:e}"
        return self.layer("Convolution", (x,), f"0={outputs} 1=3 4=1 5=1 6={outputs * inputs * 9}{leaky}", module)

    def nearest(self, x: str, factor: int) -> str:
        """Repeat each pixel."""
        return self.layer("Interp", (x,), f"0=1 1={factor:e} 2={factor:e}")

    def add(self, x: str, y: str, factor: float = 1.0) -> str:
        """factor * x + y."""
        return self.layer("Eltwise", (x, y), f"0=1 -23301=2,{factor:e},{1:e}")

    def finished(self) -> str:
        """The whole text: in ncnn each blob is read by one layer, so what is read more often is split."""
        reads: dict[str, int] = {}
        for _, inputs, _, _ in self.layers:
            for name in inputs:
                reads[name] = reads.get(name, 0) + 1
        given = dict.fromkeys(reads, 0)
        lines: list[str] = []
        blobs = 0

        def line(kind: str, name: str, inputs: list[str], outputs: list[str], parameters: str) -> None:
            nonlocal blobs
            blobs += len(outputs)
            lines.append(" ".join([kind, name, f"{len(inputs)}", f"{len(outputs)}", *inputs, *outputs, parameters]))

        for number, (kind, inputs, output, parameters) in enumerate(self.layers):
            copies: list[str] = []
            for name in inputs:
                copies.append(name if reads[name] == 1 else f"{name}_{given[name]}")
                given[name] += 1
            last = number == len(self.layers) - 1
            line(kind, f"{kind.lower()}{number}", copies, ["out0" if last else output], parameters)
            if reads.get(output, 0) > 1:
                line("Split", f"split{number}", [output], [f"{output}_{copy}" for copy in range(reads[output])], "")
        return "\n".join([MAGIC, f"{len(lines)} {blobs}", *lines, ""])


def write_param(config: GeneratorConfig) -> tuple[str, list[str]]:
    """The layers of a network in ncnn's text, from `in0` to `out0`, and its modules in the order of their numbers.

    Raises EngineError for networks other than RRDBNet and SRVGGNetCompact.
    """
    text = _Text()
    if isinstance(config, RRDBNetConfig):
        _write_rrdbnet(text, config)
    elif isinstance(config, SRVGGNetCompactConfig):
        _write_srvgg(text, config)
    else:
        raise EngineError(f"Only rrdbnet and srvggnetcompact can be written for ncnn, not {config.network}.")
    return text.finished(), text.modules


def _write_rrdbnet(text: _Text, config: RRDBNetConfig) -> None:
    features, growth = config.features, config.growth
    x = text.layer("Input", ())
    if config.unshuffle > 1:
        x = text.layer("Reorg", (x,), f"0={config.unshuffle}")
    first = x = text.conv("conv_first", x, config.in_channels * config.unshuffle**2, features)
    for block in range(config.blocks):
        before = x
        for dense in (1, 2, 3):
            seen = [x]
            for number in (1, 2, 3, 4, 5):
                joined = seen[0] if len(seen) == 1 else text.layer("Concat", tuple(seen), "0=0")
                inputs = features + (number - 1) * growth
                outputs, slope = (growth, SLOPE) if number < 5 else (features, None)
                seen.append(text.conv(f"body.{block}.rdb{dense}.conv{number}", joined, inputs, outputs, slope))
            x = text.add(seen[-1], x, RESIDUAL)
        x = text.add(x, before, RESIDUAL)
    x = text.add(text.conv("conv_body", x, features, features), first)
    for number, stage in enumerate(config.stages, start=1):
        x = text.conv(f"conv_up{number}", text.nearest(x, stage), features, features, SLOPE)
    x = text.conv("conv_hr", x, features, features, SLOPE)
    text.conv("conv_last", x, features, config.out_channels)


def _write_srvgg(text: _Text, config: SRVGGNetCompactConfig) -> None:
    picture = x = text.layer("Input", ())
    slope = {"relu": 0.0, "leakyrelu": 0.1}.get(config.activation)
    inputs = config.in_channels
    for index in range(config.convolutions + 1):
        x = text.conv(f"body.{2 * index}", x, inputs, config.features, slope)
        inputs = config.features
        if slope is None:
            x = text.layer("PReLU", (x,), f"0={config.features}", f"body.{2 * index + 1}")
    x = text.conv(f"body.{2 * config.convolutions + 2}", x, inputs, config.out_channels * config.scale**2)
    x = text.layer("PixelShuffle", (x,), f"0={config.scale}")
    text.layer("BinaryOp", (x, text.nearest(picture, config.scale)), "0=0")


def write_numbers(state: Mapping[str, Tensor], modules: list[str], *, half: bool = False) -> bytes:
    """The numbers of a network as ncnn's `.bin` has them: of a convolution the tag, the weights, the bias.

    With `half` the weights of convolutions are fp16, filled up to whole groups of 4 bytes; all else is fp32.
    """
    parts: list[bytes] = []
    for module in modules:
        weight = state[f"{module}.weight"].detach().to("cpu", torch.float32).contiguous()
        kind = "<f2" if half and weight.ndim == 4 else "<f4"
        if weight.ndim == 4:
            parts.append((TAG_FP16 if half else TAG_FP32).to_bytes(4, "little"))
        numbers = weight.numpy().astype(kind, copy=False).tobytes()
        parts.append(numbers + bytes(-len(numbers) % 4))
        if f"{module}.bias" in state:
            parts.append(state[f"{module}.bias"].detach().to("cpu", torch.float32).numpy().astype("<f4").tobytes())
    return b"".join(parts)
