"""Share of the network in the time of a complete run, and the rest in parts.

`python benchmarks/share.py [MODEL] [MEGAPIXELS] [ROUNDS]`; TESSERA_ASSETS names the folder of photographs. Each round
is a separate process that does the work of `tessera upscale` with existing plans and compiled networks, and measures
the time until the network starts, while it runs, while only reading, blending and writing run, and to the end. A first
round, which makes the plan, is not counted.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PHOTOGRAPH = "photos/val/clic_f67f11de4ca9ebda.webp"


def one(model: str, source: str, output: str) -> dict[str, float]:
    """Upscale one picture in this process -> seconds since its start, and of the network."""
    from tessera.machine import process_seconds
    from tessera.upscaling.upscaler import Upscaler

    upscaler = Upscaler(model)
    upscaler.expect(int(os.environ["PIXELS"]))
    engine = upscaler.engine
    run, moments = engine.run, list[tuple[float, float]]()

    def timed(tiles):
        began = time.perf_counter()
        try:
            return run(tiles)
        finally:
            moments.append((began, time.perf_counter()))

    engine.run = timed
    upscaler.upscale_file(source, output)
    end, seconds = time.perf_counter(), process_seconds()
    start = end - seconds
    network = sum(last - first for first, last in moments)
    return {
        "before": moments[0][0] - start,
        "network": network,
        "between": moments[-1][1] - moments[0][0] - network,
        "after": end - moments[-1][1],
        "whole": seconds,
    }


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "--one":
        print(json.dumps(one(*sys.argv[2:])))
        return
    defaults = ("realesr-animevideov3", "1", "3")
    model, megapixels, rounds = (*sys.argv[1:4], *defaults[len(sys.argv) - 1 :])
    from tessera.images.picture import Picture, read_picture
    from tessera.images.writer import write_picture

    side = round((float(megapixels) * 1e6) ** 0.5)
    with tempfile.TemporaryDirectory() as folder:
        pixels = read_picture(Path(os.environ["TESSERA_ASSETS"]) / PHOTOGRAPH).pixels
        top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        source, output = Path(folder) / "a.png", Path(folder) / "b.png"
        write_picture(Picture(pixels[top : top + side, left : left + side, :3]), source)
        command = [sys.executable, __file__, "--one", model, str(source), str(output)]
        environment = {**os.environ, "PIXELS": str(side**2)}
        found = []
        for number in range(int(rounds) + 1):
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            if number:
                found.append(json.loads(done.stdout))
    print(f"{model}, {side}x{side}, {rounds} rounds, medians")
    print(
        "| until the network begins | network | only reading, blending, writing | after its last tile | whole | share |"
    )
    print("|---|---|---|---|---|---|")
    median = {name: statistics.median(each[name] for each in found) for name in found[0]}
    cells = [f"{median[name]:.2f} s" for name in ("before", "network", "between", "after", "whole")]
    print(f"| {' | '.join(cells)} | {median['network'] / median['whole']:.1%} |")


if __name__ == "__main__":
    main()
