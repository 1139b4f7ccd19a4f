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


def convert_depth(rows: Pixels, dtype: np.dtype[np.unsignedinteger]) -> Pixels:
    """Scale to the full range of `dtype`, uint8 or uint16; 16 bits are rounded to 8, not truncated."""
    import numpy as np

    if rows.dtype == dtype:
        return rows
    return np.rint(rows / 257.0).astype(dtype) if dtype.itemsize == 1 else rows.astype(dtype) * dtype.type(257)
