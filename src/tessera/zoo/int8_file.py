"""Where the int8 form of a model lies, if somebody made one here: beside its weights, or in the models folder.

It counts only when it says which weights it was made from and what it was measured to lose. That stands at the end of
OpenVINO's `.xml`, where it is found without OpenVINO and without PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tessera.storage.checksum import compute_sha256
from tessera.zoo.models import models_folder

if TYPE_CHECKING:
    from tessera.weights.loaded_generator import LoadedGenerator

QUANTIZED_KEY = "tessera.quantized"
"""Where in a file's metadata it stands how it was quantized and what it loses, as JSON."""
SOURCE_KEY = "tessera.source_sha256"
"""Where weights come from at the very first; a copy in another format has this of the original."""
QUANTIZED_FROM_KEY = "tessera.quantized_from_sha256"
"""Which model, as it was loaded, a file with whole numbers was made from: a file's digest, or a mix's."""
SEEN_KEY = "pictures_seen"
"""Where in that JSON the digests of the pictures stand that calibrated it or chose its layers."""
KEPT_KEY = "tessera.layers_in_fp32"
"""How many convolutions of a file with whole numbers have none."""
ENDING = ".int8.xml"
MOST_LOST_DB = 0.2
"""What a file may lose to be used where speed counts."""
DIGITS = 16
"""Of a digest, where it names something."""
_METADATA_BYTES = 2**18
"""The end of a file, in which its metadata are looked for."""


@dataclass(frozen=True)
class Int8File:
    """A file with whole numbers, and what it was measured to lose, in dB of PSNR."""

    path: Path
    psnr_drop_db: float
    is_all_int8: bool
    """Whether no convolution was kept in floating point."""
    sha256: str
    """Of both of its files."""


def int8_places(loaded: LoadedGenerator, folder: Path | None = None) -> tuple[Path, ...]:
    """Where the int8 form of a model may lie: `NAME.int8.xml` beside its weights, `SHA256.int8.xml` in the folder.

    The digest is the first 16 digits of the weights' SHA-256; `folder` is the models folder if none is named.
    """
    named = (folder or models_folder()) / f"{loaded.sha256[:DIGITS]}{ENDING}"
    return (named,) if loaded.source is None else (loaded.source.with_name(loaded.source.stem + ENDING), named)


def find_int8(loaded: LoadedGenerator, *, most_db: float = math.inf, folder: Path | None = None) -> Int8File | None:
    """The int8 form of a model with a measured loss of at most `most_db`; None where there is none.

    Files that cannot be read, are of other weights, or do not say what they lose are passed over.
    """
    for path in int8_places(loaded, folder):
        try:
            metadata = metadata_of(path)
            lost = psnr_drop_db(metadata)
            if metadata.get(QUANTIZED_FROM_KEY) == loaded.sha256 and lost is not None and lost <= most_db:
                return Int8File(path, lost, metadata.get(KEPT_KEY) == "0", _digest(path))
        except OSError:
            continue
    return None


def products_beside_int8(is_all_int8: bool, wanted: str) -> str:
    """What is multiplied in, of "fp32" and "bf16", where a file has no whole numbers.

    Where nothing but sums is left in floating point, fp32 is not only nearer but faster (measured: 1.02 to 1.06 times).
    """
    return "fp32" if is_all_int8 else wanted


def psnr_drop_db(metadata: Mapping[str, str]) -> float | None:
    """The measured loss that a file tells, in dB; None when it tells none."""
    lost = _told(metadata).get("psnr_drop_db")
    return float(lost) if isinstance(lost, int | float) and math.isfinite(lost) else None


def has_seen(metadata: Mapping[str, str], sha256: str) -> bool:
    """Whether a file says that it was calibrated on the picture of this digest, or its layers chosen by it."""
    seen = _told(metadata).get(SEEN_KEY)
    return isinstance(seen, list) and sha256[:DIGITS] in seen


def _told(metadata: Mapping[str, str]) -> dict[str, object]:
    """What a file says of how it was quantized; nothing where that cannot be read."""
    try:
        told: Any = json.loads(metadata.get(QUANTIZED_KEY, "null"))
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", told) if isinstance(told, dict) else {}


def metadata_of(path: Path) -> dict[str, str]:
    """What a file of OpenVINO says under Tessera's name; nothing where it says nothing."""
    with path.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - _METADATA_BYTES, 0))
        end = file.read()
    _, opening, rest = end.rpartition(b"<tessera>")
    told, closing, _ = rest.partition(b"</tessera>")
    try:  # a piece that begins with an element has no declarations, and so nothing that could grow when it is read
        found = ElementTree.fromstring(opening + told + closing)
    except ElementTree.ParseError:
        return {}
    return {each.tag: each.get("value", "") for each in found}


def _digest(path: Path) -> str:
    both = compute_sha256(path) + compute_sha256(path.with_suffix(".bin"))
    return hashlib.sha256(both.encode()).hexdigest()
