"""OpenVINO for generators loaded from its own files, in the requested precision.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

from tessera.engines.engine import Engine, Tiles
from tessera.engines.memory import without_memory_errors, working_bytes_per_pixel
from tessera.errors import EngineError
from tessera.machine import cores
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.weights.openvino_file import PRECISION_KEY, OpenVinoNetwork
from tessera.zoo.int8_file import KEPT_KEY, choose_float_precision


class OpenVinoFileEngine:
    """Runs an OpenVINO file on the CPU, with products in fp32 or bf16, or in int8 where the file has them.

    Raises EngineError for other generators.
    """

    name = "openvino"

    def __init__(self, generator: LoadedGenerator, precision: str = "fp32", *, threads: int | None = None) -> None:
        network = generator.file
        if not isinstance(network, OpenVinoNetwork):
            raise EngineError(f"{generator.name} is not an OpenVINO file; leave `engine` at auto.")
        if generator.metadata.get(PRECISION_KEY) == "int8":
            self.precision = "int8"
            precision = choose_float_precision(generator.metadata.get(KEPT_KEY) == "0", precision)
        else:
            self.precision = precision
        self._products = precision
        self.threads = cores().usable if threads is None else threads
        self._generator = generator
        self._network = OpenVinoNetwork(network.path, network.model, precision, self.threads)
        self._network.multiple = network.multiple
        self.bytes_per_pixel = working_bytes_per_pixel(generator.config, precision)

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped."""
        with without_memory_errors(tiles):
            return self._network.run(tiles)

    def exact(self) -> Engine:
        """The same file with products in fp32, except those that the file has in int8."""
        return self if self._products == "fp32" else OpenVinoFileEngine(self._generator, threads=self.threads)
