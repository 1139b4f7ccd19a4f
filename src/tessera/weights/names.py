"""Names of weights files: format, scale, and the second file of a pair."""

from __future__ import annotations

import re
from pathlib import Path

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt")
NCNN_SUFFIXES = (".param", ".bin")
ONNX_SUFFIX = ".onnx"
OPENVINO_SUFFIX = ".xml"
WEIGHTS_SUFFIXES = (*CHECKPOINT_SUFFIXES, ".safetensors", *NCNN_SUFFIXES, ONNX_SUFFIX, OPENVINO_SUFFIX)


def scale_in_name(name: str) -> int | None:
    """Find the scale that a file's name tells: `4x_Sharp`, `2xModel`, `esrgan_x3`.

    >>> scale_in_name("3x_Faces"), scale_in_name("RRDB_ESRGAN_x4"), scale_in_name("model_512x512")
    (3, 4, None)
    """
    match = re.search(r"(?<![0-9A-Za-z])([1-8])[xX](?![0-9])|(?<![0-9A-Za-z])[xX]([1-8])(?![0-9])", name)
    return int(match[1] or match[2]) if match else None


def generator_name(path: Path) -> str:
    """The name of the generator in a file, which is the file's own without its endings."""
    return path.stem.removesuffix(".ncnn")


def hashed_file(path: Path) -> Path:
    """The file whose SHA-256 stands for the weights: the `.bin` of ncnn's or OpenVINO's two, else the file itself."""
    return path.with_suffix(".bin") if path.suffix.lower() in (".param", OPENVINO_SUFFIX) else path
