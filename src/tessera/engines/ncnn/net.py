"""A network in ncnn's format, loaded for the CPU or for a Vulkan device, and run.

Shapes: C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from tessera.engines.engine import Tiles
from tessera.engines.memory import without_memory_errors
from tessera.errors import DeviceLostError, EngineError, OutOfMemoryError
from tessera.libraries import import_library

_NO_MEMORY = -100
MapTiles = Callable[[Callable[[Tiles, Tiles], None], Tiles, Tiles], Iterator[None]]
"""`map` or that of a pool of threads, for a function of (tile, result)."""


@dataclass(frozen=True, kw_only=True)
class NetOptions:
    """How ncnn computes."""

    threads: int = 1
    vulkan_device: int | None = None
    """Index of a Vulkan device; None is the CPU."""
    fp16_storage: bool = False
    """Feature maps and weights are stored in fp16, and multiplied and summed in fp32."""
    fp16_arithmetic: bool = False
    """Products and sums are in fp16 as well."""


@dataclass(frozen=True)
class Net:
    """A loaded ncnn net with the names of its input and output. Several threads may run it at a time."""

    net: Any
    input: str
    output: str

    def run(self, tile: Tiles, result: Tiles) -> None:
        """Run one tile (C, h, w) and write (C, s*h, s*w) into `result`.

        Raises OutOfMemoryError, and DeviceLostError for any other error.
        """
        ncnn = import_library("ncnn")
        extractor: Any = self.net.create_extractor()  # holds the intermediate maps; the net is only read
        try:
            # A copy: Vulkan reads channels that begin at multiples of 16 bytes, which those of an array need not.
            extractor.input(self.input, ncnn.Mat(tile).clone())
            code, mat = extractor.extract(self.output)
            if code == _NO_MEMORY:
                raise OutOfMemoryError(f"Out of memory on a tile {tuple(tile.shape)}.")
            if code != 0:
                raise DeviceLostError(f"ncnn failed with error {code} on a tile {tuple(tile.shape)}.")
            result[...] = mat.numpy()  # a view of memory that `mat` owns
        finally:
            extractor.clear()  # an exception may keep it alive until after Vulkan's instance is gone

    def run_batch(self, tiles: Tiles, scale: int, channels: int, *, each: MapTiles = map) -> Tiles:
        """(B, C, h, w) -> (B, channels, s*h, s*w); `each` is `map`, or that of a pool of threads."""
        batch, _, height, width = tiles.shape
        with without_memory_errors(tiles):
            result = np.empty((batch, channels, height * scale, width * scale), np.float32)
            for _ in each(self.run, np.ascontiguousarray(tiles), result):
                pass
        return result


def open_net(text: str, values: BinaryIO, options: NetOptions) -> Any:
    """Open a net from the text of a `.param` file and the content of a `.bin` file.

    Raises EngineError when ncnn cannot be imported or does not accept them.
    """
    try:
        ncnn = import_library("ncnn")  # what is compiled in it has no types
    except (ImportError, OSError) as error:
        raise EngineError(f"The package ncnn cannot be imported: {error}.") from error

    class FromStream(ncnn.DataReader):
        """Gives ncnn its numbers without a file name, which its own `fopen` could not always read."""

        def read(self, buf: Any, size: int) -> int:
            data = values.read(size)
            ctypes.memmove(_address(buf, None), data, len(data))
            return len(data)

    net: Any = ncnn.Net()
    for name in dir(net.opt):
        if name.startswith(("use_fp16", "use_bf16", "use_int8", "use_vulkan")):
            setattr(net.opt, name, False)
    net.opt.num_threads = options.threads
    if options.vulkan_device is not None:
        net.opt.use_vulkan_compute = True
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = options.fp16_storage
        net.opt.use_fp16_arithmetic = options.fp16_arithmetic
        net.set_vulkan_device(options.vulkan_device)
    if net.load_param_mem(text) != 0 or net.load_model(FromStream()) != 0:
        raise EngineError("ncnn cannot load this network; use the pytorch engine.")
    return net


_address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
