"""Distance of a tiled result from the untiled one, per network and overlap: the table of docs/explanation/tiles.md.

Crops of photographs (the folder TESSERA_ASSETS names) are upscaled whole and in tiles, in fp32 and without the flat
lock, and compared in levels of 255. `python benchmarks/overlap.py [MODEL ...]`.
"""

import os
import sys
from pathlib import Path

import numpy as np

from tessera import Upscaler, read_picture

MODELS = {
    "realesr-animevideov3": (384, 128, (0, 4, 8, 12, 16, 20)),
    "realesr-general-x4v3": (384, 128, (0, 8, 12, 16, 20, 24, 28, 32)),
    "realesrgan-x4plus-anime": (256, 128, (0, 4, 8, 16, 24, 32, 40)),
    "realesrgan-x4plus": (320, 256, (16, 24, 32, 48, 64)),
    "realsr-df2k": (320, 256, (0, 8, 16, 24, 32, 48, 64)),
}


def crops(assets: Path, side: int, count: int) -> list[np.ndarray]:
    """Square crops from the middle of photographs, spread over the folder."""
    paths = sorted((assets / "photos" / "val").iterdir())[:: max(1, 15 // count)][:count]
    result = []
    for path in paths:
        pixels = read_picture(path).pixels
        top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        result.append(pixels[top : top + side, left : left + side, :3])
    return result


def main() -> None:
    assets = Path(os.environ["TESSERA_ASSETS"])
    names = sys.argv[1:] or list(MODELS)
    print("| model | overlap | largest | 99.99 % | mean | pixels over 1 level |\n|---|---|---|---|---|---|")
    for name in names:
        side, tile, overlaps = MODELS[name]
        own = assets / "weights" / f"{name}.ncnn.bin"
        model = str(own) if own.exists() else name
        pictures = crops(assets, side, 3)
        whole = Upscaler(model, precision="exact", tile=0, flat_lock=False)
        wanted = [whole.upscale(picture).astype(int) for picture in pictures]
        for overlap in overlaps:
            tiled = Upscaler(
                whole.generator, engine=whole.engine, precision="exact", tile=tile, overlap=overlap, flat_lock=False
            )
            pairs = zip(pictures, wanted, strict=True)
            off = np.concatenate([np.abs(tiled.upscale(picture) - truth).ravel() for picture, truth in pairs])
            print(
                f"| {name} | {overlap} | {off.max()} | {np.quantile(off, 0.9999):.0f} | {off.mean():.4f} |"
                f" {(off > 1).mean() * 100:.4f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
