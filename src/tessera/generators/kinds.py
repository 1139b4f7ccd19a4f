"""The list of all generators, and the lookups in it.

To add a generator, write a folder with its declaration and its network and add one line here.
"""

from __future__ import annotations

from tessera import config
from tessera.generators.config import GeneratorConfig
from tessera.generators.esrdnet.declaration import ESRDNET
from tessera.generators.esrgan_plus.declaration import ESRGAN_PLUS
from tessera.generators.esrgan_pytorch.declaration import ESRGAN_PYTORCH
from tessera.generators.generator import Generator
from tessera.generators.pytorch_gan.declaration import PYTORCH_GAN
from tessera.generators.rrdbnet.declaration import RRDBNET
from tessera.generators.srvgg.declaration import SRVGG

CONFIG_KEY = "tessera.config"
"""The metadata key of the configuration in a weights file."""

GENERATORS: tuple[Generator, ...] = (RRDBNET, SRVGG, ESRDNET, ESRGAN_PYTORCH, PYTORCH_GAN, ESRGAN_PLUS)


def find_generator(config: GeneratorConfig) -> Generator | None:
    """Find the declaration that a configuration belongs to; None for a network from outside the family."""
    return next((generator for generator in GENERATORS if type(config) is generator.config), None)


def list_names() -> str:
    """List the names of all generators, for messages."""
    return ", ".join(generator.name for generator in GENERATORS)


def config_from_json(text: str) -> GeneratorConfig:
    """Rebuild a configuration from the JSON that `save_weights` puts into the metadata.

    Raises WeightsError for anything but a complete configuration of a known network.
    """
    return config.config_from_json(text, CONFIG_KEY, GENERATORS)
