"""Names of weights files: format and scale."""

from __future__ import annotations

import re
from pathlib import Path

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt")
PARAM_SUFFIX = ".param"
VALUES_SUFFIX = ".bin"
"""Values of ncnn's and OpenVINO's models, next to the description of their layers."""
NCNN_SUFFIXES = (PARAM_SUFFIX, VALUES_SUFFIX)
ARCHIVE_SUFFIX = ".zip"
"""A ZIP archive with one checkpoint in it."""
ONNX_SUFFIX = ".onnx"
OPENVINO_SUFFIX = ".xml"
WEIGHTS_SUFFIXES = (*CHECKPOINT_SUFFIXES, ".safetensors", *NCNN_SUFFIXES, ONNX_SUFFIX, OPENVINO_SUFFIX, ARCHIVE_SUFFIX)


def find_scale(name: str) -> int | None:
    """Find the scale in a file's name: `4x_Sharp`, `2xModel`, `esrgan_x3`.

    >>> find_scale("3x_Faces"), find_scale("RRDB_ESRGAN_x4"), find_scale("model_512x512")
    (3, 4, None)
    """
    match = re.search(r"(?<![0-9A-Za-z])([1-8])[xX](?![0-9])|(?<![0-9A-Za-z])[xX]([1-8])(?![0-9])", name)
    return int(match[1] or match[2]) if match else None


def derive_name(path: Path) -> str:
    """The name of the generator in a file: the file's name without its suffixes."""
    return path.stem.removesuffix(".ncnn")
