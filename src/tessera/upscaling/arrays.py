"""Pictures in memory: arrays and tensors validated, upscaled, and returned as what they were.

Shapes: B pictures, C channels (1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha), H height, W width, s the factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tessera.errors import LimitError, UsageError
from tessera.images.pixels import Pixels, is_color_noise, measure_color, validate_pixels
from tessera.images.resample import resample_array
from tessera.tiling.mosaic import MosaicCount
from tessera.tiling.pipeline import PictureTraits, Pipeline
from tessera.tiling.rows import ArrayRows

if TYPE_CHECKING:
    from torch import Tensor


def count_pixels(picture: Any) -> int:
    """Input pixels of an array (H, W[, C]) or a tensor ([B, ]C, H, W); 1 for anything else."""
    shape = tuple(getattr(picture, "shape", ()))
    return math.prod(shape[:2] if isinstance(picture, np.ndarray) else (*shape[-2:], *shape[:-3]))


def upscale_array(array: npt.NDArray[Any], open_pipeline: Callable[[], Pipeline]) -> npt.NDArray[Any]:
    """(H, W) or (H, W, C) -> (s*H, s*W[, C]) of the same type; floats are processed in 16 bits.

    `open_pipeline` may have to plan, so it is called once the array is validated. Raises UsageError for what is not a
    picture, LimitError for an output larger than allowed.
    """
    pixels = validate_pixels(array, floats_as=np.dtype(np.uint16))
    result = _upscale_pixels(open_pipeline(), pixels)
    result = result[..., 0] if array.ndim == 2 else result
    return (result / np.float64(65_535)).astype(array.dtype) if array.dtype.kind == "f" else result


def _upscale_pixels(pipeline: Pipeline, pixels: Pixels) -> Pixels:
    """(H, W, C) uint8 or uint16 -> the same at the requested size."""
    height, width, channels = pixels.shape
    settings, scale = pipeline.settings, pipeline.scale
    has_alpha = channels in (2, 4)
    alpha = pixels[..., -1]
    target = settings.output_size(height=height, width=width, scale=scale)
    native = (height * scale, width * scale)
    largest, limit = max(target[0] * target[1], native[0] * native[1]), settings.limits.max_output_pixels
    if limit is not None and largest > limit:
        raise LimitError(
            f"An array of {width}x{height} would become {target[1]}x{target[0]}, {largest / 1e6:,.0f} megapixels in"
            f" the process; the limit is {limit / 1e6:,.0f}. Limits(max_output_pixels={largest}) allows it."
        )
    subject = PictureTraits(
        has_alpha=has_alpha,
        flat_alpha=int(alpha.flat[0]) if has_alpha and alpha.min() == alpha.max() else None,
        as_gray=channels > 2 and not settings.keep_color_noise and _is_gray(pixels),
        dtype=np.dtype(np.uint16) if target != native else pixels.dtype,
    )
    parts: list[Pixels] = []

    def run(tile: int) -> MosaicCount:
        count = MosaicCount()
        parts[:] = list(pipeline.upscale_rows(ArrayRows(pixels), pipeline.plan(tile, subject), count))
        return count

    pipeline.retry_with_smaller_tiles(run, height=height, width=width)
    result = np.concatenate(parts)
    if target != native:
        result = resample_array(result, target, pixels.dtype, wraps=settings.seamless)
    return result


def _is_gray(rgb: Pixels) -> bool:
    contrast = int(rgb[..., :3].max()) - int(rgb[..., :3].min())
    return is_color_noise(measure_color(rgb), contrast, rgb.dtype.itemsize * 8)


def upscale_tensor(tensor: Any, open_pipeline: Callable[[], Pipeline]) -> Tensor:
    """(C, H, W) or (B, C, H, W) float in [0, 1] -> the same with s*H, s*W, dtype and device kept. Raises UsageError."""
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise UsageError(f"Expected a Picture, a NumPy array or a torch tensor, found {type(tensor).__name__}.")
    if tensor.ndim == 4:
        return torch.stack([upscale_tensor(each, open_pipeline) for each in tensor])
    if tensor.ndim != 3 or not tensor.is_floating_point():
        raise UsageError(
            f"A tensor {tuple(tensor.shape)} of {tensor.dtype} is not a picture: expected float (C, H, W)."
        )
    array = tensor.detach().to("cpu", torch.float32).permute(1, 2, 0).numpy()
    result = upscale_array(array, open_pipeline)
    return torch.from_numpy(result).permute(2, 0, 1).to(tensor.device, tensor.dtype)
