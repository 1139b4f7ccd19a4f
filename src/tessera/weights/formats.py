"""The format of a weights file: decided by its content, never by its name alone.

Whatever library opens a file afterwards is told this format, so that it cannot decide otherwise. OpenVINO, for example,
opens ONNX, TensorFlow and Paddle models under any name if it is left to guess.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from tessera.errors import WeightsError
from tessera.weights.names import (
    ARCHIVE_SUFFIX,
    CHECKPOINT_SUFFIXES,
    ONNX_SUFFIX,
    OPENVINO_SUFFIX,
    VALUES_SUFFIX,
    WEIGHTS_SUFFIXES,
)
from tessera.weights.onnx_parts import list_external_data
from tessera.weights.parts import find_description
from tessera.weights.signatures import HEAD_BYTES, ZIP_MAGIC, looks_like_safetensors, require_openvino
from tessera.weights.torchscript_file import is_torchscript

Format = Literal["checkpoint", "torchscript", "safetensors", "ncnn", "onnx", "openvino"]

TITLES: dict[Format, str] = {
    "checkpoint": "a PyTorch checkpoint",
    "torchscript": "a TorchScript archive",
    "safetensors": "a safetensors file",
    "ncnn": "an ncnn model",
    "onnx": "an ONNX model",
    "openvino": "an OpenVINO model",
}


def identify_format(path: Path) -> Format:
    """Identify the format of a weights file from its content.

    Pairs of files and ONNX files keep their suffix, which names the second file; their content must agree. The other
    formats are single files, which are recognized under each other's suffixes.

    Raises WeightsError, without the file's name, for an unknown suffix and for content that contradicts it.
    """
    suffix = path.suffix.lower()
    if suffix not in WEIGHTS_SUFFIXES:
        raise WeightsError(
            f"weights files end in {', '.join(WEIGHTS_SUFFIXES)}, and this one ends in {suffix or 'nothing'}. Give"
            " one of those, or rename the file if it is one."
        )
    try:
        with path.open("rb") as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(HEAD_BYTES)
        if suffix == ONNX_SUFFIX:
            list_external_data(path)
            return "onnx"
    except OSError as error:
        raise WeightsError(f"cannot read this file ({error.strerror or error}).") from error
    description = find_description(path)
    if description is not None:
        if description.suffix.lower() != OPENVINO_SUFFIX:
            return "ncnn"  # its text begins with a number that the reader demands
        if description == path:
            require_openvino(head, size)
        return "openvino"
    found = _identify_single_file(path, head, size)
    if found is None and suffix == VALUES_SUFFIX:
        return "ncnn"  # whose reader names the missing file
    return found or ("safetensors" if suffix == ".safetensors" else "checkpoint")


def has_usual_suffix(path: Path, found: Format) -> bool:
    """Whether a file of this format has the suffix that other programs expect."""
    usual: dict[Format, tuple[str, ...]] = {
        "checkpoint": (*CHECKPOINT_SUFFIXES, ARCHIVE_SUFFIX),
        "torchscript": CHECKPOINT_SUFFIXES,
        "safetensors": (".safetensors",),
    }
    return found not in usual or path.suffix.lower() in usual[found]


def _identify_single_file(path: Path, head: bytes, size: int) -> Format | None:
    if looks_like_safetensors(head, size):
        return "safetensors"
    if head.startswith(ZIP_MAGIC):
        return "torchscript" if is_torchscript(path) else "checkpoint"
    return "checkpoint" if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" else None
