"""What an exported file says of itself: which network, from which weights, under which license, how true to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tessera.version import __version__
from tessera.weights.files import CONFIG_KEY, LoadedGenerator
from tessera.weights.license import LICENSE_KEY
from tessera.zoo.int8_file import SOURCE_KEY
from tessera.zoo.interpolation import MIXED_FROM_KEY

if TYPE_CHECKING:
    from tessera.deploy.checking import ExportDifference
    from tessera.deploy.settings import ExportSettings

MEASURED_KEY = "tessera.measured"
PICTURES_KEY = "tessera.measured_on_pictures"
_OF_THE_FILE = (
    *("tessera.format", "tessera.scale", "tessera.value_range", "tessera.precision", "tessera.exported_by"),
    *(LICENSE_KEY, MEASURED_KEY, PICTURES_KEY),
)


def describe_provenance(loaded: LoadedGenerator) -> dict[str, str]:
    """Where weights come from and under which license; what their file tells of its origin is kept."""
    told = {key: value for key, value in loaded.metadata.items() if key not in _OF_THE_FILE}
    if MIXED_FROM_KEY not in told and "tessera.source" not in told:
        told |= {"tessera.source": loaded.name, SOURCE_KEY: loaded.sha256}
        if loaded.source is not None:
            told["tessera.source_file"] = loaded.source.name
    return {**told, LICENSE_KEY: loaded.license} if loaded.license is not None else told


def build_metadata(loaded: LoadedGenerator, settings: ExportSettings) -> dict[str, str]:
    """The metadata of an exported file, before it was measured."""
    return {
        **describe_provenance(loaded),
        CONFIG_KEY: loaded.config.model_dump_json(),
        "tessera.scale": str(loaded.config.scale),
        "tessera.value_range": "RGB in [0, 1], not clipped",
        "tessera.precision": settings.precision,
        "tessera.exported_by": f"tessera {__version__}",
    }


def describe_check(
    differences: Sequence[ExportDifference], runtime: str, *, photographs: bool = False
) -> Mapping[str, str]:
    """What the check found on the built-in chart, or on photographs, with how; figures of three digits.

    Names of photographs are left out: those of the user are among them, and files are handed on.
    """
    figures: dict[str, object] = {
        "compared": "the file in its runtime with the original in PyTorch fp32, results neither clipped nor rounded",
        "pictures": len(differences) if photographs else ", ".join(each.picture for each in differences),
        "runtime": runtime,
        "largest_levels": float(f"{max(each.largest_levels for each in differences):.3g}"),
        "mean_levels": float(f"{max(each.mean_levels for each in differences):.3g}"),
        "psnr_db": _round_decibels(min(each.psnr_db for each in differences)),
    }
    return {PICTURES_KEY if photographs else MEASURED_KEY: json.dumps(figures)}


def _round_decibels(value: float) -> float | str:
    return "identical" if value == float("inf") else float(f"{value:.1f}")
