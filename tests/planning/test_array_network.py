"""The network in NumPy against PyTorch, which it shares no code with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stand_ins import loaded, nearest
from tessera.generators import (
    ESRDnetConfig,
    ESRGANPlusConfig,
    ESRGANPytorchConfig,
    GeneratorConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)
from tessera.planning.array_network import can_run_in_numpy, run_in_numpy

FAMILY = (
    RRDBNetConfig(features=8, blocks=2, growth=4),
    RRDBNetConfig(features=8, blocks=1, growth=4, scale=2),
    SRVGGNetCompactConfig(features=8, convolutions=3),
    ESRDnetConfig(features=8, blocks=1, growth=4),
    ESRGANPytorchConfig(features=8, blocks=1, growth=4),
    PyTorchGANConfig(features=8, blocks=1),
    ESRGANPlusConfig(features=8, blocks=1, growth=4),
)


@pytest.mark.parametrize("config", FAMILY, ids=lambda config: f"{config.network} x{config.scale}")
def test_it_computes_what_pytorch_computes(config: GeneratorConfig):
    torch.manual_seed(0)
    network = config.build().eval()
    tiles = np.random.default_rng(0).random((2, 3, 10, 14), np.float32)
    generator = loaded(network, config)
    assert can_run_in_numpy(generator)
    with torch.inference_mode():
        expected = network(torch.from_numpy(tiles)).numpy()
    np.testing.assert_allclose(run_in_numpy(generator, tiles), expected, atol=1e-5)


def test_a_network_that_is_not_its_drawing_is_not_run():
    assert not can_run_in_numpy(nearest())
