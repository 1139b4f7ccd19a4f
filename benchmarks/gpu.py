"""One GPU in under eight minutes: correctness, speed next to a plain fp16 script, peak memory.

`python benchmarks/gpu.py [--device cuda] [--output gpu]` writes `gpu.json` and `gpu.md`. The plain script does what
Real-ESRGAN's inference does by default: the whole picture through the network in fp16, in tiles of 512 with 10 pixels
around them where memory does not suffice. Both have their weights loaded; the times are from pixels to pixels of a 2
megapixel photograph, in turn. Any device of Tessera will do; `--device cpu --quick` tries every step on a small
picture. The plain script runs on the same device if it is PyTorch's, else on the CPU.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tessera import Upscaler, __version__, load_generator
from tessera.engines.engine import OnDevice
from tessera.engines.opening import open_engine
from tessera.engines.pytorch.engine import TorchEngine
from tessera.errors import TesseraError
from tessera.images.pixels import Pixels
from tessera.machine import processor
from tessera.weights.loaded_generator import LoadedGenerator

MODELS = ("realesr-animevideov3", "realesrgan-x4plus")
SECONDS = 440.0
"""The last turn begins before that; eight minutes are 480."""
ROUNDS = 5
SIZE, QUICK_SIZE = (1080, 1920), (60, 80)
ODD_SIZES = ((67, 53), (64, 64), (31, 130))
PLAIN_TILE, PLAIN_MARGIN = 512, 10


def photograph(height: int, width: int) -> Pixels:
    """(H, W, 3) uint8: soft areas, edges and grain."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    picture = np.zeros((height, width, 3), np.float32)
    for _ in range(40):
        center_y, center_x, size = rng.random() * height, rng.random() * width, (0.02 + 0.2 * rng.random()) * height
        inside = np.clip((size - np.hypot(y - center_y, x - center_x)) / (1 + 30 * rng.random()), 0, 1)[..., None]
        picture += inside * (rng.random(3, np.float32) - picture)
    return np.clip(picture * 255 + rng.normal(0, 3, picture.shape), 0, 255).round().astype(np.uint8)


class PlainScript:
    """fp16 in NCHW, eager, as the published inference script runs it."""

    def __init__(self, generator: LoadedGenerator, device: str) -> None:
        self._device = torch.device(device)
        self._scale = generator.config.scale
        # On a CPU fp16 is only emulated: the steps are tried in fp32 there.
        self._dtype = torch.float32 if device == "cpu" else torch.float16
        self._network = copy.deepcopy(generator.network).to(self._device, self._dtype).eval()

    def upscale(self, pixels: Pixels) -> Pixels:
        """(H, W, 3) uint8 -> (s*H, s*W, 3) uint8."""
        x = torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1)[None] / 255).to(self._device, self._dtype)
        with torch.no_grad():
            try:
                y = self._network(x)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                y = self._upscale_in_tiles(x)
        y = y.float().cpu().clamp_(0, 1).numpy()[0].transpose(1, 2, 0)
        return (y * 255).round().astype(np.uint8)

    def _upscale_in_tiles(self, x: torch.Tensor) -> torch.Tensor:
        scale, (height, width) = self._scale, x.shape[2:]
        y = x.new_zeros((1, 3, height * scale, width * scale))
        for top in range(0, height, PLAIN_TILE):
            for left in range(0, width, PLAIN_TILE):
                bottom, right = min(top + PLAIN_TILE, height), min(left + PLAIN_TILE, width)
                above, before = max(top - PLAIN_MARGIN, 0), max(left - PLAIN_MARGIN, 0)
                tile = self._network(x[:, :, above : bottom + PLAIN_MARGIN, before : right + PLAIN_MARGIN])
                down, across = (top - above) * scale, (left - before) * scale
                y[:, :, top * scale : bottom * scale, left * scale : right * scale] = tile[
                    :, :, down : down + (bottom - top) * scale, across : across + (right - left) * scale
                ]
        return y


def compare(generator: LoadedGenerator, device: str) -> dict[str, Any]:
    """Largest difference of fp32 from PyTorch's CPU, and PSNR of reduced precision in dB, at odd sizes and repeated."""
    reference = TorchEngine(generator)
    engines = {precision: open_engine(generator, precision, device=device) for precision in ("exact", "auto")}
    rng = np.random.default_rng(0)
    largest = dict.fromkeys(engines, 0.0)
    squared: dict[str, list[float]] = {precision: [] for precision in engines}
    for height, width in ODD_SIZES:
        tiles = rng.random((2, generator.config.in_channels, height, width), np.float32)
        expected = reference.run(tiles)
        for precision, engine in engines.items():
            for _ in range(4 if device.startswith("cuda") else 1):  # the third run records a graph, the fourth replays
                apart = np.abs(engine.run(tiles) - expected)
                largest[precision] = max(largest[precision], float(apart.max()))
                squared[precision].append(float(np.square(apart, dtype=np.float64).mean()))
    return {
        "exact_largest": largest["exact"],
        "exact_is_right": largest["exact"] < 1e-3,
        "reduced": engines["auto"].precision,
        "reduced_largest_levels": 255 * largest["auto"],
        "reduced_psnr_db": -10 * float(np.log10(max(*squared["auto"], 1e-20))),
    }


def measure_peak(run: Callable[[], object], device: str) -> float | None:
    """Peak memory of the device in MiB during a run; None where PyTorch does not count it."""
    if not device.startswith("cuda"):
        run()
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_reserved(device) / 2**20


def race(generator: LoadedGenerator, device: str, pixels: Pixels, rounds: int, end: float) -> dict[str, Any]:
    """Seconds of the plain script and of Tessera, in turn, after one run of each that nobody times."""
    plain_device = device if device.startswith("cuda") or device == "mps" else "cpu"
    plain = PlainScript(generator, plain_device)
    began = time.perf_counter()
    upscaler = Upscaler(generator, device=device, flat_lock=False)
    upscaler.expect(pixels.shape[0] * pixels.shape[1])
    upscaler.prepare()
    planned = time.perf_counter() - began
    ways = {"plain": lambda: plain.upscale(pixels), "tessera": lambda: upscaler.upscale(pixels)}
    peaks = {name: measure_peak(run, plain_device if name == "plain" else device) for name, run in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    made: dict[str, Pixels] = {}
    for _ in range(rounds):
        if seconds["tessera"] and time.perf_counter() > end:
            break
        for name, run in ways.items():
            began = time.perf_counter()
            made[name] = run()
            seconds[name].append(time.perf_counter() - began)
    apart = np.abs(made["plain"].astype(np.int16) - made["tessera"])
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "plan": upscaler.plan_lines()[0],
        "plan_seconds": planned,
        "engine": f"{upscaler.engine.name} {upscaler.engine.precision}",
        "free_memory_bytes": upscaler.engine.free_memory_bytes() if isinstance(upscaler.engine, OnDevice) else None,
        "seconds": seconds,
        "median_seconds": medians,
        "speed_up": medians["plain"] / medians["tessera"],
        "peak_mib": peaks,
        "within_one_level": float((apart <= 1).mean()),
    }


def describe_machine(device: str) -> dict[str, str | None]:
    """The device, driver and versions."""
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        "device": device,
        "gpu": gpu,
        "processor": processor().name,
        "system": platform.platform(),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "tessera": __version__,
    }


def write_markdown(found: dict[str, Any]) -> str:
    """The results as two tables."""
    machine = found["machine"]
    lines = [
        f"# {machine['gpu'] or machine['device']}",
        "",
        f"{found['picture']} pixels; {', '.join(f'{name} {value}' for name, value in machine.items() if value)}.",
        "",
        "| model | engine | plain fp16 script, s | Tessera, s | speed-up | peak MiB, plain | ours | within 1 level |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, each in found["models"].items():
        if "race" not in each:
            continue
        run = each["race"]
        peaks = (run["peak_mib"][way] for way in ("plain", "tessera"))
        plain, ours = ("" if peak is None else f"{peak:,.0f}" for peak in peaks)
        lines.append(
            f"| `{name}` | {run['engine']} | {run['median_seconds']['plain']:.3f} |"
            f" {run['median_seconds']['tessera']:.3f} | {run['speed_up']:.2f} | {plain} | {ours} |"
            f" {run['within_one_level']:.2%} |"
        )
    lines += [
        "",
        "| model | fp32, largest difference | reduced | largest, levels | PSNR, dB | |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in found["models"].items():
        if "error" in each:
            lines.append(f"| `{name}` | | | | | {each['error']} |")
            continue
        compared = each["correctness"]
        lines.append(
            f"| `{name}` | {compared['exact_largest']:.2g} | {compared['reduced']} |"
            f" {compared['reduced_largest_levels']:.1f} | {compared['reduced_psnr_db']:.1f} |"
            f" {'' if compared['exact_is_right'] else 'WRONG'} |"
        )
    return "\n".join([*lines, "", f"{found['seconds']:.0f} s in all.", ""])


def run(device: str, models: tuple[str, ...], *, quick: bool = False, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure everything -> plain values."""
    began = time.perf_counter()
    height, width = QUICK_SIZE if quick else SIZE
    pixels = photograph(height, width)
    found: dict[str, Any] = {"machine": describe_machine(device), "picture": f"{width}x{height}", "models": {}}
    for number, name in enumerate(models):
        end = began + SECONDS * (number + 1) / len(models)
        result: dict[str, Any] = {}
        found["models"][name] = result
        try:
            generator = load_generator(name, offline=True)
            result["correctness"] = compare(generator, device)
            result["race"] = race(generator, device, pixels, 1 if quick else rounds, end)
        except TesseraError as error:
            result["error"] = str(error)
    found["seconds"] = time.perf_counter() - began
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="a small picture, once: tries every step")
    parser.add_argument("--output", type=Path, default=Path("gpu"), help="without the suffix")
    given = parser.parse_args()
    found = run(given.device, tuple(given.models), quick=given.quick, rounds=given.rounds)
    given.output.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    markdown = write_markdown(found)
    given.output.with_suffix(".md").write_text(markdown)
    print(markdown)
    if any("error" in each or not each["correctness"]["exact_is_right"] for each in found["models"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
