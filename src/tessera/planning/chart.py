"""A synthetic picture to test an engine on: smooth areas, edges, texture, and strokes like letters.

Shapes: C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SEED = 20_230_714
_FALL, _STRENGTH = 1.3, 0.05


def chart(side: int, channels: int = 3) -> npt.NDArray[np.float32]:
    """(C, side, side) in [0, 1], in whole levels of 255, similar to a photograph.

    Top left a smooth area, top right edges, at the bottom texture whose amplitude falls with frequency as in
    photographs (Tolhurst, Tadmor and Chao 1992: on average with its power 1.2), and a line of letters. Strength and
    power of the texture make realesrgan-x4plus in bf16 differ from fp32 as much as in the mean of twelve photographs.
    """
    fine = 4  # drawn larger and averaged down, so that edges also lie between pixels
    y, x = np.mgrid[0 : fine * side, 0 : fine * side] / (fine * side)
    smooth = np.stack([0.2 + 0.6 * x, 0.3 + 0.5 * y, 0.8 - 0.5 * (x + y) / 2])
    disc = (x - 0.75) ** 2 + (y - 0.22) ** 2 < 0.16**2
    edge = disc | (np.abs(x - 0.4 * y - 0.53) < 0.015)
    drawn = np.where(edge & (y < 0.5), np.array([0.75, 0.3, 0.2])[:, None, None], smooth)
    drawn = np.where(_letters(x * side, y * side, side), 0.15, drawn)
    picture = drawn.reshape(3, side, fine, side, fine).mean((2, 4))
    rows = np.arange(side) / side
    picture = picture + _texture(side) * np.clip((rows - 0.45) / 0.1, 0, 1)[:, None]
    levels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(levels[np.arange(channels) % 3])


def with_noise(picture: npt.NDArray[np.float32], levels: float) -> npt.NDArray[np.float32]:
    """The picture with Gaussian noise of this standard deviation in levels of 255, always the same noise.

    (C, H, W) in [0, 1] -> the same in whole levels, clipped.
    """
    noise = np.random.default_rng(SEED).normal(0, levels, picture.shape)
    return np.rint(np.clip(picture * 255 + noise, 0, 255)).astype(np.float32) / np.float32(255)


def _texture(side: int) -> npt.NDArray[np.float64]:
    """(1, side, side), mean 0: noise whose amplitude falls with frequency."""
    rng = np.random.default_rng(SEED)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) / frequency**_FALL).real
    return (_STRENGTH * noise / noise.std())[None]


def _letters(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.bool_]:
    """Stems, bars and diagonals, in cells of 8 pixels along the bottom; x and y in pixels."""
    column, row = x % 8, y - (side - 10)
    inside = (row > 0) & (row < 7) & (column > 1) & (column < 7)
    stem, bar, diagonal = np.abs(column - 2.2) < 0.8, np.abs(row - 3.5) < 0.7, np.abs(column - row) < 0.9
    kinds = (stem, stem | bar, diagonal, bar | diagonal)
    return np.select([(x // 8) % 4 == kind for kind in range(4)], kinds, default=False) & inside
