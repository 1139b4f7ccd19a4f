"""Upscalings of photographs after Real-ESRGAN's second-order degradation, scored against bicubic.

    python benchmarks/second_order.py tessera-x4 realesrgan-x4plus --photos PHOTOS/val -o scores.json --pictures FOLDER

The center of each photograph is degraded by a separate draw (from the seed and its index), written and read as 8 bits,
upscaled in fp32 by PyTorch as in `tessera upscale`, and compared with the reference: PSNR of Y with borders of 4 pixels
cut, NIQE of Y, the perceptual distance that the `tessera-x4` recipe trains with, and the grid: by how many decibels
luma's differences of neighbors have more power at a period of 4 pixels than at adjacent periods (0 is none; a pixel
shuffle may leave one, which NIQE does not mind; photographs themselves are the row `truth`). Means and differences from
bicubic come with 95 % intervals (bootstrap over the pictures).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tessera import Picture, Upscaler, write_picture
from tessera.dataset.decoding import read_rgb
from tessera.dataset.sources import list_pictures
from tessera.degrade import RealESRGANDegradation, apply, draw
from tessera.evaluate.statistics import bootstrap_interval
from tessera.images.color import luma_matlab
from tessera.images.resize import resize
from tessera.losses import PerceptualLoss, load_perceptual_trunk
from tessera.metrics.niqe import load_pristine_model, niqe
from tessera.metrics.psnr import psnr
from tessera.train.recipe import load_recipe

SCALE = 4
MARGIN = 64
"""Pixels of the truth around what is scored, so that no border is degraded that a photograph would not have."""
METRICS = ("psnr", "niqe", "perceptual", "grid")


@dataclass(frozen=True)
class Pair:
    name: str
    lq: np.ndarray
    """(h, w, 3) of uint8"""
    gt: Tensor
    """(1, 3, H, W) in [0, 1]"""


def pairs_of(folder: Path, side: int, seed: int) -> list[Pair]:
    found: list[Pair] = []
    for index, ref in enumerate(list_pictures([folder], None).gt):
        whole = torch.from_numpy(np.ascontiguousarray(read_rgb(ref).pixels)).permute(2, 0, 1)[None] / 255
        reach = side + 2 * MARGIN
        top, left = ((length - reach) // 2 for length in whole.shape[-2:])
        gt = whole[..., top : top + reach, left : left + reach]
        rng = np.random.default_rng((seed, index))
        drawn = draw(RealESRGANDegradation(), pictures=1, height=reach, width=reach, scale=SCALE, rng=rng)
        lq = apply(gt, drawn).lq[0, :, MARGIN // SCALE : -MARGIN // SCALE, MARGIN // SCALE : -MARGIN // SCALE]
        pixels = (lq * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        found.append(Pair(ref.stem, pixels, gt[..., MARGIN:-MARGIN, MARGIN:-MARGIN]))
    return found


def pixels_of(gt: Tensor) -> np.ndarray:
    return (gt[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def bicubic(pixels: np.ndarray) -> np.ndarray:
    enlarged = resize(torch.from_numpy(pixels).permute(2, 0, 1) / 255, scale=SCALE)
    return pixels_of(enlarged.clamp(0, 1)[None])


def grid(luma: np.ndarray) -> float:
    """How much a picture (H, W) has of what repeats every SCALE pixels, in dB over its neighbors in frequency."""
    return math.fsum(_excess(lines) for lines in (luma, luma.T)) / 2


def _excess(lines: np.ndarray) -> float:
    length = lines.shape[1] // SCALE * SCALE
    steps = np.diff(lines[:, : length + 1], axis=1, prepend=lines[:, :1])[:, :length]
    power = (np.abs(np.fft.rfft(steps * np.hanning(length), axis=1)) ** 2).mean(axis=0)
    peak = length // SCALE
    beside = np.concatenate((power[peak - 12 : peak - 3], power[peak + 4 : peak + 13]))
    return float(10 * np.log10(power[peak - 1 : peak + 2].mean() / beside.mean()))


class Scorer:
    def __init__(self) -> None:
        config = load_recipe("tessera-x4").perceptual
        assert config is not None
        self._perceptual = PerceptualLoss(load_perceptual_trunk(config.trunk), config)
        self._pristine = load_pristine_model()

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray, gt: Tensor) -> dict[str, float]:
        sr = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
        ours, truth = (luma_matlab(each)[..., SCALE:-SCALE, SCALE:-SCALE] for each in (sr, gt))
        return {
            "psnr": float(psnr(ours.numpy(), truth.numpy(), data_range=255)[0]),
            "niqe": niqe(luma_matlab(sr)[0, 0].round().numpy(), self._pristine),
            "perceptual": float(self._perceptual(sr, gt).perceptual),
            "grid": grid(luma_matlab(sr)[0, 0].double().numpy()),
        }


def summary(scores: dict[str, list[float]], other: dict[str, list[float]] | None) -> dict[str, dict[str, float]]:
    """Means with intervals, and how far they are from those of another on the same pictures."""
    told: dict[str, dict[str, float]] = {}
    for metric, values in scores.items():
        low, high = bootstrap_interval(values)
        told[metric] = {"mean": math.fsum(values) / len(values), "low": low, "high": high}
        if other is not None:
            gain = [a - b for a, b in zip(values, other[metric], strict=True)]
            low, high = bootstrap_interval(gain)
            told[metric] |= {"over_bicubic": math.fsum(gain) / len(gain), "over_low": low, "over_high": high}
    return told


def print_row(name: str, told: dict[str, dict[str, float]]) -> None:
    found = [told.get(metric) for metric in METRICS]
    cells = [f"{each['mean']:.2f} ({each['low']:.2f} to {each['high']:.2f})" if each else "" for each in found]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names of models, weights files or mixes")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--side", type=int, default=512, help="of what is scored, in pixels of the truth (512)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--pictures", type=Path, help="a folder for inputs, outputs and truths")
    chosen = parser.parse_args()
    pairs, scorer = pairs_of(chosen.photos, chosen.side, chosen.seed), Scorer()
    methods: dict[str, Callable[[np.ndarray], np.ndarray]] = {"bicubic": bicubic}
    for model in chosen.models:
        name = Path(model).stem if Path(model).is_file() else model.replace("/", "_")
        if name in methods:
            parser.error(f"two models are called {name}")
        methods[name] = Upscaler(model, engine="pytorch", precision="exact").upscale
    rows: dict[str, dict[str, list[float]]] = {}
    print("| | PSNR (dB) | NIQE | perceptual distance | grid (dB) |\n|---|---|---|---|---|")
    for name, method in methods.items():
        rows[name] = {metric: [] for metric in METRICS}
        for pair in pairs:
            sr = method(pair.lq)
            for metric, value in scorer(sr, pair.gt).items():
                rows[name][metric].append(value)
            if chosen.pictures:
                chosen.pictures.mkdir(parents=True, exist_ok=True)
                write_picture(Picture(sr), chosen.pictures / f"{pair.name}.{name}.png")
        told = summary(rows[name], rows["bicubic"] if name != "bicubic" else None)
        print_row(name, told)
    if chosen.pictures:
        for pair in pairs:
            write_picture(Picture(pair.lq), chosen.pictures / f"{pair.name}.lq.png")
            write_picture(Picture(pixels_of(pair.gt)), chosen.pictures / f"{pair.name}.truth.png")
    means = {name: summary(each, rows["bicubic"] if name != "bicubic" else None) for name, each in rows.items()}
    scores = [scorer(pixels_of(pair.gt), pair.gt) for pair in pairs]
    means["truth"] = summary({metric: [each[metric] for each in scores] for metric in ("niqe", "grid")}, None)
    print_row("truth", means["truth"])
    values = {"seed": chosen.seed, "side": chosen.side, "pictures": [pair.name for pair in pairs], "means": means}
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps({**values, "scores": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
