"""Arrays of pixels: what is accepted, their depth, and transparency over white.

Shapes: H height, W width, C channels (1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from tessera.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.unsignedinteger]
    """uint8 or uint16 in RGB or gray, straight alpha last."""
else:  # help texts read the list of formats, and importing NumPy takes a tenth of a second
    Pixels = object

_BYTES_AT_A_TIME = 8 * 2**20


def validate_pixels(array: object, *, floats_as: np.dtype[np.unsignedinteger]) -> Pixels:
    """Convert an array given by a user: (H, W) or (H, W, C) -> (H, W, C) in uint8 or uint16.

    uint8 and uint16 stay as they are; floats in [0, 1] are rounded to `floats_as`. Raises UsageError for anything else.
    """
    import numpy as np

    if not isinstance(array, np.ndarray):
        raise UsageError(f"Expected a Picture or a NumPy array, found {type(array).__name__}.")
    given = cast("npt.NDArray[Any]", array)
    if given.ndim not in (2, 3) or (given.ndim == 3 and not 1 <= given.shape[2] <= 4) or 0 in given.shape:
        raise UsageError(
            f"Expected an array of shape (H, W) or (H, W, C) with 1 to 4 channels, not empty; found {given.shape}."
        )
    if given.dtype.kind == "f":
        least, greatest = float(given.min()), float(given.max())
        if not (np.isfinite(least) and np.isfinite(greatest)):
            raise UsageError("Expected float values from 0 to 1; the array holds NaN or infinity.")
        if least < 0 or greatest > 1:
            raise UsageError(f"Expected float values from 0 to 1, found {least:g} to {greatest:g}.")
        wide = given.astype(np.float64 if given.dtype.itemsize > 4 else np.float32, copy=False)
        given = np.rint(wide * wide.dtype.type(np.iinfo(floats_as).max)).astype(floats_as)
    if given.dtype.kind != "u" or given.dtype.itemsize > 2:
        raise UsageError(f"Expected uint8, uint16 or float in [0, 1], found an array of {given.dtype}.")
    native = given.astype(given.dtype.newbyteorder("="), copy=False)
    return native[:, :, None] if native.ndim == 2 else native


def flatten_on_white(pixels: Pixels) -> Pixels:
    """Composite over white: (H, W, 2 or 4) with straight alpha -> (H, W, 1 or 3), for formats without alpha."""
    import numpy as np

    full = float(np.iinfo(pixels.dtype).max)
    alpha = pixels[..., -1:] / full
    return np.rint(pixels[..., :-1] * alpha + full * (1 - alpha)).astype(pixels.dtype)


def measure_color(pixels: Pixels) -> int:
    """The largest difference between the channels of a visible pixel: RGB (H, W, 3 or 4) -> 0 for pure gray."""
    import numpy as np

    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    apart = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    if pixels.shape[-1] == 4:
        apart = np.where(pixels[..., 3] > 0, apart, 0)
    return int(apart.max(initial=0))


def is_color_noise(apart: int, contrast: int, depth: int) -> bool:
    """Whether channels at most `apart` apart are gray with rounding errors: within 1 of 255.

    In 16 bits also within 1/64 of the picture's contrast (greatest less smallest value), because a dark picture of 16
    bits may hold all its colors within 1 of 255.

    >>> [is_color_noise(apart, 60_000, 16) for apart in (257, 258)], is_color_noise(100, 255, 16)
    ([True, False], False)
    """
    return apart <= (1 if depth == 8 else max(1, min(257, contrast // 64)))


def choose_row_count(row_bytes: int, most: int = 128) -> int:
    """Return how many rows of this size to handle at a time: about 8 MiB, at most `most`, at least one.

    >>> choose_row_count(3 * 4000), choose_row_count(2**20), choose_row_count(2**30)
    (128, 8, 1)
    """
    return max(1, min(most, _BYTES_AT_A_TIME // max(row_bytes, 1)))


def convert_depth(rows: Pixels, dtype: np.dtype[np.unsignedinteger]) -> Pixels:
    """Scale to the full range of `dtype`, uint8 or uint16; 16 bits are rounded to 8, not truncated."""
    import numpy as np

    if rows.dtype == dtype:
        return rows
    return np.rint(rows / 257.0).astype(dtype) if dtype.itemsize == 1 else rows.astype(dtype) * dtype.type(257)
