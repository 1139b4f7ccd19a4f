"""The int8 file of a model, if one was made on this machine: next to its weights, or in the models folder.

It is used only if it names the weights it was quantized from and its measured loss. Both are stored at the end of
OpenVINO's `.xml`, where they are found without OpenVINO and without PyTorch.
"""

from __future__ import annotations

import json
import math
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tessera.weights.parts import compute_digest
from tessera.zoo.fetching import models_folder

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator

QUANTIZED_KEY = "tessera.quantized"
"""Metadata key: how the file was quantized and its measured loss, as JSON."""
SOURCE_KEY = "tessera.source_sha256"
"""Metadata key: the digest of the original weights; a copy in another format has that of the original."""
QUANTIZED_FROM_KEY = "tessera.quantized_from_sha256"
"""Metadata key: the digest of the model that was quantized, a file or a blend."""
SEEN_KEY = "pictures_seen"
"""Key in that JSON: digests of the pictures that were used for calibration or for choosing layers."""
KEPT_KEY = "tessera.layers_in_fp32"
"""Metadata key: number of convolutions that stayed in floating point."""
ENDING = ".int8.xml"
MOST_LOST_DB = 0.2
"""Largest loss of a file that is used when speed is preferred."""
DIGITS = 16
"""Length of a digest in names."""
_METADATA_BYTES = 2**18
"""Size of the end of a file that is searched for metadata."""


@dataclass(frozen=True)
class Int8File:
    """An int8 file and its measured loss in dB of PSNR."""

    path: Path
    psnr_drop_db: float
    is_all_int8: bool
    """Whether no convolution stayed in floating point."""
    sha256: str
    """Of both of its files."""


def list_int8_paths(loaded: LoadedGenerator, folder: Path | None = None) -> tuple[Path, ...]:
    """List the paths of a model's int8 file: `NAME.int8.xml` next to its weights, `SHA256.int8.xml` in the folder.

    SHA256 is the first 16 digits of the weights' checksum; `folder` is the models folder by default.
    """
    named = (folder or models_folder()) / f"{loaded.sha256[:DIGITS]}{ENDING}"
    return (named,) if loaded.source is None else (loaded.source.with_name(loaded.source.stem + ENDING), named)


def find_int8(loaded: LoadedGenerator, *, most_db: float = math.inf, folder: Path | None = None) -> Int8File | None:
    """Find the int8 file of a model with a measured loss of at most `most_db`; None if there is none.

    Files that cannot be read, belong to other weights or state no loss are skipped.
    """
    for path in list_int8_paths(loaded, folder):
        try:
            metadata = read_openvino_metadata(path)
            lost = read_psnr_drop_db(metadata)
            if metadata.get(QUANTIZED_FROM_KEY) == loaded.sha256 and lost is not None and lost <= most_db:
                return Int8File(path, lost, metadata.get(KEPT_KEY) == "0", compute_digest(path))
        except OSError:
            continue
    return None


def choose_float_precision(is_all_int8: bool, precision: str) -> str:
    """Choose "fp32" or "bf16" for the layers of an int8 file that stayed in floating point.

    If only additions stayed in floating point, fp32 is both more accurate and faster (measured: 1.02x to 1.06x).
    """
    return "fp32" if is_all_int8 else precision


def read_psnr_drop_db(metadata: Mapping[str, str]) -> float | None:
    """Read the measured loss from a file's metadata, in dB; None if absent."""
    lost = _read_quantization(metadata).get("psnr_drop_db")
    return float(lost) if isinstance(lost, int | float) and math.isfinite(lost) else None


def was_calibrated_on(metadata: Mapping[str, str], sha256: str) -> bool:
    """Whether the picture with this digest was used to calibrate the file or to choose its layers."""
    seen = _read_quantization(metadata).get(SEEN_KEY)
    return isinstance(seen, list) and sha256[:DIGITS] in seen


def _read_quantization(metadata: Mapping[str, str]) -> dict[str, object]:
    """Read how a file was quantized from its metadata; empty if absent or damaged."""
    try:
        found: Any = json.loads(metadata.get(QUANTIZED_KEY, "null"))
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def read_openvino_metadata(path: Path) -> dict[str, str]:
    """Read Tessera's metadata from an OpenVINO `.xml`; empty if absent or damaged."""
    with path.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - _METADATA_BYTES, 0))
        end = file.read()
    _, opening, rest = end.rpartition(b"<tessera>")
    inside, closing, _ = rest.partition(b"</tessera>")
    try:  # text that starts with an element has no declarations, so no entities that could expand
        found = ElementTree.fromstring(opening + inside + closing)
    except ElementTree.ParseError:
        return {}
    return {each.tag: each.get("value", "") for each in found}
