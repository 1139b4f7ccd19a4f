"""The generators: their configurations, one file per network, and the list of them all.

Networks are imported when they are first used, for they need PyTorch; configurations do not.

>>> [generator.name for generator in GENERATORS]
['rrdbnet', 'srvggnetcompact', 'esrdnet', 'esrgan-pytorch', 'pytorch-gan']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tessera.generators.config import GeneratorConfig
from tessera.generators.family import (
    ESRDnetConfig,
    ESRGANPytorchConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)
from tessera.generators.kinds import CONFIG_KEY, GENERATORS, Generator, config_from_json

if TYPE_CHECKING:
    from tessera.generators.esrdnet import ESRDnet
    from tessera.generators.esrgan_pytorch import ESRGANPytorch
    from tessera.generators.pytorch_gan import GeneratorRRDB
    from tessera.generators.rrdbnet import RRDBNet
    from tessera.generators.srvgg import SRVGGNetCompact

_HOMES = {
    "ESRDnet": "tessera.generators.esrdnet",
    "ESRGANPytorch": "tessera.generators.esrgan_pytorch",
    "GeneratorRRDB": "tessera.generators.pytorch_gan",
    "RRDBNet": "tessera.generators.rrdbnet",
    "SRVGGNetCompact": "tessera.generators.srvgg",
}


__all__ = [
    "CONFIG_KEY",
    "GENERATORS",
    "ESRDnet",
    "ESRDnetConfig",
    "ESRGANPytorch",
    "ESRGANPytorchConfig",
    "Generator",
    "GeneratorConfig",
    "GeneratorRRDB",
    "PyTorchGANConfig",
    "RRDBNet",
    "RRDBNetConfig",
    "SRVGGNetCompact",
    "SRVGGNetCompactConfig",
    "config_from_json",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tessera.generators' has no attribute {name!r}")
    network = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = network
    return network
