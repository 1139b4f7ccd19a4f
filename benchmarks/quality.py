"""Y PSNR of published weights on Set5 and Set14 x4 (BT.601 studio-range luma, 4 pixels cropped, mean over pictures).

Inputs are MATLAB-bicubic, from the folder that TESSERA_ASSETS names. RCAN's stored outputs are scored as well: the
paper says 32.63 dB, which checks the measure. `python benchmarks/quality.py [MODEL ...]`.
"""

import math
import os
import sys
from pathlib import Path

import numpy as np
import torch

from tessera import Upscaler, read_picture
from tessera.color import luma_matlab
from tessera.mosaic import to_tensor
from tessera.resize import resize

MODELS = ("realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3", "realsr-df2k")
CROP = 4


def rgb(path: Path) -> torch.Tensor:
    return as_tensor(read_picture(path).pixels)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return to_tensor(np.stack((pixels,) * 3, -1) if pixels.ndim == 2 else pixels)


def psnr_y(sr: torch.Tensor, gt: torch.Tensor) -> float:
    inside = (slice(None), slice(None), slice(CROP, -CROP), slice(CROP, -CROP))
    error = (luma_matlab(sr.double()) - luma_matlab(gt.double()))[inside]
    return 10 * math.log10(255**2 / float((error**2).mean()))


def rounded(image: torch.Tensor) -> torch.Tensor:
    return (image.clamp(0, 1) * 255).round() / 255


def main() -> None:
    bench = Path(os.environ["TESSERA_ASSETS"]) / "bench"
    rcan = bench / "Set5"
    scores = [
        psnr_y(rgb(path), rgb(rcan / "RCAN_HR_x4" / path.name.replace("_RCAN_", "_HR_")))
        for path in sorted((rcan / "RCAN_x4").iterdir())
    ]
    print(f"RCAN's stored outputs on Set5: {np.mean(scores):.2f} dB (paper: 32.63)")
    print("| model | Set5 | Set14 |\n|---|---|---|")
    for name in ("bicubic", *(sys.argv[1:] or MODELS)):
        upscaler = None if name == "bicubic" else Upscaler(name, precision="exact", tile=0)
        means = []
        for data in ("Set5", "Set14"):
            scores = []
            for path in sorted((bench / data / "LR_x4").iterdir()):
                lq, gt = rgb(path), rgb(bench / data / "HR_x4" / path.name)
                if upscaler is None:
                    sr = rounded(resize(lq.double(), scale=4))
                else:
                    sr = as_tensor(upscaler.upscale(read_picture(path).pixels))
                scores.append(psnr_y(sr, gt))
            means.append(np.mean(scores))
        print(f"| {name} | {means[0]:.2f} | {means[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
