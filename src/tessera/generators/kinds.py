"""The list of all generators, and how a file's metadata names one of them."""

from __future__ import annotations

from dataclasses import dataclass

from tessera import config
from tessera.generators.config import GeneratorConfig
from tessera.generators.family import (
    ESRDnetConfig,
    ESRGANPytorchConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)

CONFIG_KEY = "tessera.config"
"""Where the metadata of a weights file has the configuration."""


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


def config_from_json(text: str) -> GeneratorConfig:
    """Rebuild a configuration from the JSON that `save_weights` put into the metadata.

    Raises WeightsError for anything but a complete configuration of a known network.
    """
    return config.config_from_json(text, CONFIG_KEY, GENERATORS)
