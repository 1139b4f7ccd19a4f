"""Validation of a run: held-out pictures, upscaled by the current generator and scored.

Shapes: B 1 picture, H, W its height and width at high resolution, h, w at low resolution, s the scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.dataset.decoding import read_rgb, to_chw
from tessera.dataset.loading import to_unit
from tessera.dataset.sources import PictureRef, list_pictures
from tessera.degrade import apply, draw
from tessera.errors import PictureError, TesseraError
from tessera.images.color import luma_matlab
from tessera.losses import PerceptualConfig, PerceptualLoss, load_perceptual_trunk
from tessera.metrics.catalog import METRICS, find_metric
from tessera.metrics.metric import Frame, Metric, Sources, Start
from tessera.train.recipe import Recipe
from tessera.train.seeding import derive_rng

LOWER_IS_BETTER = frozenset(
    {"perceptual", *(metric.info.name for metric in METRICS if not metric.info.higher_is_better)}
)
_EPS = 1e-9
"""Added to the mean squared error of PSNR, in levels squared, so that equal pictures have a finite score."""
_SHEET_SIDE = 256
"""Longest side of a picture on the sheet, cut from the middle, in high-resolution pixels."""


@dataclass(frozen=True)
class ValidationPair:
    """One picture to validate on, in [0, 1] on the CPU."""

    name: str
    lq: Tensor
    """(1, 3, h, w)"""
    gt: Tensor
    """(1, 3, H, W)"""


@dataclass(frozen=True)
class ValidationResult:
    """Scores and sample sheet of one validation."""

    scores: dict[str, float]
    """Means over the pictures."""
    rows: list[list[np.ndarray]]
    """For the sheet: input, bicubic, output, ground truth of each picture, (H, W, 3) of uint8."""


class Validation:
    """The pictures and metrics of a recipe's validation; pictures are read once and scored in every run."""

    def __init__(self, recipe: Recipe, perceptual: PerceptualLoss | None, report: Callable[[str], None]) -> None:
        """Find and read the pictures. Unreadable pictures and unavailable metrics are reported and skipped."""
        self._recipe = recipe
        self.pairs: list[ValidationPair] = []
        wanted = recipe.validation
        if not recipe.data.val or not wanted.every:
            return
        listing = list_pictures(
            recipe.data.val, recipe.data.val_lq, root=recipe.data.root, recursive=recipe.data.recursive
        )
        for problem in listing.problems:
            report(problem)
        for index, ref in enumerate(listing.gt):
            if len(self.pairs) == wanted.pictures:
                break
            try:
                self.pairs.append(self._pair(ref, listing.lq[index] if listing.lq is not None else None, index))
            except PictureError as error:
                report(f"{error} Validation skips it.")
        self._starts: dict[str, Start] = {}
        self._metrics = [name for name in recipe.validation_metrics if self._load_metric(name, perceptual, report)]

    def _load_metric(self, metric: str, perceptual: PerceptualLoss | None, report: Callable[[str], None]) -> bool:
        try:
            if metric == "perceptual":
                self._perceptual = perceptual if perceptual is not None else self._load_perceptual()
            else:
                self._starts[metric] = find_metric(metric).load(Sources())
        except (TesseraError, ValueError, OSError) as error:
            report(f"Validation skips {metric}: {error}")
            return False
        return True

    def _load_perceptual(self) -> PerceptualLoss:
        trunk = load_perceptual_trunk(self._recipe.validation.trunk or "vgg19")
        layer = [name for name in trunk.layers if name.startswith(("conv", "relu"))][-1]
        return PerceptualLoss(
            trunk, PerceptualConfig(trunk=self._recipe.validation.trunk or "vgg19", layers={layer: 1.0})
        )

    def _pair(self, ref: PictureRef, lq_ref: PictureRef | None, index: int) -> ValidationPair:
        recipe, scale = self._recipe, self._recipe.generator.scale
        multiple = scale * recipe.generator.multiple
        gt = _read_picture(ref)
        if lq_ref is not None:
            lq = _read_picture(lq_ref)
            sides = [length // scale for length in gt.shape[-2:]]
            if any(abs(length - side) > 1 for length, side in zip(lq.shape[-2:], sides, strict=True)):
                raise PictureError(
                    f"{ref}: {gt.shape[-1]}x{gt.shape[-2]} is not {scale} times its input"
                    f" {lq_ref}, {lq.shape[-1]}x{lq.shape[-2]}."
                )
            height, width = (min(a, b) // recipe.generator.multiple for a, b in zip(lq.shape[-2:], sides, strict=True))
            lq = lq[..., : height * recipe.generator.multiple, : width * recipe.generator.multiple]
            gt = gt[..., : height * multiple, : width * multiple]
            return self._crop_pair(ref, lq, gt)
        gt = gt[..., : gt.shape[-2] // multiple * multiple, : gt.shape[-1] // multiple * multiple]
        if min(gt.shape[-2:]) < 8 * scale:
            raise PictureError(f"{ref}: too small to validate on.")
        if recipe.validation.crop:  # cut the ground truth first: degrading a whole large photograph is slow
            gt = crop_center(gt, recipe.validation.crop, multiple)
        height, width = gt.shape[-2:]
        rng = derive_rng(recipe.seed, "validation", index)
        drawn = draw(recipe.degradation, pictures=1, height=height, width=width, scale=scale, rng=rng)
        return ValidationPair(ref.stem, apply(gt, drawn).lq, gt)

    def _crop_pair(self, ref: PictureRef, lq: Tensor, gt: Tensor) -> ValidationPair:
        side, scale = self._recipe.validation.crop, self._recipe.generator.scale
        if side:
            lq = crop_center(lq, max(1, side // scale), self._recipe.generator.multiple)
            gt = crop_center(gt, max(1, side // scale) * scale, scale * self._recipe.generator.multiple)
        if lq.shape[-2] * scale != gt.shape[-2] or lq.shape[-1] * scale != gt.shape[-1]:
            raise PictureError(f"{ref}: the center crops of ground truth and input have different sizes.")
        return ValidationPair(ref.stem, lq, gt)

    @torch.no_grad()
    def run(self, generator: nn.Module, device: torch.device) -> ValidationResult:
        """Upscale and score every picture. The generator runs in eval mode and returns to its previous mode."""
        scores: dict[str, list[float]] = {name: [] for name in self._metrics}
        rows: list[list[np.ndarray]] = []
        mode = generator.training
        generator.eval()
        try:
            for pair in self.pairs:
                raw: Tensor = generator(pair.lq.to(device)).float().cpu()
                sr = (raw.clamp(0, 1) * 255).round() / 255
                for name in self._metrics:
                    scores[name].append(self._score(name, sr, pair.gt, device))
                if len(rows) < self._recipe.validation.shown:
                    rows.append(build_sheet_row(pair.lq, sr, pair.gt))
        finally:
            generator.train(mode)
        return ValidationResult({name: _mean(values) for name, values in scores.items()}, rows)

    def _score(self, name: str, sr: Tensor, gt: Tensor, device: torch.device) -> float:
        if name == "perceptual":
            return float(self._perceptual(sr.to(device), gt.to(device)).perceptual)
        metric, edge = find_metric(name), self._recipe.generator.scale
        rows = _select_rows(metric, sr, gt, edge)
        height, width = rows[0].shape[-2:]
        if min(height, width) < metric.info.smallest_side:
            return math.nan
        try:
            accumulator = self._starts[name](Frame(path=Path(), height=height, width=width, eps=_EPS))
            accumulator.take(*(part.numpy() for part in rows))
            return accumulator.score() if accumulator.score is not None else math.nan
        except (TesseraError, ValueError):  # too small or too flat for it
            return math.nan


def _select_rows(metric: Metric, sr: Tensor, gt: Tensor, edge: int) -> tuple[Tensor, ...]:
    """What a metric compares: Y or RGB without `edge` border pixels, whole pictures, or the output's gray."""
    inner = (..., slice(edge, -edge), slice(edge, -edge))
    match metric.rows:
        case "channels":
            return tuple(luma_matlab(picture)[0][inner] for picture in (sr, gt))
        case "rgb":
            return tuple((picture[0] * 255).round()[inner] for picture in (sr, gt))
        case "gray":
            return (luma_matlab(sr)[0, 0].round(),)
        case _:
            return sr, gt


def is_better(metric: str, now: float, before: float | None) -> bool:
    """Whether a score is better than the best so far.

    >>> is_better("psnr", 30.0, 29.0), is_better("niqe", 4.0, 3.5), is_better("psnr", 20.0, None)
    (True, False, True)
    """
    if math.isnan(now):
        return False
    return before is None or (now < before if metric in LOWER_IS_BETTER else now > before)


def build_sheet_row(lq: Tensor, sr: Tensor, gt: Tensor) -> list[np.ndarray]:
    """Center crops of input (nearest neighbor), bicubic, output and ground truth: (H, W, 3) of uint8 each."""
    scale = gt.shape[-1] // lq.shape[-1]
    nearest = F.interpolate(lq, scale_factor=scale, mode="nearest")
    bicubic = F.interpolate(lq, scale_factor=scale, mode="bicubic", align_corners=False)
    return [_to_pixels(crop_center(picture, _SHEET_SIDE, scale)) for picture in (nearest, bicubic, sr, gt)]


def _to_pixels(picture: Tensor) -> np.ndarray:
    return (picture[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def crop_center(picture: Tensor, side: int, multiple: int = 1) -> Tensor:
    """The middle of (..., H, W), at most `side` a side, on the grid of `multiple`."""
    side = max(multiple, side // multiple * multiple)
    slices: list[slice] = []
    for length in picture.shape[-2:]:
        first = max(0, (length - side) // 2 // multiple * multiple)
        slices.append(slice(first, first + min(side, length)))
    return picture[..., slices[0], slices[1]]


def _read_picture(ref: PictureRef) -> Tensor:
    return to_unit(to_chw(read_rgb(ref).pixels)).unsqueeze(0)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
