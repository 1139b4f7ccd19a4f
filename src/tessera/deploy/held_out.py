"""Pictures for calibration and for measuring: crops, what they are worth as inputs, and proof that none is in both.

Inputs are made from the truth by MATLAB's bicubic, 1/scale, in whole levels. Shapes: B pictures, C channels, H rows, W
columns of the input, s the scale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tessera.errors import UsageError
from tessera.generators import GeneratorConfig
from tessera.images.formats import is_picture_name
from tessera.images.picture import read_picture
from tessera.images.pixels import Pixels
from tessera.images.resize import resize
from tessera.wording import format_count


@dataclass(frozen=True)
class Photograph:
    """A picture in its file, and the SHA-256 of its pixels; nothing of it stays in memory, however many there are."""

    path: Path
    channels: int
    """That a network takes."""
    size: tuple[int, int]
    """(H, W)"""
    sha256: str

    def read(self) -> Tensor:
        """The picture, (C, H, W) in [0, 1]."""
        return read_levels(self.path, self.channels)


@dataclass(frozen=True)
class Pair:
    """Input (1, C, H, W) and ground truth (1, C, s*H, s*W), in [0, 1], in integer levels of 255."""

    name: str
    lq: Tensor
    gt: Tensor
    sha256: str = ""
    """Of the whole picture's pixels."""


def read_folder(folder: Path, field: str, channels: int, *, fewest: int, most: int) -> list[Photograph]:
    """The first pictures of a folder by name. Raises UsageError for a missing folder and for too few pictures."""
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}", field=field)
    paths = sorted(path for path in folder.iterdir() if path.is_file() and is_picture_name(path))
    if len(paths) < fewest:
        raise UsageError(
            f"expected at least {fewest} pictures in {folder}, found {format_count(len(paths), 'picture')}.",
            field=field,
        )
    return [read_photograph(path, channels) for path in paths[:most]]


def read_photograph(path: Path, channels: int) -> Photograph:
    """Look at a picture for a network of so many channels."""
    pixels = _read_pixels(path)
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype.name}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return Photograph(path, channels, (pixels.shape[0], pixels.shape[1]), digest.hexdigest())


def read_levels(path: Path, channels: int) -> Tensor:
    """Read a picture as a network of so many channels takes it, (C, H, W) in [0, 1]; alpha is left out."""
    pixels = _read_pixels(path)
    colors = pixels[..., : pixels.shape[2] - (pixels.shape[2] in (2, 4))]
    levels = colors.astype(np.float32) / np.iinfo(pixels.dtype).max
    if levels.shape[2] != channels:
        levels = np.repeat(levels.mean(2, keepdims=True), channels, 2)
    return torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)))


def _read_pixels(path: Path) -> Pixels:
    """(H, W, C), as they are in the file."""
    pixels = read_picture(path).pixels
    return pixels[..., None] if pixels.ndim == 2 else pixels


def refuse_shared(calibration: Sequence[Photograph], evaluation: Sequence[Photograph]) -> None:
    """Raise UsageError when a picture is in both sets, by its pixels, whatever the files are called."""
    known = {each.sha256: each.path for each in calibration}
    shared = [(known[each.sha256], each.path) for each in evaluation if each.sha256 in known]
    if shared:
        one, other = shared[0]
        raise UsageError(
            f"{format_count(len(shared), 'picture')} of the evaluation {'is' if len(shared) == 1 else 'are'} also"
            " in the"
            f" calibration ({other} is {one}), so the measured loss would be too small. Calibrate on other pictures."
        )


def make_pair(photograph: Photograph, config: GeneratorConfig, side: int, *, seed: int | None = None) -> Pair | None:
    """A square crop with its input of `side` pixels: the center, or a random place with a seed.

    A picture that is smaller gives what it has; None when that is less than 16 pixels of input.
    """
    step = config.multiple
    scale = config.scale
    height, width = (min(side, length // scale) // step * step for length in photograph.size)
    if min(height, width) < 16:
        return None
    room = [length - scale * kept for length, kept in zip(photograph.size, (height, width), strict=True)]
    if seed is None:
        top, left = (free // 2 for free in room)
    else:
        rng = np.random.default_rng(seed)
        top, left = (int(rng.integers(0, free + 1)) for free in room)
    gt = photograph.read()[None, :, top : top + scale * height, left : left + scale * width]
    gt = _round_to_levels(gt)
    lq = _round_to_levels(resize(gt, scale=1 / scale)) if scale > 1 else gt
    return Pair(photograph.path.name, lq.contiguous(), gt.contiguous(), photograph.sha256)


def build_calibration_batch(photographs: Sequence[Photograph], config: GeneratorConfig, side: int) -> Tensor:
    """One input of each picture, from a place that depends on its number: (B, C, side, side) in [0, 1].

    The side is less where half of the pictures or more are smaller; those that are smaller then are left out. Raises
    UsageError when nothing of 16 pixels is left.
    """
    sides = sorted((min(each.size) // config.scale for each in photographs), reverse=True)
    wanted = min(side, sides[(len(sides) - 1) // 2]) // config.multiple * config.multiple
    pairs = [make_pair(each, config, wanted, seed=number) for number, each in enumerate(photographs)]
    crops = [pair.lq for pair in pairs if pair is not None and pair.lq.shape[2:] == (wanted, wanted)]
    if not crops:
        raise UsageError(
            f"Most calibration pictures have less than {16 * config.scale} pixels a side; give larger ones."
        )
    return torch.cat(crops)


def _round_to_levels(levels: Tensor) -> Tensor:
    return (levels * 255).round_().clamp_(0, 255) / 255
