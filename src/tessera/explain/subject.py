"""What a discriminator is shown: a real picture, and beside it a generated one of the same size.

Shapes: H, W height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tessera.discriminators.inputs import pad_to_multiple
from tessera.errors import LimitError, UsageError
from tessera.images.picture import read_picture
from tessera.images.resize import resize
from tessera.machine import available_memory_bytes
from tessera.report.views import in_srgb
from tessera.tiling.mosaic import to_planes
from tessera.weights.files import load_weights
from tessera.weights.loaded_generator import LoadedGenerator

Shown = npt.NDArray[np.uint8]
"""(H, W, 3), RGB"""
Role = Literal["real", "generated"]

_COPIES = 12
"""How many times the memory of its features at full size a discriminator takes at its widest, and somewhat more."""
_SHARE = 0.8


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One picture as the command was given it, and what else belongs to it.

    `generated` None: it is made from `real` by the generator of each checkpoint, where there is one.
    """

    path: Path
    role: Role
    """What the picture that the user named is; its maps are drawn."""
    real: Tensor
    """(1, 3, H, W), RGB in [0, 1]"""
    generated: Tensor | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)"""
        return self.real.shape[-2], self.real.shape[-1]


def read_rgb(path: Path) -> Tensor:
    """A picture of any kind -> (1, 3, H, W), RGB in [0, 1]: 8-bit sRGB, on white. Raises PictureError."""
    picture = read_picture(path)
    pixels = picture.pixels[..., None] if picture.pixels.ndim == 2 else picture.pixels
    return torch.from_numpy(to_planes(in_srgb(pixels, picture.metadata)))[None]


def as_pixels(picture: Tensor) -> Shown:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3) of uint8, rounded."""
    return (picture[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()


def read_subject(
    path: Path, *, reference: Path | None = None, generated: Path | None = None, model: LoadedGenerator | None = None
) -> Subject:
    """Read a picture, and what it is compared with.

    With `reference`, the picture is a generated one and that the truth; else it is real, and the generated one is in
    the file `generated`, or made by `model`, or to be made. Raises PictureError, and UsageError where sizes differ.
    """
    picture = read_rgb(path)
    if reference is not None:
        truth = read_rgb(reference)
        _check_same_size(path, picture, reference, truth)
        return Subject(path=path, role="generated", real=truth, generated=picture)
    other: Tensor | None = None
    if generated is not None:
        other = read_rgb(generated)
        _check_same_size(path, picture, generated, other)
    elif model is not None:
        other = made_by(model, picture)
    return Subject(path=path, role="real", real=picture, generated=other)


def made_by(generator: LoadedGenerator, truth: Tensor) -> Tensor:
    """Shrink a picture (bicubic as MATLAB has it, 8 bits) and let a generator enlarge it: (1, 3, H, W) -> the same.

    Raises UsageError for a generator that does not take and give RGB.
    """
    config = generator.config
    if (config.in_channels, config.out_channels) != (3, 3):
        raise UsageError(
            f"{generator.name}: takes {config.in_channels} channels and gives {config.out_channels}; only generators"
            " from RGB to RGB can make the generated picture."
        )
    padded = pad_to_multiple(truth, config.scale * config.multiple)
    lq = (resize(padded, scale=1 / config.scale).clamp(0, 1) * 255).round() / 255
    with torch.no_grad():
        sr: Tensor = generator.network.to(truth.device)(lq)
    return sr.clamp(0, 1)[..., : truth.shape[-2], : truth.shape[-1]]


def generator_of(path: Path | None) -> Callable[[Tensor], Tensor] | None:
    """What makes generated pictures at a checkpoint; None where no generator lies beside it. Raises WeightsError."""
    if path is None:
        return None
    generator = load_weights(path)
    return lambda truth: made_by(generator, truth)


def check_memory(path: Path, size: tuple[int, int], features: int) -> None:
    """Raise LimitError where looking at a picture of this size (H, W) would take more memory than there is."""
    needed, there = _COPIES * 4 * features * size[0] * size[1], available_memory_bytes()
    if needed > _SHARE * there:
        raise LimitError(
            f"{path}: looking at {size[1]}x{size[0]} pixels at once takes about {needed / 2**30:.1f} GiB, and"
            f" {there / 2**30:.1f} GiB are free. Cut a part out of it and show that."
        )


def _check_same_size(path: Path, picture: Tensor, other_path: Path, other: Tensor) -> None:
    if picture.shape != other.shape:
        (height, width), (other_height, other_width) = picture.shape[-2:], other.shape[-2:]
        raise UsageError(
            f"{other_path}: has {other_width}x{other_height} pixels, and {path} has {width}x{height}. Both must be of"
            " one size to be compared."
        )
