"""Small networks of every kind, each of whose numbers matters."""

from __future__ import annotations

import torch

from stand_ins import loaded
from tessera.generators import (
    ESRDnetConfig,
    ESRGANPlusConfig,
    ESRGANPytorchConfig,
    GeneratorConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)
from tessera.weights.files import LoadedGenerator

FAMILY: dict[str, GeneratorConfig] = {
    "rrdbnet": RRDBNetConfig(features=8, growth=4, blocks=1),
    "rrdbnet x2": RRDBNetConfig(features=8, growth=4, blocks=1, scale=2),
    "srvggnetcompact": SRVGGNetCompactConfig(features=8, convolutions=2, scale=3),
    "esrdnet": ESRDnetConfig(features=8, growth=4, blocks=1, scale=2, lff_kernel=1, hr_kernel=5, rdb_residual=0.3),
    "esrgan-pytorch": ESRGANPytorchConfig(features=8, growth=4, blocks=1),
    "esrgan-plus": ESRGANPlusConfig(features=8, growth=4, blocks=1, scale=2),
    "pytorch-gan": PyTorchGANConfig(features=8, blocks=1, scale=2),
}
SUFFIXES = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "torchscript": ".pt",
    "ncnn": ".param",
    "safetensors": ".safetensors",
}


def made(config: GeneratorConfig, seed: int = 0) -> LoadedGenerator:
    """Fresh slopes are all alike, and fresh biases small; here they are not."""
    torch.manual_seed(seed)
    network = config.build()
    with torch.no_grad():
        for value in network.parameters():
            if value.ndim == 1:
                value.uniform_(-0.3, 0.3)
    return loaded(network, config, "small")


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))
