"""Where the int8 form of a model lies, if somebody made one here: beside its weights, or in the models folder.

It counts only when it says which weights it was made from and what it was measured to lose.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tessera.weights import LoadedGenerator, inspect_weights
from tessera.zoo import models_folder

QUANTIZED_KEY = "tessera.quantized"
"""Where in a file's metadata it stands how it was quantized and what it loses, as JSON."""
SOURCE_KEY = "tessera.source_sha256"
ENDINGS = (".int8.xml", ".int8.onnx")
_DIGITS = 16


@dataclass(frozen=True)
class Int8File:
    """A file with whole numbers, and what it was measured to lose, in dB of PSNR."""

    path: Path
    psnr_drop_db: float


def int8_places(loaded: LoadedGenerator, folder: Path | None = None) -> tuple[Path, ...]:
    """Where the int8 form of a model may lie: `NAME.int8.xml` beside its weights, `SHA256.int8.xml` in the folder.

    The digest is the first 16 digits of the weights' SHA-256; `folder` is the models folder if none is named.
    OpenVINO's form comes before ONNX.
    """
    beside = (
        () if loaded.source is None else tuple(loaded.source.with_name(loaded.source.stem + end) for end in ENDINGS)
    )
    named = tuple((folder or models_folder()) / f"{loaded.sha256[:_DIGITS]}{end}" for end in ENDINGS)
    return (*beside, *named)


def find_int8(loaded: LoadedGenerator, *, most_db: float = math.inf, folder: Path | None = None) -> Int8File | None:
    """The int8 form of a model with a measured loss of at most `most_db`; None where there is none.

    Files that cannot be read, are of other weights, or do not say what they lose are passed over.
    """
    for path in int8_places(loaded, folder):
        if not path.is_file():
            continue
        metadata = inspect_weights(path).metadata
        lost = psnr_drop_db(metadata)
        if metadata.get(SOURCE_KEY) == loaded.sha256 and lost is not None and lost <= most_db:
            return Int8File(path, lost)
    return None


def psnr_drop_db(metadata: Mapping[str, str]) -> float | None:
    """The measured loss that a file tells, in dB; None when it tells none."""
    try:
        told: Any = json.loads(metadata.get(QUANTIZED_KEY, "null"))
    except ValueError:
        return None
    lost = cast("dict[str, object]", told).get("psnr_drop_db") if isinstance(told, dict) else None
    return float(lost) if isinstance(lost, int | float) and math.isfinite(lost) else None
