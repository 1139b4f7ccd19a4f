"""Distance of our outputs from those of the `ncnn` package on the same ncnn files, in fp32.

Centers of the pictures in the folder that TESSERA_ASSETS names. `python benchmarks/parity.py [SIDE] [MODEL ...]`.
"""

import os
import sys
from pathlib import Path

import numpy as np

from tessera import Upscaler, read_picture
from tessera.zoo.models import resolve

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from test_parity import MODELS, by_ncnn


def main() -> None:
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    folder = Path(os.environ["TESSERA_ASSETS"]) / "inputs"
    print("| model | pictures | values | largest | values off by a level |\n|---|---|---|---|---|")
    for model in sys.argv[2:] or MODELS:
        upscaler = Upscaler(model, precision="exact", flat_lock=False, keep_color_noise=True, tile=0, offline=True)
        off: list[np.ndarray] = []
        for path in sorted(folder.iterdir()):
            pixels = read_picture(path).pixels
            pixels = np.stack((pixels,) * 3, -1) if pixels.ndim == 2 else pixels[..., :3]
            top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
            crop = np.ascontiguousarray(pixels[top : top + side, left : left + side])
            crop = crop if crop.dtype == np.uint8 else np.rint(crop / 257).astype(np.uint8)
            theirs = np.rint(by_ncnn(resolve(model, offline=True), crop) * 255)
            off.append(np.abs(upscaler.upscale(crop) - theirs).ravel())
        every = np.concatenate(off)
        print(
            f"| {model} | {len(off)} | {every.size:,} | {every.max():.0f} | {(every > 0).mean() * 100:.4f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
