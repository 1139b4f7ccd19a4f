"""Whether an exported file does what the model does: run in its own runtime, compared with PyTorch in fp32.

Shapes: B pictures, C channels, H rows, W columns, s the scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tessera.deploy.settings import Precision
from tessera.errors import UsageError
from tessera.generators import GeneratorConfig
from tessera.images.formats import is_picture_name
from tessera.images.picture import read_picture
from tessera.images.pixels import Pixels
from tessera.planning.chart import chart

SIZES = ((53, 37), (19, 29))
"""(H, W) of the chart's pieces: odd, unequal, one larger and one smaller than most of what networks are traced with."""
PART = 96
"""Side of what is cut from the middle of a user's picture."""
PHOTOGRAPHS = tuple(Path(__file__).parent / "photographs" / name for name in ("cat.png", "coffee.png"))
"""64x64 of two photographs of scikit-image's, CC0: chelsea by Stefan van der Walt, coffee by Rachel Michetti."""
_MOST_PICTURES = 12
_LARGEST_CHART = 192
"""The chart is drawn four times as large; files of one large size get it several times."""

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class CheckPicture:
    """A picture to compare on: (1, C, H, W) in [0, 1]."""

    name: str
    pixels: Tensor


@dataclass(frozen=True)
class ExportDifference:
    """How far a file's result is from the model's, in levels of 255, neither clipped nor rounded."""

    picture: str
    largest_levels: float
    mean_levels: float
    psnr_db: float
    """Between the two results, for a peak of 255; infinite when they are equal."""


@dataclass(frozen=True)
class Limit:
    """How far a file may be from the model at most."""

    largest_levels: float
    least_psnr_db: float


LIMITS: dict[Precision, Limit] = {
    "fp32": Limit(largest_levels=1.0, least_psnr_db=80.0),
    "fp16": Limit(largest_levels=4.0, least_psnr_db=55.0),
    "bf16": Limit(largest_levels=24.0, least_psnr_db=40.0),
}


def draw_chart_samples(config: GeneratorConfig, shape: tuple[int, int] | None) -> list[CheckPicture]:
    """Pieces of the built-in chart that a network takes; for a file of one size a piece of that size."""
    multiple = config.multiple
    sizes = SIZES if shape is None else (shape,)
    samples: list[CheckPicture] = []
    for sides in sizes:
        height, width = (-(-side // multiple) * multiple for side in sides)
        side = min(max(height, width), _LARGEST_CHART)
        whole = np.tile(chart(side, config.in_channels), (1, -(-height // side), -(-width // side)))
        # The lower left corner has texture and letters, and something of all the rest.
        piece = np.ascontiguousarray(whole[:, -height:, :width])
        samples.append(CheckPicture(f"chart {width}x{height}", torch.from_numpy(piece)[None]))
    return samples


def read_photograph_samples(config: GeneratorConfig, shape: tuple[int, int] | None) -> list[CheckPicture]:
    """The built-in photographs; for a file of one size, repeated to that size."""
    samples: list[CheckPicture] = []
    for path in PHOTOGRAPHS:
        pixels = read_picture(path).pixels
        if shape is not None:
            times = (-(-side // length) for side, length in zip(shape, pixels.shape, strict=False))
            pixels = np.tile(pixels, (*times, 1))
        sample = _crop_middle(path.name, pixels, config, shape)
        samples += [] if sample is None else [sample]
    return samples


def read_picture_samples(folder: Path, config: GeneratorConfig, shape: tuple[int, int] | None) -> list[CheckPicture]:
    """The middles of a user's pictures, the first dozen by name. Raises UsageError for a folder without any.

    8 or 16 bits -> (1, C, H, W) in [0, 1], at most 96x96, or exactly the size of a file that takes one.
    """
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}", field="check")
    found = sorted(path for path in folder.iterdir() if path.is_file() and is_picture_name(path))
    read = ((path.name, read_picture(path).pixels) for path in found[:_MOST_PICTURES])
    samples = [sample for name, pixels in read if (sample := _crop_middle(name, pixels, config, shape)) is not None]
    if not samples:
        what = "" if shape is None else f" of at least {shape[1]}x{shape[0]}"
        raise UsageError(f"no pictures{what} in {folder}", field="check")
    return samples


def _crop_middle(
    name: str, pixels: Pixels, config: GeneratorConfig, shape: tuple[int, int] | None
) -> CheckPicture | None:
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width = pixels.shape[:2]
    multiple = config.multiple
    rows, columns = shape or tuple(min(side, PART) // multiple * multiple for side in (height, width))
    if rows > height or columns > width or not rows or not columns:
        return None
    top, left = (height - rows) // 2, (width - columns) // 2
    part = pixels[top : top + rows, left : left + columns]
    colors = part[..., : part.shape[2] - (part.shape[2] in (2, 4))].astype(np.float32) / np.iinfo(part.dtype).max
    if colors.shape[2] != config.in_channels:  # gray for RGB, or RGB for a network of one channel
        colors = np.repeat(colors.mean(2, keepdims=True), config.in_channels, 2)
    return CheckPicture(name, torch.from_numpy(np.ascontiguousarray(colors.transpose(2, 0, 1)))[None])


def make_reference(network: torch.nn.Module) -> Run:
    """The model itself, in PyTorch, fp32, on the processor."""

    def run(x: Tensor) -> Tensor:
        with torch.inference_mode():
            return network(x)

    return run


def compare(sample: CheckPicture, expected: Tensor, found: Tensor) -> ExportDifference:
    """Compare two results (1, C, s*H, s*W) of one picture; one that is not finite is infinitely far away."""
    if found.shape != expected.shape or not bool(torch.isfinite(found).all()):
        return ExportDifference(sample.name, math.inf, math.inf, -math.inf)
    apart = (found.double() - expected.double()).abs() * 255
    error = float(apart.square().mean())
    psnr = math.inf if error == 0 else 10 * math.log10(255**2 / error)
    return ExportDifference(sample.name, float(apart.max()), float(apart.mean()), psnr)


def find_objection(differences: Sequence[ExportDifference], precision: Precision) -> str | None:
    """Why a file must not be used, as the end of a sentence; None when it is as close as its precision allows."""
    limit = LIMITS[precision]
    for each in differences:
        if math.isinf(each.largest_levels):
            return f"on {each.picture} its result is not finite or has the wrong size"
        if each.largest_levels > limit.largest_levels or each.psnr_db < limit.least_psnr_db:
            return (
                f"on {each.picture} it is up to {each.largest_levels:.3g} levels of 255 and {each.psnr_db:.1f} dB from"
                f" the model, and {precision} may be {limit.largest_levels:g} levels and {limit.least_psnr_db:g} dB"
            )
    return None
