"""Engines in turn on one tile: how much faster than the plain PyTorch script, and how near to it.

Candidates run one after the other, round after round (A, B, C, A, B, C ...), on the middle of a photograph of the
folder TESSERA_ASSETS names; the times are medians, the ratios those of the medians. GFLOP/s count the multiplications
and additions of the network as it is written, which Winograd's way needs fewer of.

`python benchmarks/kernels.py [--side N] [--rounds N] [--threads N] [--model NAME]`; --side and --model can be given
again.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tessera.engines import EngineName, Precision, open_engine
from tessera.errors import EngineError
from tessera.loaded_generator import LoadedGenerator
from tessera.machine import cores, processor
from tessera.picture import read_picture
from tessera.weights import load_weights
from tessera.zoo import load_model

PHOTOGRAPH = "photos/val/clic_0369d229ba4c9965.webp"
MODELS = ("realesrgan-x4plus", "realesr-animevideov3")
CANDIDATES: tuple[tuple[str, EngineName, Precision], ...] = (
    ("ncnn fp32", "ncnn", "exact"),
    ("OpenVINO bf16", "openvino", "auto"),
    ("kernels exact", "kernels", "exact"),
    ("kernels bf16", "kernels", "auto"),
    ("kernels fast", "kernels", "fast"),
)

Run = Callable[[Tensor], Tensor]


def generator_of(model: str, assets: Path) -> LoadedGenerator:
    own = assets / "weights" / f"{model}.pth"
    return load_weights(own) if own.exists() else load_model(model)


def middle(path: Path, side: int) -> Tensor:
    pixels = read_picture(path).pixels
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    crop = pixels[top : top + side, left : left + side, :3].astype(np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))[None]


def candidates(generator: LoadedGenerator, threads: int) -> dict[str, Run]:
    """The plain script first; an engine that cannot run here is left out, with its sentence."""

    def plain(x: Tensor) -> Tensor:
        with torch.no_grad():
            return generator.network(x)

    found: dict[str, Run] = {"plain PyTorch": plain}
    for name, engine, precision in CANDIDATES:
        try:
            opened = open_engine(generator, precision, engine=engine, threads=threads)
        except EngineError as error:
            print(f"{name} is left out: {error}")
            continue
        found[name] = lambda x, opened=opened: torch.from_numpy(opened.run(x.numpy()))
    return found


def levels(sr: Tensor) -> Tensor:
    return (sr.clamp(0, 1) * 255).round()


def measure(model: str, side: int, rounds: int, threads: int, assets: Path) -> None:
    generator = generator_of(model, assets)
    x = middle(assets / PHOTOGRAPH, side)
    runs = candidates(generator, threads)
    results = {name: run(x) for name, run in runs.items()}  # the first runs make and compile
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run(x)
            seconds[name].append(time.perf_counter() - began)
    plain, reference = statistics.median(seconds["plain PyTorch"]), results["plain PyTorch"]
    gflop = 2 * generator.config.multiply_adds(side, side) / 1e9
    print(f"\n{model} at {side}x{side}, {threads} threads, {rounds} rounds\n")
    print("| candidate | s, median (least) | ratio | GFLOP/s | PSNR to fp32 | within 1 level | largest |")
    print("|---|---|---|---|---|---|---|")
    for name, times in seconds.items():
        median = statistics.median(times)
        error = (results[name].clamp(0, 1) - reference.clamp(0, 1)).double().square().mean()
        apart = (levels(results[name]) - levels(reference)).abs()
        psnr = f"{-10 * error.log10():.1f} dB" if error > 0 else "equal"
        print(
            f"| {name} | {median:.3f} ({min(times):.3f}) | {plain / median:.2f} | {gflop / median:.0f} | {psnr} "
            f"| {(apart <= 1).double().mean():.2%} | {int(apart.max())} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, action="append")
    parser.add_argument("--model", action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cores().usable)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    here = processor()
    print(f"{here.name}: {', '.join(here.features or ())}")
    for model in given.model or MODELS:
        for side in given.side or (128, 256):
            measure(model, side, given.rounds, given.threads, Path(os.environ["TESSERA_ASSETS"]))


if __name__ == "__main__":
    main()
