"""The pictures of docs/models/*.md: results of our models on held-out pictures.

    python benchmarks/model_pictures.py docs/images

Photographs come from scikit-image (CC0 or public domain; its documentation says which). Rows, positions and seeds
are fixed here and were not selected by their results.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyvips
import skimage.data
import torch
from torch import Tensor

from tessera import Upscaler, read_picture
from tessera.degrade import RealESRGANDegradation, apply, draw
from tessera.images.resize import resize

SCALE, SIDE, CONTEXT, GAP = 4, 160, 64, 4
"""What is shown of each picture, what the networks see around it, and what is between two, in pixels of the truth."""
QUALITY = 85
# name, top and left of what is shown: a face, fur, blades of grass, letters, a sky with fine structure in it
PLACES = (
    ("astronaut", 56, 140),
    ("chelsea", 60, 130),
    ("grass", 200, 200),
    ("text", 4, 8),
    ("rocket", 120, 232),
)


def picture(name: str) -> Tensor:
    """(1, 3, H, W) in [0, 1], sides that divide by 8."""
    pixels = np.asarray(getattr(skimage.data, name)())
    pixels = np.stack((pixels,) * 3, -1) if pixels.ndim == 2 else pixels[..., :3]
    height, width = (length // 8 * 8 for length in pixels.shape[:2])
    return torch.from_numpy(pixels[:height, :width].copy()).permute(2, 0, 1)[None] / 255


def pixels_of(image: Tensor) -> np.ndarray:
    return (image[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def second_order(gt: Tensor, seed: int) -> np.ndarray:
    height, width = gt.shape[-2:]
    rng = np.random.default_rng(seed)
    drawn = draw(RealESRGANDegradation(), pictures=1, height=height, width=width, scale=SCALE, rng=rng)
    return pixels_of(apply(gt, drawn).lq)


def shrunk(gt: Tensor, seed: int) -> np.ndarray:
    del seed
    return pixels_of(resize(gt, scale=1 / SCALE))


def shrunk_jpeg(gt: Tensor, seed: int) -> np.ndarray:
    image = pyvips.Image.new_from_array(shrunk(gt, seed), interpretation="srgb")
    return pyvips.Image.new_from_buffer(image.jpegsave_buffer(Q=40), "").numpy()


def bicubic(lq: np.ndarray) -> np.ndarray:
    return pixels_of(resize(torch.from_numpy(lq.copy()).permute(2, 0, 1)[None] / 255, scale=SCALE))


def row(gt: Tensor, lq: np.ndarray, top: int, left: int, models: Sequence[Upscaler]) -> np.ndarray:
    """Bicubic, what the models make of it, and the truth, side by side."""
    first = [max(0, start - CONTEXT) // SCALE for start in (top, left)]
    last = [
        min((start + SIDE + CONTEXT) // SCALE, length) for start, length in zip((top, left), lq.shape, strict=False)
    ]
    seen = np.ascontiguousarray(lq[first[0] : last[0], first[1] : last[1]])
    y, x = top - first[0] * SCALE, left - first[1] * SCALE
    cells = [bicubic(seen), *(model.upscale(seen) for model in models)]
    shown = [cell[y : y + SIDE, x : x + SIDE] for cell in cells]
    shown.append(pixels_of(gt)[top : top + SIDE, left : left + SIDE])
    return _joined(shown, axis=1)


def _joined(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
    gap = [(0, GAP if axis == 0 else 0), (0, GAP if axis == 1 else 0), (0, 0)]
    return np.concatenate([np.pad(each, gap, constant_values=255) for each in pictures], axis)


def sheet(degrade: Callable[[Tensor, int], np.ndarray], names: Sequence[str], models: Sequence[Upscaler]) -> np.ndarray:
    rows: list[np.ndarray] = []
    for seed, (name, top, left) in enumerate(PLACES):
        if name in names:
            gt = picture(name)
            rows.append(row(gt, degrade(gt, seed), top, left, models))
    return _joined(rows, axis=0)


def main() -> None:
    folder = Path(sys.argv[1])

    def opened(*names: str) -> list[Upscaler]:
        return [Upscaler(name, engine="pytorch", precision="exact", offline=True) for name in names]

    every = tuple(name for name, _, _ in PLACES)
    few = ("astronaut", "chelsea", "text")
    own, both = opened("tessera-x4-psnr"), opened("tessera-x4", "realesrgan-x4plus")
    for name, pixels in (
        ("tessera-x4", sheet(second_order, every, both)),
        ("tessera-x4-jpeg", sheet(shrunk_jpeg, few, both)),
        ("tessera-x4-psnr", sheet(shrunk, few, own)),
        ("tessera-x4-psnr-jpeg", sheet(shrunk_jpeg, few[1:2], own)),
    ):
        path = folder / f"{name}.jpg"
        pyvips.Image.new_from_array(pixels, interpretation="srgb").jpegsave(str(path), Q=QUALITY)
        print(path, read_picture(path).pixels.shape, path.stat().st_size)


if __name__ == "__main__":
    main()
