"""Weights in memory: NumPy arrays by name, each in the type in which it is stored.

NumPy has no bf16. Such values are stored here as `BFLOAT16`, a type with one 16-bit field, and converted where they are
computed with: to fp32 exactly, from fp32 by rounding to the nearest (ties to even), as PyTorch does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
State = Mapping[str, Array]
"""Weights by name."""

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
_QUIET_NAN = 0x7FC0


def format_dtype(dtype: Any) -> str:
    """The name of a type, of NumPy's or PyTorch's: `float16`, `bfloat16`, `int64`.

    >>> format_dtype(BFLOAT16), format_dtype(np.dtype("<f2"))
    ('bfloat16', 'float16')
    """
    if isinstance(dtype, np.dtype):
        return "bfloat16" if dtype == BFLOAT16 else dtype.name
    return str(dtype).removeprefix("torch.")


def parse_dtype(dtype: Any) -> np.dtype[Any]:
    """The type that a name, a NumPy type or a PyTorch type stands for.

    >>> parse_dtype("bfloat16") == BFLOAT16, parse_dtype("float16")
    (True, dtype('float16'))
    """
    if isinstance(dtype, type):  # numpy.float16
        return np.dtype(dtype)
    name = format_dtype(dtype)
    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether a type holds floating-point values."""
    return dtype == BFLOAT16 or dtype.kind == "f"


def convert(array: Array, dtype: np.dtype[Any]) -> Array:
    """Copy an array into contiguous memory, in another type."""
    if array.dtype == dtype:
        return np.array(array, order="C")
    if dtype == BFLOAT16:
        return _round_to_bfloat16(array.astype(np.float32))
    return _widen(array).astype(dtype, order="C") if array.dtype == BFLOAT16 else array.astype(dtype, order="C")


def to_float32(array: Array) -> NDArray[np.float32]:
    """An array in fp32: itself, or a copy if it has another type."""
    return array if array.dtype == np.float32 else convert(array, np.dtype(np.float32))


def has_only_finite(array: Array) -> bool:
    """Whether all values of a floating-point array are finite in fp32."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(to_float32(array)).all())


def view_bytes(array: Array) -> memoryview:
    """The bytes of an array in C order; without a copy if it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def zeros(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """An array of zeros."""
    return np.zeros(shape, dtype)


def _widen(array: Array) -> NDArray[np.float32]:
    bits: NDArray[np.uint32] = np.asarray(array["bfloat16"], np.uint32)
    return np.left_shift(bits, 16, out=np.empty(array.shape, np.uint32)).view(np.float32)


def _round_to_bfloat16(array: NDArray[np.float32]) -> Array:
    bits = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    rounded[np.isnan(array).reshape(-1)] = _QUIET_NAN
    return rounded.view(BFLOAT16).reshape(array.shape)
