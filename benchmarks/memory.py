"""Peak memory of complete processes that upscale a 4 and a 64 megapixel picture with the same tiles.

Each run is `tessera upscale` in a separate process; the kernel reports its peak. `python benchmarks/memory.py
[MODEL] [TILE] [EXTENSION ...]`. A 64 megapixel picture takes minutes with a compact model and hours with a deep one.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tessera.images.libvips import vips
from tessera.images.picture_format import Limits
from tessera.images.reader import PictureReader

SIZES = ((2000, 2000), (8000, 8000))


def photograph(path: Path, width: int, height: int) -> None:
    """A picture with structure everywhere, written by rows (noise and waves, so that nothing compresses to nothing)."""
    noise = vips().Image.perlin(width, height, cell_size=64).linear(90, 128)
    grain = vips().Image.gaussnoise(width, height, sigma=6, mean=0)
    (noise + grain).bandjoin([noise.rot180() + grain, noise.fliphor() + grain]).cast("uchar").copy(
        interpretation="srgb"
    ).write_to_file(str(path))


def peak_mib(command: list[str]) -> tuple[float, float]:
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_maxrss / 1024, time.monotonic() - began


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "realesr-animevideov3"
    tile = sys.argv[2] if len(sys.argv) > 2 else "256"
    extensions = sys.argv[3:] or ["png", "jpg", "tif"]
    print("| format | picture | peak MiB | ratio | seconds |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        for extension in extensions:
            smallest = None
            for width, height in SIZES:
                source = Path(folder, f"in_{width}.{extension}")
                photograph(source, width, height)
                out = Path(folder, f"out.{extension}")
                command = [sys.executable, "-m", "tessera", "upscale", str(source), "-o", str(out), "--overwrite"]
                mib, seconds = peak_mib([*command, "-n", model, "-t", tile])
                smallest = smallest or mib
                with PictureReader(out, limits=Limits(max_pixels=None)) as reader:
                    assert (reader.height, reader.width) == (height * 4, width * 4)
                assert np.isfinite(mib)
                print(
                    f"| {extension} | {width}x{height} ({width * height / 1e6:.0f} MP) | {mib:,.0f} |"
                    f" {mib / smallest:.2f} | {seconds:.0f} |",
                    flush=True,
                )
                source.unlink()
                out.unlink()


if __name__ == "__main__":
    main()
