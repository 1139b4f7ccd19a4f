"""The generators: their configurations, one folder per network, and the list of them all.

Nothing here imports PyTorch; the networks, which need it, are imported when a configuration builds one.

>>> [generator.name for generator in GENERATORS]
['rrdbnet', 'srvggnetcompact', 'esrdnet', 'esrgan-pytorch', 'pytorch-gan', 'esrgan-plus']
"""

from tessera.generators.config import GeneratorConfig
from tessera.generators.esrdnet.declaration import ESRDnetConfig
from tessera.generators.esrgan_plus.declaration import ESRGANPlusConfig
from tessera.generators.esrgan_pytorch.declaration import ESRGANPytorchConfig
from tessera.generators.generator import Generator
from tessera.generators.kinds import CONFIG_KEY, GENERATORS, config_from_json, find_generator, list_names
from tessera.generators.pytorch_gan.declaration import PyTorchGANConfig
from tessera.generators.rrdbnet.declaration import RRDBNetConfig
from tessera.generators.srvgg.declaration import SRVGGNetCompactConfig

__all__ = [
    "CONFIG_KEY",
    "GENERATORS",
    "ESRDnetConfig",
    "ESRGANPlusConfig",
    "ESRGANPytorchConfig",
    "Generator",
    "GeneratorConfig",
    "PyTorchGANConfig",
    "RRDBNetConfig",
    "SRVGGNetCompactConfig",
    "config_from_json",
    "find_generator",
    "list_names",
]
