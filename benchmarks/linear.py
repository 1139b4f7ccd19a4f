"""Linearity of time and constancy of memory: complete `tessera upscale` processes from 0.1 to 64 megapixels.

`python benchmarks/linear.py [MODEL] [LARGEST_MP] [ROUNDS] [OPTION ...]`; options go to `tessera upscale`. Prints a row
for each size, and the line seconds = start + rate * megapixels, fitted to relative errors, with the largest of them. 64
megapixels take an hour with the compact network on two cores.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from tessera.bench.processes import Program, run_program
from tessera.bench.subject import make_picture
from tessera.bench.turns import spread
from tessera.images.writer import write_picture

MEGAPIXELS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)


def line(megapixels: np.ndarray, seconds: np.ndarray) -> tuple[float, float, float]:
    """The line with the least relative errors -> start, rate, largest relative error."""
    design = np.stack([np.ones_like(megapixels), megapixels], 1) / seconds[:, None]
    (start, rate), *_ = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)
    return start, rate, float(np.abs((start + rate * megapixels) / seconds - 1).max())


def main() -> None:
    arguments = sys.argv[1:]
    model = arguments[0] if arguments else "realesr-animevideov3"
    largest = float(arguments[1]) if len(arguments) > 1 else 64.0
    rounds = int(arguments[2]) if len(arguments) > 2 else 1
    own = Path(os.environ.get("TESSERA_ASSETS", "")) / "weights" / f"{model}.pth"
    spec = str(own) if own.is_file() else model
    sizes, medians = [], []
    print("| input MP | seconds | seconds per MP | processor s | peak MiB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        folder = Path(place)
        for megapixels in (size for size in MEGAPIXELS if size <= largest):
            side = round((megapixels * 1e6) ** 0.5)
            source, output = folder / "in.png", folder / "out.png"
            write_picture(make_picture(side, side), source)
            command = (sys.executable, "-m", "tessera", "upscale", str(source), "-o", str(output), "--overwrite")
            program = Program(
                name=f"{megapixels} MP",
                products="",
                command=(*command, "-n", spec, *arguments[3:]),
                output=output,
                environment={"TESSERA_CACHE": str(folder / "cache")},
            )
            if not sizes:
                run_program(program)  # plans and compiles
            runs = [run_program(program) for _ in range(rounds)]
            median = spread([run.seconds for run in runs]).median
            exact = side * side / 1e6
            sizes.append(exact)
            medians.append(median)
            cpu = spread([run.cpu_seconds or 0 for run in runs]).median
            peak = max(run.peak_bytes or 0 for run in runs) / 2**20
            print(f"| {exact:.2f} | {median:.1f} | {median / exact:.2f} | {cpu:.1f} | {peak:,.0f} |", flush=True)
    if len(sizes) > 2:
        start, rate, error = line(np.array(sizes), np.array(medians))
        print(f"\nseconds = {start:.2f} + {rate:.2f} * megapixels, at most {error * 100:.0f} % off")


if __name__ == "__main__":
    main()
