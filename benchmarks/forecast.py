"""Accuracy of the forecast of `tessera upscale --dry-run`.

    python benchmarks/forecast.py [ROUNDS]

Forecasts and runs alternate, each in a separate process, after one of each that makes the plan and fills the caches.
Needs TESSERA_ASSETS, the folder of photographs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tessera.images.picture import Picture, read_picture
from tessera.images.writer import write_picture

CASES = (
    ("realesr-animevideov3", 128, 128),
    ("realesr-animevideov3", 1000, 1000),
    ("realesrgan-x4plus", 128, 128),
    ("realesrgan-x4plus", 384, 512),
)


def timed(words: list[str]) -> tuple[float, str]:
    """Seconds of a whole `tessera upscale`, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tessera", "upscale", *words], check=True, capture_output=True, text=True
    )
    return time.perf_counter() - began, done.stdout


def main() -> None:
    """Print a table in Markdown."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    photograph = next(iter(sorted((Path(os.environ["TESSERA_ASSETS"]) / "photos" / "val").iterdir())))
    pixels = read_picture(photograph).pixels[..., :3]
    print("| model | picture | forecast s | run s | forecast / run, median (all) |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model, height, width in CASES:
            picture = Path(folder) / f"{width}x{height}.png"
            write_picture(Picture(pixels[200 : 200 + height, 200 : 200 + width]), picture)
            words = [str(picture), "-n", model, "-o", f"{folder}/out", "--overwrite"]
            timed([*words, "--dry-run"])
            timed(words)
            forecasts: list[float] = []
            runs: list[float] = []
            for _ in range(rounds):
                _, said = timed([*words, "--dry-run", "--json-progress"])
                forecasts.append(json.loads(said.splitlines()[-1])["seconds"])
                runs.append(timed(words)[0])
            ratios = sorted(forecast / run for forecast, run in zip(forecasts, runs, strict=True))
            print(
                f"| {model} | {width}x{height} | {statistics.median(forecasts):.1f} | {statistics.median(runs):.1f} |"
                f" {statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
