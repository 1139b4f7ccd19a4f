"""The generators: their configurations, one file per network, and the list of them all.

Networks are imported when they are first used, for they need PyTorch; configurations do not.

>>> [generator.name for generator in GENERATORS]
['rrdbnet', 'srvggnetcompact', 'esrdnet', 'esrgan-pytorch', 'pytorch-gan']
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tessera.generators.config import GeneratorConfig
from tessera.generators.family import (
    ESRDnetConfig,
    ESRGANPytorchConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)

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


@dataclass(frozen=True)
class Generator:
    """One kind of network: its name in configurations, the configuration and what it is."""

    name: str
    config: type[GeneratorConfig]
    summary: str


GENERATORS: tuple[Generator, ...] = (
    Generator("rrdbnet", RRDBNetConfig, "RRDBNet of ESRGAN, Real-ESRGAN and A-ESRGAN"),
    Generator("srvggnetcompact", SRVGGNetCompactConfig, "SRVGGNetCompact, the small network of Real-ESRGAN"),
    Generator("esrdnet", ESRDnetConfig, "ESRDnet of esrdgan, RRDBNet with a choice of kernel sizes"),
    Generator("esrgan-pytorch", ESRGANPytorchConfig, "the generator of ESRGAN-Pytorch, one shared enlargement"),
    Generator("pytorch-gan", PyTorchGANConfig, "GeneratorRRDB of PyTorch-GAN, wide dense blocks and pixel shuffle"),
)

__all__ = [
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
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tessera.generators' has no attribute {name!r}")
    network = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = network
    return network
