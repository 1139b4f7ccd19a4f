"""Tessera's own kernels on the processor: Winograd's convolutions, with maps transformed once for all that read them.

RRDBNet and SRVGGNetCompact, in fp32 or with bf16 products where the processor has them; the design is described in
docs/explanation/kernels.md.

Shapes: B tiles, C channels, h and w the tile, s the scale.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tessera.engines.compiled_cache import build_compiled_key, read_compiled, write_compiled
from tessera.engines.engine import Engine, Tiles
from tessera.errors import EngineError
from tessera.generators import GeneratorConfig, RRDBNetConfig, SRVGGNetCompactConfig, find_generator
from tessera.generators.rrdbnet import declaration as rrdbnet
from tessera.generators.srvgg import declaration as srvgg
from tessera.generators.structure import compute_the_same, list_unnamed_layers
from tessera.machine import cores
from tessera.native.library import Description, Kind, Network

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator

_BLOCK = 16
_SIDE = 128

# How the blocks of RRDBNet's trunk are computed, up to which part of its depth. What goes wrong in the last blocks is
# not made good by later ones, and what goes wrong in the first passes through all; measured, see
# docs/explanation/kernel-accuracy.md.
_BF16: tuple[tuple[float, Kind], ...] = (
    (0.13, "F2 bf16"),
    (0.52, "F4 bf16"),
    (1.0, "F4 fp32"),
)
_FAST: tuple[tuple[float, Kind], ...] = ((0.74, "F4 bf16"), (1.0, "F2 bf16"))


class KernelsEngine:
    """Runs RRDBNet or SRVGGNetCompact with Tessera's own kernels (Lavin and Gray, 2016, for the convolutions).

    `precision` is "fp32", or "bf16" for products of bf16; with `fast`, those in larger tiles, which are less accurate.
    Where bf16 is accurate enough nowhere or no quicker than fp32 (in compact networks but for `fast`), `precision` of
    the open engine is "fp32".
    Raises EngineError for other networks, for features that are not a multiple of 16, and without built kernels.
    """

    name = "kernels"

    def __init__(
        self,
        generator: LoadedGenerator,
        precision: str = "fp32",
        *,
        fast: bool = False,
        threads: int | None = None,
    ) -> None:
        self.threads = cores().usable if threads is None else threads
        self._generator = generator
        self._description = describe(generator)
        self.kinds = choose_kinds(self._description, "exact" if precision == "fp32" else "fast" if fast else "bf16")
        self.precision = "bf16" if any(kind.endswith("bf16") for kind in self.kinds) else "fp32"
        self._network = Network(self._description, [_weights(generator)], self.kinds, threads=self.threads)
        self._exact: KernelsEngine | None = None
        self._lock = threading.Lock()
        self.bytes_per_pixel = self._bytes_per_pixel(generator.config)

    def run(self, tiles: Tiles) -> Tiles:
        """(B, C, h, w) float32 in [0, 1] -> (B, C, s*h, s*w) float32, not clipped."""
        return self._network.run(tiles)

    def run_pixels(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """(B, h, w, C) uint8 or uint16 -> (B, s*h, s*w, C) of the same type, clipped and rounded to the nearest."""
        return self._network.run_pixels(pixels)

    def exact(self) -> Engine:
        """The same generator in fp32, made on first use."""
        if self.precision == "fp32":
            return self
        with self._lock:
            if self._exact is None:
                self._exact = KernelsEngine(self._generator, "fp32", threads=self.threads)
            return self._exact

    def _bytes_per_pixel(self, config: GeneratorConfig) -> int:
        """What the kernels themselves say that they take, and the pictures around them."""
        side = _SIDE * config.multiple
        working = self._network.working_bytes(side, side) / side**2
        return int(working + 8 * (config.in_channels + config.out_channels * config.scale**2)) + 1


def choose_kinds(description: Description, mode: Literal["exact", "bf16", "fast"]) -> tuple[Kind, ...]:
    """How each block is computed, and after them the convolutions that lead to the last."""
    blocks, compact = description.blocks, description.network == "srvggnetcompact"
    if mode == "exact" or (compact and mode == "bf16"):
        return ("F4 fp32",) * (blocks + 1)
    if compact:
        return ("F4 fp32", *_times("F4 bf16", blocks - 1), "F4 fp32")[-blocks - 1 :]
    table = _FAST if mode == "fast" else _BF16
    found: list[Kind] = [next(kind for until, kind in table if block + 0.5 < until * blocks) for block in range(blocks)]
    if mode == "fast":
        return (*found, "F4 bf16")
    found[0] = "F4 fp32"
    return (*found, "F4 fp32")


def _times(kind: Kind, count: int) -> tuple[Kind, ...]:
    return (kind,) * count


def _weights(generator: LoadedGenerator) -> NDArray[np.float32]:
    """All numbers of a network in a row, in the order in which it runs them; kept, so that it need not be read."""
    key = build_compiled_key(
        {
            "kernels": "weights in fp32",
            "config": generator.config.model_dump_json(),
            "weights": generator.state_sha256,
        }
    )
    kept = read_compiled(key)
    if kept is not None:
        return np.frombuffer(kept, np.float32)
    arrays = generator.arrays
    names = generator.config.layers.weights_in_order
    weights = np.concatenate([arrays[name].ravel() for name in names], dtype=np.float32)
    write_compiled(key, weights.tobytes())
    return weights


def _is_what_its_configuration_says(generator: LoadedGenerator) -> bool:
    """Whether the network has the weights that its configuration asks for; one that was not read yet is of ours."""
    if not generator.is_read:
        return True
    from tessera.weights.dialects import read_shapes, state_shapes

    return read_shapes(generator.arrays) == state_shapes(generator.config)


def describe(generator: LoadedGenerator) -> Description:
    """Describe a generator to the kernels. Raises EngineError when they cannot run it."""
    config = generator.config
    known = find_generator(config) is not None and _is_what_its_configuration_says(generator)
    same = _find_supported(config) if known else None
    if same is None:
        raise EngineError(
            f"The kernels run rrdbnet and srvggnetcompact, and {generator.name} is {config.network}; "
            "use the pytorch engine."
        )
    widths = (same.features, same.growth) if isinstance(same, RRDBNetConfig) else (same.features,)
    if any(width % _BLOCK for width in widths):
        raise EngineError(
            f"The kernels need features in multiples of {_BLOCK}, and {generator.name} has "
            f"{' and '.join(map(str, widths))}; use the pytorch engine."
        )
    return _describe_rrdbnet(same) if isinstance(same, RRDBNetConfig) else _describe_srvgg(same)


def _find_supported(config: GeneratorConfig) -> RRDBNetConfig | SRVGGNetCompactConfig | None:
    """Find the network with the same layers among the two structures that the kernels have."""
    if isinstance(config, RRDBNetConfig | SRVGGNetCompactConfig):
        return config
    layers = list_unnamed_layers(config.layers)
    for infer in (rrdbnet.infer_from_layers, srvgg.infer_from_layers):
        try:
            same = infer(layers)
        except ValidationError:
            continue
        if compute_the_same(same.layers, config.layers):
            return same
    return None


def _describe_rrdbnet(config: RRDBNetConfig) -> Description:
    return Description(
        network="rrdbnet",
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        features=config.features,
        scale=config.scale,
        blocks=config.blocks,
        growth=config.growth,
        unshuffle=config.unshuffle,
        stages=config.stages,
        slope=rrdbnet.SLOPE,
    )


def _describe_srvgg(config: SRVGGNetCompactConfig) -> Description:
    return Description(
        network="srvggnetcompact",
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        features=config.features,
        scale=config.scale,
        blocks=config.convolutions,
        learned_slopes=config.activation == "prelu",
        slope=srvgg.SLOPES.get(config.activation, 1.0),
    )
