"""Validation scores with the metrics of the catalog, on the pixels that papers compare."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tessera import read_picture
from tessera.errors import UsageError
from tessera.metrics.catalog import METRICS
from tessera.train.recipe import load_recipe
from tessera.train.recipe_parts import VALIDATION_METRICS
from tessera.train.validation import LOWER_IS_BETTER, Validation
from train.runs import SMALL, make_pictures


class Nearest(nn.Module):
    """An upscaler whose output anyone can compute."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(4, dim=-2).repeat_interleave(4, dim=-1)


def luma(pixels: np.ndarray) -> np.ndarray:
    """Y of ITU-R BT.601 in levels, as MATLAB's rgb2ycbcr has it."""
    r, g, b = (pixels[..., channel].astype(np.float64) for channel in range(3))
    return 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255


def validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: str, side: int = 96) -> dict[str, float]:
    make_pictures(tmp_path / "val", count=1, side=side)
    make_pictures(tmp_path / "val_lq", count=1, side=side, shrink=4)
    monkeypatch.chdir(tmp_path)
    changes = [*SMALL, "data.val_lq=val_lq", "validation.every=1", f"validation.metrics={metrics}"]
    recipe = load_recipe("rrdb-psnr", changes)
    return Validation(recipe, None, pytest.fail).run(Nearest(), torch.device("cpu")).scores


def test_psnr_and_rmse_are_of_luma_without_borders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = validate(tmp_path, monkeypatch, '["psnr", "rmse", "ssim", "delta-e"]')
    gt, lq = (read_picture(tmp_path / folder / "p0.png").pixels for folder in ("val", "val_lq"))
    sr = lq.repeat(4, axis=0).repeat(4, axis=1)
    difference = (luma(sr) - luma(gt))[4:-4, 4:-4]
    error = float((difference**2).mean())
    assert scores["psnr"] == pytest.approx(10 * math.log10(255**2 / error), abs=1e-3)
    assert scores["rmse"] == pytest.approx(math.sqrt(error), rel=1e-4)
    assert 0 < scores["ssim"] < 1
    assert scores["delta-e"] > 0


def test_a_metric_that_needs_more_pixels_gives_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = validate(tmp_path, monkeypatch, '["psnr", "ms-ssim"]', side=64)
    assert math.isfinite(scores["psnr"])
    assert math.isnan(scores["ms-ssim"])


def test_the_metrics_are_those_of_the_catalog_that_score_a_picture() -> None:
    assert set(VALIDATION_METRICS) == {
        *("psnr", "ssim", "ms-ssim", "rmse", "delta-e", "niqe", "dists", "perceptual"),
        *("lpips-alex", "lpips-vgg", "lpips-squeeze"),
    }
    lower = {metric.info.name for metric in METRICS if metric.info.arrow == "↓"}
    assert {name for name in VALIDATION_METRICS if name in LOWER_IS_BETTER} == (
        lower & set(VALIDATION_METRICS) | {"perceptual"}
    )


@pytest.mark.parametrize("name", ["fid", "lr-psnr", "pi", "psnrr"])
def test_other_metrics_are_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(UsageError, match=r"`validation\.metrics\.0`.*expected one of psnr, ssim"):
        load_recipe("rrdb-psnr", [f'validation.metrics=["{name}"]'])
