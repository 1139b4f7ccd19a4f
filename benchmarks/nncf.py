"""NNCF against an int8 file of `tessera quantize`, calibrated and measured on the same pictures.

`python benchmarks/nncf.py MODEL INT8.xml [SIDE]`, with `pip install nncf`; TESSERA_ASSETS names the folder with
`photos/train`, `photos/val` and `weights`. The loss is that of `tessera quantize`: PSNR of Y to the reference, centers
of `photos/val` with inputs of SIDE (96). Times are the minimum processor seconds of one input of 128x128, in turn.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tessera.deploy.drop import measure_drop
from tessera.deploy.held_out import calibration_batch, make_pair, read_folder
from tessera.deploy.int8_settings import Int8Settings
from tessera.deploy.openvino_ir import write_openvino
from tessera.deploy.settings import ExportSettings
from tessera.evaluate.protocol import find_protocol
from tessera.zoo.models import load_model

ROUNDS = 7


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    import nncf
    import openvino

    model, file, side = sys.argv[1], Path(sys.argv[2]), int((*sys.argv[3:], "96")[0])
    assets, settings = Path(os.environ["TESSERA_ASSETS"]), Int8Settings()
    own = assets / "weights" / f"{model}.pth"
    loaded = load_model(str(own) if own.is_file() else model)
    channels, core = loaded.config.in_channels, openvino.Core()
    theirs = read_folder(assets / "photos" / "train", "--calibration", channels, fewest=8, most=settings.pictures)
    crops = calibration_batch(
        [each for number, each in enumerate(theirs) if number % 4 != 3], loaded.config, settings.side
    )
    held_out = read_folder(assets / "photos" / "val", "--eval", channels, fewest=1, most=settings.eval_pictures)
    pairs = [pair for each in held_out if (pair := make_pair(each, loaded.config, side)) is not None]
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        plain = Path(folder) / "plain.xml"
        write_openvino(plain, loaded.config, loaded.state, ExportSettings(format="openvino"), {})
        models = {f"tessera, {file.name}": core.read_model(file)}
        for preset in (nncf.QuantizationPreset.PERFORMANCE, nncf.QuantizationPreset.MIXED):
            data = nncf.Dataset([crop[None].numpy() for crop in crops])
            models[f"nncf {nncf.__version__}, {preset.value}"] = nncf.quantize(
                core.read_model(plain), data, preset=preset, subset_size=len(crops)
            )
        options = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = {name: core.compile_model(each, "CPU", options) for name, each in models.items()}
        originals = [loaded.network(pair.lq) for pair in pairs]
        picture = np.random.default_rng(0).random((1, channels, 128, 128), np.float32)
        least = dict.fromkeys(compiled, np.inf)
        for _ in range(ROUNDS + 1):  # the first has to prepare itself, and is never the least
            for name, each in compiled.items():
                began = time.process_time()
                each(picture)
                least[name] = min(least[name], time.process_time() - began)
        print("| int8 by | loses, dB | of SSIM | PSNR to fp32 | processor s, 128x128 |\n|---|---:|---:|---:|---:|")
        for name, each in compiled.items():

            def run(lq: torch.Tensor, each=each) -> torch.Tensor:
                return torch.from_numpy(each(lq.numpy())[0].copy())

            drop = measure_drop(pairs, originals, run, find_protocol("paper"))
            print(
                f"| {name} | {drop.psnr_db:.3f} | {drop.ssim:.4f} | {drop.fidelity_db:.1f} | {least[name]:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
