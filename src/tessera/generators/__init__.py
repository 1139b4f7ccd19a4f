"""The generators: one file per network with its configuration, and the list of them all.

>>> [generator.name for generator in GENERATORS]
['rrdbnet', 'srvggnetcompact', 'esrdnet', 'esrgan-pytorch', 'pytorch-gan']
"""

from dataclasses import dataclass

from tessera.generators.config import GeneratorConfig
from tessera.generators.esrdnet import ESRDnet, ESRDnetConfig
from tessera.generators.esrgan_pytorch import ESRGANPytorch, ESRGANPytorchConfig
from tessera.generators.pytorch_gan import GeneratorRRDB, PyTorchGANConfig
from tessera.generators.rrdbnet import RRDBNet, RRDBNetConfig
from tessera.generators.srvgg import SRVGGNetCompact, SRVGGNetCompactConfig


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
