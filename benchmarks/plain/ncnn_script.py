"""The `ncnn` package driven plainly, as a program: `python ncnn_script.py WEIGHTS IN OUT` with WEIGHTS.param and .bin.

ncnn's own defaults on the processor, the whole picture at once.
"""

import os
import sys

import ncnn
import numpy as np
from PIL import Image


def main():
    weights, source, target = sys.argv[1:]
    net = ncnn.Net()
    net.opt.num_threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    if net.load_param(f"{weights}.param") or net.load_model(f"{weights}.bin"):
        raise SystemExit("ncnn cannot load these files")
    pixels = np.asarray(Image.open(source).convert("RGB"))
    extractor = net.create_extractor()
    lq = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / 255
    extractor.input("in0", ncnn.Mat(lq))
    code, mat = extractor.extract("out0")
    if code:
        raise SystemExit(f"ncnn gave the error {code}")
    result = np.asarray(mat).clip(0, 1).transpose(1, 2, 0)
    Image.fromarray((result * 255).round().astype(np.uint8)).save(target)


if __name__ == "__main__":
    main()
