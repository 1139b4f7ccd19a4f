"""Tessera: one toolkit for the ESRGAN family of super-resolution.

>>> import tessera
>>> sorted(tessera.__all__)[:4]
['LoadedGenerator', 'Picture', 'Settings', 'TesseraError']

Names are imported when they are first used, so that `import tessera` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tessera.version import __version__

if TYPE_CHECKING:
    from tessera.errors import TesseraError
    from tessera.images.picture import Picture, read_picture
    from tessera.images.writer import write_picture
    from tessera.tiling.settings import Settings
    from tessera.upscaling.upscaler import Upscaler, upscale
    from tessera.weights.files import save_weights
    from tessera.weights.loaded_generator import LoadedGenerator
    from tessera.zoo.models import load_model as load_generator

__all__ = [
    "LoadedGenerator",
    "Picture",
    "Settings",
    "TesseraError",
    "Upscaler",
    "__version__",
    "load_generator",
    "read_picture",
    "save_weights",
    "upscale",
    "write_picture",
]

_HOMES = {
    "LoadedGenerator": "tessera.weights.loaded_generator",
    "Picture": "tessera.images.picture",
    "Settings": "tessera.tiling.settings",
    "TesseraError": "tessera.errors",
    "Upscaler": "tessera.upscaling.upscaler",
    "load_generator": "tessera.zoo.models:load_model",
    "read_picture": "tessera.images.picture",
    "save_weights": "tessera.weights.files",
    "upscale": "tessera.upscaling.upscaler",
    "write_picture": "tessera.images.writer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tessera' has no attribute {name!r}")
    module, _, original = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(module), original or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
