"""A network in NumPy, from its drawing: slow, simple, always available, and independent of every engine.

It verifies on small pictures what serves as the reference of a check. Shapes: B pictures, C channels, H rows, W
columns, O output channels, K the kernel's height and width, s the scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tessera.engines.engine import Tiles
from tessera.generators import GeneratorConfig, find_generator
from tessera.weights.loaded_generator import LoadedGenerator

_LARGEST_PRODUCT = 2**18
"""Multiply-adds up to which OpenBLAS multiplies two matrices in the calling thread."""
_PIECE = 64

Arrays = Mapping[str, NDArray[np.float32]]


def can_run_in_numpy(generator: LoadedGenerator) -> bool:
    """Whether a network is its drawing: one of the family, with the weights that its configuration asks for."""
    config = generator.config
    if find_generator(config) is None:
        return False
    names = set(config.layers.weight_names)
    return generator.exported_as is None and names <= set(generator.arrays)


def run_in_numpy(generator: LoadedGenerator, tiles: Tiles) -> Tiles:
    """(B, C, H, W) float32 -> (B, C, s*H, s*W) float32, in fp32 throughout."""
    arrays = {name: np.asarray(values, np.float32) for name, values in generator.arrays.items()}
    return np.stack([compute_drawing(generator.config, arrays, tile) for tile in tiles])


def compute_drawing(config: GeneratorConfig, arrays: Arrays, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) -> (C, s*H, s*W), following the drawing of a configuration."""
    return config.draw(_ArrayPen(arrays), picture)


class _ArrayPen:
    """The pen that computes; a map is an array (C, H, W)."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays

    def conv(
        self, module: str, x: NDArray[np.float32], outputs: int, *, kernel: int = 3, slope: float | None = None
    ) -> NDArray[np.float32]:
        """A convolution as a matrix product: the weights (O, C*K*K) with the patches (C*K*K, H*W)."""
        channels, height, width = x.shape
        padded = np.pad(x, ((0, 0), (kernel // 2, kernel // 2), (kernel // 2, kernel // 2)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))
        patches = windows.reshape(channels * kernel**2, height * width)
        y = multiply_in_one_thread(self._arrays[f"{module}.weight"].reshape(outputs, -1), patches)
        y += self._arrays[f"{module}.bias"][:, None]
        y = y.reshape(outputs, height, width)
        return y if slope is None else np.where(y < 0, np.float32(slope) * y, y)

    def prelu(self, module: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """A leaky ReLU with one learned slope per channel."""
        return np.where(x < 0, self._arrays[f"{module}.weight"].reshape(-1, 1, 1) * x, x)

    def concat(self, maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Concatenate channels."""
        return np.concatenate(maps)

    def add(self, x: NDArray[np.float32], y: NDArray[np.float32], factor: float = 1.0) -> NDArray[np.float32]:
        """factor * x + y."""
        return np.float32(factor) * x + y

    def affine(self, x: NDArray[np.float32], factors: Sequence[float], offsets: Sequence[float]) -> NDArray[np.float32]:
        """factor * x + offset, with one of each for a channel."""
        factor, offset = (np.array(values, np.float32)[:, None, None] for values in (factors, offsets))
        return factor * x + offset

    def nearest(self, x: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
        """Repeat each pixel."""
        return x.repeat(factor, 1).repeat(factor, 2)

    def shuffle(self, x: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
        """Channels become factor x factor pixels: (C*f*f, H, W) -> (C, f*H, f*W)."""
        channels, height, width = x.shape
        parts = x.reshape(channels // factor**2, factor, factor, height, width)
        return parts.transpose(0, 3, 1, 4, 2).reshape(-1, height * factor, width * factor)

    def unshuffle(self, x: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
        """Pixels become channels: (C, f*H, f*W) -> (C*f*f, H, W)."""
        channels, height, width = x.shape
        parts = x.reshape(channels, height // factor, factor, width // factor, factor)
        return parts.transpose(0, 2, 4, 1, 3).reshape(-1, height // factor, width // factor)


def multiply_in_one_thread(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, K), (K, N) -> their product (M, N), in pieces for which OpenBLAS starts no threads.

    On a busy machine its threads wait for each other, which made a tenth of a second eight.

    >>> a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((3, 4), np.float32)
    >>> np.array_equal(multiply_in_one_thread(a, b), a @ b)
    True
    """
    (rows, inner), columns = a.shape, b.shape[1]
    width = min(_PIECE, columns)
    depth = max(_LARGEST_PRODUCT // (rows * width), 1)
    a = np.pad(a, ((0, 0), (0, -inner % depth)))
    b = np.pad(b, ((0, -inner % depth), (0, -columns % width)))
    left = a.reshape(rows, -1, depth).transpose(1, 0, 2)
    right = b.reshape(-1, depth, b.shape[1] // width, width).transpose(2, 0, 1, 3)
    product = np.matmul(left, right).sum(1)
    return product.transpose(1, 0, 2).reshape(rows, -1)[:, :columns]
