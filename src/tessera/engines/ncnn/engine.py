"""ncnn on the processor: fp32 with Winograd's convolutions, for all of Tessera's networks.

Weights that came as ncnn files are read from these files. Any other weights are written in ncnn's format, in memory
(`tessera.weights.ncnn_writer`).

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import ctypes
import io
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch

from tessera.engines.engine import Tiles
from tessera.engines.memory import without_memory_errors
from tessera.errors import EngineError, OutOfMemoryError, WeightsError
from tessera.generators import GeneratorConfig, find_generator, list_names
from tessera.libraries import import_library
from tessera.machine import cores
from tessera.weights.dialects import shapes_of, state_shapes
from tessera.weights.ncnn import read_ncnn
from tessera.weights.ncnn_text import Layer, parse_param
from tessera.weights.ncnn_writer import write_param, write_values

if TYPE_CHECKING:
    from tessera.engines.engine import Engine
    from tessera.weights.files import LoadedGenerator

_NO_MEMORY = -100
_MAPS_AT_ONCE = 12
"""Feature maps that Winograd's products and the maps around them take (measured: 49 KB a pixel for RRDBNet x4)."""


class NcnnEngine:
    """Runs a generator with ncnn on the processor, in fp32 (Lavin and Gray, 2016, for the convolutions).

    Raises EngineError for networks from outside the family, and when the `ncnn` package cannot be imported.
    """

    name = "ncnn"
    precision = "fp32"

    def __init__(self, generator: LoadedGenerator, *, threads: int | None = None) -> None:
        self.threads = cores().usable if threads is None else threads
        config = generator.config
        shapes = shapes_of(generator.network.state_dict())
        if find_generator(config) is None or shapes != state_shapes(config):
            raise EngineError(
                f"The ncnn engine runs {list_names()}, and {generator.name} is {config.network}; use the pytorch"
                " engine."
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


def _bytes_per_pixel(config: GeneratorConfig) -> int:
    """Estimate the working memory of an input pixel from the widest maps before and after upsampling."""
    layers = config.layers
    pictures = 16 * config.out_channels * config.scale**2
    *inner, _ = (layer for _, layer in layers.convolutions)
    widest = max(layer.channels * layer.zoom**2 for layer in inner if layer.channels == layers.features)
    joined = max((layer.channels * layer.zoom**2 for layer in layers.all if layer.kind == "concat"), default=0)
    return int((widest + joined) * 4 * _MAPS_AT_ONCE) + pictures


# -------------------------------------------------------------------------------------------------------- loading


def _open(generator: LoadedGenerator, config: GeneratorConfig, threads: int) -> tuple[Any, str, str]:
    """A net with the generator's weights, and the names of its input and output."""
    own = _from_its_files(generator, threads)
    if own is not None:
        return own
    text, values = write_param(config)
    content = io.BytesIO(write_values(generator.network.state_dict(), values))
    return _load(text, content, threads), "in0", "out0"


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
