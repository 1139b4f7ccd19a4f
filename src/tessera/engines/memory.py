"""Memory: how much a network needs per pixel, and OutOfMemoryError for whatever a library raises when it runs out.

Nothing here imports a library.
"""

from __future__ import annotations

from tessera.engines.engine import Tiles
from tessera.errors import OutOfMemoryError
from tessera.generators import GeneratorConfig, find_generator
from tessera.memory_errors import is_memory_error

_UNKNOWN_FEATURES = 64
"""Assumed for networks whose layers are unknown."""


class without_memory_errors:  # noqa: N801 - reads as a statement
    """Turn every way of running out of memory into OutOfMemoryError; a context manager."""

    def __init__(self, tiles: Tiles) -> None:
        self._shape = tuple(tiles.shape)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and is_memory_error(error):
            raise OutOfMemoryError(f"Out of memory on a batch of tiles {self._shape}.") from error


def working_bytes_per_pixel(config: GeneratorConfig, precision: str) -> int:
    """Memory in bytes that a network needs per input pixel of a tile; an upper estimate.

    Compact networks keep their features at the input's size; the others upsample them first and hold about three maps
    of the output's size (measured: 14 KB a pixel for RRDBNet x4 in fp32, 0.5 KB for SRVGG).
    """
    known = find_generator(config) is not None
    features = config.layers.features if known else _UNKNOWN_FEATURES
    value = 4 if precision == "fp32" else 2
    pictures = 16 * config.out_channels * config.scale**2
    if known and config.layers.is_chain:
        return features * value * 4 + pictures
    return features * value * (3 * config.scale**2 + 8) + pictures
