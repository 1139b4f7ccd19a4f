"""Speed and memory of metrics, in turn with plain implementations.

NIQE against a block-by-block NumPy implementation with equal features; SSIM of a 12 megapixel pair; peak memory of
complete processes that score pairs of 4 and of 100 megapixels. `python benchmarks/measure.py`.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tessera.images.libvips import vips
from tessera.metrics.niqe import NiqeRows
from tessera.metrics.ssim import ssim

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from metrics.test_niqe import gray, plain_features

ROUNDS = 3
PAIRS = ((2000, 2000), (10_000, 10_000))


def niqe_ratio() -> None:
    picture = gray(960, 1440)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        rows = NiqeRows(*picture.shape)
        rows.take(picture)
        features = rows.features
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        expected = plain_features(picture)
        theirs.append(time.perf_counter() - began)
    apart = np.abs(features - expected).max()
    print(
        f"NIQE, 960x1440: {min(ours):.2f} s against {min(theirs):.2f} s block by block,"
        f" {min(theirs) / min(ours):.1f} times faster; features differ by {apart:.1e}"
    )


def ssim_seconds() -> None:
    rng = np.random.default_rng(0)
    gt = rng.integers(0, 256, (1, 1, 3000, 4000)).astype(np.float64)
    sr = (gt + rng.integers(-9, 10, gt.shape)).clip(0, 255)
    seconds: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ssim(sr, gt, data_range=255)
        seconds.append(time.perf_counter() - began)
    print(f"SSIM, one channel of 12 megapixels in float64: {min(seconds):.2f} s")


def pair_memory() -> None:
    print("| pair | peak MiB | ratio | seconds |\n|---|---|---|---|")
    smallest = None
    with tempfile.TemporaryDirectory() as folder:
        for width, height in PAIRS:
            for name in ("sr", "gt"):
                place = Path(folder, f"{name}{width}")
                place.mkdir()
                noise = vips().Image.perlin(width, height, cell_size=64, seed=len(name)).linear(90, 128)
                noise.bandjoin([noise, noise]).cast("uchar").copy(interpretation="srgb").write_to_file(
                    str(place / "a.png"), compression=1
                )
            command = [sys.executable, "-m", "tessera", "evaluate", "--sr", f"{folder}/sr{width}", "--gt"]
            command += [f"{folder}/gt{width}", "--metrics", "psnr,ssim,ms-ssim,rmse", "-o", f"{folder}/out"]
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"{' '.join(command)} failed")
            mib = usage.ru_maxrss / 1024
            smallest = smallest or mib
            seconds = time.perf_counter() - began
            print(f"| {width * height / 1e6:.0f} MP | {mib:,.0f} | {mib / smallest:.2f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    pair_memory()  # first: a process begins with the peak of the one that starts it
    niqe_ratio()
    ssim_seconds()
