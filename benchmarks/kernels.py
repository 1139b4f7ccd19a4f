"""Engines in turn on one tile: speed-up over the plain PyTorch script, and distance from it.

Candidates run one after the other, round after round (A, B, C, A, B, C ...), on the middle of a photograph of the
folder TESSERA_ASSETS names; the times are medians, the ratios those of the medians. GFLOP/s count the multiplications
and additions of the network by definition, and "of the peak" is their share of the peak rate of matrix products
in the same type (measured between the rounds, best of all). Winograd convolutions need fewer: "really" is the share for
the operations that the kernels execute, each at the peak of its type, without transforms.

`python benchmarks/kernels.py [--side N] [--rounds N] [--threads N] [--model NAME] [--int8 FILE]`; --side and --model
are repeatable; --int8 is a file of `tessera quantize` for the one model.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tessera.bench.peaks import make_probes
from tessera.engines.engine import Engine, Precision
from tessera.engines.kernels.engine import KernelsEngine
from tessera.engines.opening import EngineName, open_engine
from tessera.errors import EngineError
from tessera.generators import GeneratorConfig
from tessera.images.picture import read_picture
from tessera.machine import cores, processor
from tessera.native.library import Kind
from tessera.weights.files import load_weights
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.zoo.models import load_model

PHOTOGRAPH = "photos/val/clic_0369d229ba4c9965.webp"
MODELS = ("realesrgan-x4plus", "realesr-animevideov3")
CANDIDATES: tuple[tuple[str, EngineName, Precision], ...] = (
    ("ncnn fp32", "ncnn", "exact"),
    ("OpenVINO bf16", "openvino", "auto"),
    ("kernels exact", "kernels", "exact"),
    ("kernels bf16", "kernels", "auto"),
    ("kernels fast", "kernels", "fast"),
)

COLUMNS = (
    *("candidate", "s, median (least)", "ratio", "GFLOP/s", "of the peak", "really"),
    *("PSNR to fp32", "within 1 level", "largest"),
)
FEWER = {"F2": 2.25, "F4": 4.0}
"""How many times fewer multiplications Winograd's ways do for a 3x3 convolution."""


@dataclass
class Runner:
    run: Callable[[Tensor], Tensor]
    engine: Engine | None = None
    """None for the plain script."""


def generator_of(model: str, assets: Path) -> LoadedGenerator:
    own = assets / "weights" / f"{model}.pth"
    return load_weights(own) if own.exists() else load_model(model)


def middle(path: Path, side: int) -> Tensor:
    pixels = read_picture(path).pixels
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    crop = pixels[top : top + side, left : left + side, :3].astype(np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))[None]


def candidates(generator: LoadedGenerator, threads: int, int8: Path | None) -> dict[str, Runner]:
    """The plain script first; an engine that cannot run here is left out, with its sentence."""

    def plain(x: Tensor) -> Tensor:
        with torch.no_grad():
            return generator.network(x)

    found = {"plain PyTorch": Runner(plain)}
    for name, engine, precision in CANDIDATES:
        try:
            opened = open_engine(generator, precision, engine=engine, threads=threads)
        except EngineError as error:
            print(f"{name} is left out: {error}")
            continue
        found[name] = runner(opened)
    if int8 is not None:
        found["OpenVINO int8"] = runner(open_engine(load_weights(int8), "fast", threads=threads))
    return found


def runner(engine: Engine) -> Runner:
    return Runner(lambda x: torch.from_numpy(engine.run(x.numpy())), engine)


def least_seconds(config: GeneratorConfig, kinds: Sequence[Kind], side: int, peaks: dict[str, float]) -> float:
    """What the multiplications and additions that the kernels carry out take at the peak of each type."""
    repeated = "blocks" if hasattr(config, "blocks") else "convolutions"
    once = config.model_copy(update={repeated: len(kinds) - 2})
    whole = config.multiply_adds(side, side)
    block = whole - once.multiply_adds(side, side)
    shares = [*(block for _ in kinds[:-1]), whole - block * (len(kinds) - 1)]
    ways = [kind.split() for kind in kinds]
    return sum(2 * share / FEWER[way] / peaks[products] for share, (way, products) in zip(shares, ways, strict=True))


def levels(sr: Tensor) -> Tensor:
    return (sr.clamp(0, 1) * 255).round()


def measure(model: str, side: int, rounds: int, threads: int, assets: Path, int8: Path | None) -> None:
    generator = generator_of(model, assets)
    x = middle(assets / PHOTOGRAPH, side)
    runs = candidates(generator, threads, int8)
    results = {name: each.run(x) for name, each in runs.items()}  # the first runs make and compile
    measured = make_probes()
    peaks = {name: probe() for name, probe in measured.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, each in runs.items():
            began = time.perf_counter()
            each.run(x)
            seconds[name].append(time.perf_counter() - began)
        peaks = {name: max(peak, measured[name]()) for name, peak in peaks.items()}
    plain, reference = statistics.median(seconds["plain PyTorch"]), results["plain PyTorch"]
    gflop = 2 * generator.config.multiply_adds(side, side) / 1e9
    told = ", ".join(f"{name} {peak / 1e9:.0f} G/s" for name, peak in peaks.items())
    print(f"\n{model} at {side}x{side}, {threads} threads, {rounds} rounds; peaks: {told}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name, times in seconds.items():
        median = statistics.median(times)
        error = (results[name].clamp(0, 1) - reference.clamp(0, 1)).double().square().mean()
        apart = (levels(results[name]) - levels(reference)).abs()
        psnr = f"{-10 * error.log10():.1f} dB" if error > 0 else "equal"
        engine = runs[name].engine
        products = "int8" if name.endswith("int8") else "fp32" if engine is None else engine.precision
        share, really = gflop * 1e9 / median / peaks[products], ""
        if isinstance(engine, KernelsEngine):
            really = f"{least_seconds(generator.config, engine.kinds, side, peaks) / median:.0%}"
        print(
            f"| {name} | {median:.3f} ({min(times):.3f}) | {plain / median:.2f} | {gflop / median:.0f} "
            f"| {share:.0%} | {really} | {psnr} "
            f"| {(apart <= 1).double().mean():.2%} | {int(apart.max())} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, action="append")
    parser.add_argument("--model", action="append")
    parser.add_argument("--int8", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cores().usable)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    here = processor()
    print(f"{here.name}: {', '.join(here.features or ())}")
    for model in given.model or MODELS:
        for side in given.side or (128, 256):
            measure(model, side, given.rounds, given.threads, Path(os.environ["TESSERA_ASSETS"]), given.int8)


if __name__ == "__main__":
    main()
