"""Input of an attention report: a real picture, and a generated one of the same size.

Shapes: H, W height and width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tessera.discriminators.inputs import pad_to_multiple
from tessera.errors import LimitError, UsageError
from tessera.explain.series import SeriesCheckpoint
from tessera.explain.settings import GeneratorWeights
from tessera.images.picture import read_picture
from tessera.images.resize import resize
from tessera.machine import available_memory_bytes
from tessera.report.views import to_srgb
from tessera.tiling.mosaic import to_planes
from tessera.weights.dialects.unwrapping import is_averaged
from tessera.weights.files import load_weights
from tessera.weights.loaded_generator import LoadedGenerator

Shown = npt.NDArray[np.uint8]
"""(H, W, 3), RGB"""
Role = Literal["real", "generated"]

_COPIES = 12
"""Peak memory of a discriminator in units of its features at full size, rounded up."""
_SHARE = 0.8


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The picture that the user named, with its counterpart.

    If `generated` is None, the generator of each checkpoint computes it from `real`, where there is one.
    """

    path: Path
    role: Role
    """The role of the picture that the user named; its maps are drawn."""
    real: Tensor
    """(1, 3, H, W), RGB in [0, 1]"""
    generated: Tensor | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)"""
        return self.real.shape[-2], self.real.shape[-1]


def read_rgb(path: Path) -> Tensor:
    """Read any picture as 8-bit sRGB on white -> (1, 3, H, W), RGB in [0, 1]. Raises PictureError."""
    picture = read_picture(path)
    pixels = picture.pixels[..., None] if picture.pixels.ndim == 2 else picture.pixels
    return torch.from_numpy(to_planes(to_srgb(pixels, picture.metadata)))[None]


def to_pixels(picture: Tensor) -> Shown:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3) of uint8, rounded."""
    return (picture[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()


def read_subject(
    path: Path, *, reference: Path | None = None, generated: Path | None = None, model: LoadedGenerator | None = None
) -> Subject:
    """Read a picture and its counterpart.

    With `reference` (the ground truth), the picture is a generated one. Otherwise it is real, and the generated one is
    read from `generated`, computed by `model`, or computed later by the generator of each checkpoint. Raises
    PictureError, and UsageError where sizes differ.
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
        other = generate(model, picture)
    return Subject(path=path, role="real", real=picture, generated=other)


def generate(generator: LoadedGenerator, truth: Tensor) -> Tensor:
    """Downsample a picture (MATLAB's bicubic, 8 bits) and upscale it with a generator: (1, 3, H, W) -> the same.

    Raises UsageError for a generator whose input or output is not RGB.
    """
    config = generator.config
    if (config.in_channels, config.out_channels) != (3, 3):
        raise UsageError(
            f"{generator.name}: expected a generator from RGB to RGB, found {config.in_channels} input and"
            f" {config.out_channels} output channels."
        )
    padded = pad_to_multiple(truth, config.scale * config.multiple)
    lq = (resize(padded, scale=1 / config.scale).clamp(0, 1) * 255).round() / 255
    with torch.no_grad():
        sr: Tensor = generator.network.to(truth.device)(lq)
    return sr.clamp(0, 1)[..., : truth.shape[-2], : truth.shape[-1]]


@dataclass(frozen=True)
class SeriesGenerator:
    """The generator of one checkpoint, and which of its weights were found."""

    network: LoadedGenerator
    weights: GeneratorWeights


def open_generator(checkpoint: SeriesCheckpoint, weights: GeneratorWeights) -> SeriesGenerator | None:
    """Open the generator of a checkpoint with these weights, or else with the others; None without one.

    Raises WeightsError.
    """
    if weights == "averaged" and checkpoint.average is not None:
        return SeriesGenerator(load_weights(checkpoint.average), "averaged")
    if checkpoint.generator is not None:
        network = load_weights(checkpoint.generator, averaged=weights == "averaged")
        averaged = any(map(is_averaged, network.wrapper.split(".")))
        return SeriesGenerator(network, "averaged" if averaged else "raw")
    if checkpoint.average is not None:
        return SeriesGenerator(load_weights(checkpoint.average), "averaged")
    return None


def check_memory(path: Path, size: tuple[int, int], features: int) -> None:
    """Raise LimitError for a picture of this size (H, W) that needs more memory than available."""
    needed, there = _COPIES * 4 * features * size[0] * size[1], available_memory_bytes()
    if needed > _SHARE * there:
        raise LimitError(
            f"{path}: {size[1]}x{size[0]} pixels need about {needed / 2**30:.1f} GiB, found"
            f" {there / 2**30:.1f} GiB available. Crop the picture."
        )


def _check_same_size(path: Path, picture: Tensor, other_path: Path, other: Tensor) -> None:
    if picture.shape != other.shape:
        (height, width), (other_height, other_width) = picture.shape[-2:], other.shape[-2:]
        raise UsageError(
            f"{other_path}: expected {width}x{height} pixels as in {path}, found {other_width}x{other_height}."
        )
