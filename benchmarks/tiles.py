"""Cost of the tile size: seconds per output megapixel, for each engine and tile from 64 to 512.

A photograph of the folder TESSERA_ASSETS names is upscaled with `Upscaler`, with its overlap, in turn: every engine
and tile once in each round. `python benchmarks/tiles.py [MODEL] [SIDE] [ROUNDS] [ENGINE:PRECISION ...]`.
"""

import os
import sys
import time
from pathlib import Path

from tessera import Upscaler, read_picture
from tessera.bench.subject import crop_middle
from tessera.bench.turns import Run, spread, take_turns

TILES = (64, 96, 128, 192, 256, 384, 512)
ENGINES = ("kernels:exact", "kernels:auto", "openvino:auto")
PHOTOGRAPH = "photos/val/clic_0369d229ba4c9965.webp"


def main() -> None:
    arguments = sys.argv[1:]
    model = arguments[0] if arguments else "realesrgan-x4plus"
    side = int(arguments[1]) if len(arguments) > 1 else 512
    rounds = int(arguments[2]) if len(arguments) > 2 else 3
    engines = arguments[3:] or list(ENGINES)
    assets = Path(os.environ["TESSERA_ASSETS"])
    pixels = crop_middle(read_picture(assets / PHOTOGRAPH).pixels, side, side)
    tiles = [tile for tile in TILES if tile <= side]
    own = assets / "weights" / f"{model}.pth"
    turns, megapixels = {}, 0.0
    for name in engines:
        engine, precision = name.split(":")
        for tile in tiles:
            upscaler = Upscaler(own if own.exists() else model, engine=engine, precision=precision, tile=tile)
            megapixels = pixels.shape[0] * pixels.shape[1] * upscaler.scale**2 / 1e6

            def turn(upscaler: Upscaler = upscaler) -> Run:
                began, cpu_began = time.perf_counter(), time.process_time()
                upscaler.upscale(pixels)
                return Run(seconds=time.perf_counter() - began, cpu_seconds=time.process_time() - cpu_began)

            upscaler.upscale(pixels[: min(side, tile), : min(side, tile)])  # compiles, where the engine does
            turns[f"{name} {tile}"] = turn
    runs, failed = take_turns(turns, rounds)
    print(f"{model}, {pixels.shape[1]}x{pixels.shape[0]}, seconds for each output megapixel\n")
    print(f"| tile | {' | '.join(engines)} |\n|{'---|' * (len(engines) + 1)}")
    for tile in tiles:
        cells = []
        for name in engines:
            taken = runs.get(f"{name} {tile}")
            cells.append("" if taken is None else f"{spread([run.seconds for run in taken]).median / megapixels:.2f}")
        print(f"| {tile} | {' | '.join(cells)} |")
    for each in failed:
        print(f"- {each.name}: {each.reason}")


if __name__ == "__main__":
    main()
