"""RRDBNet in bf16 with its trunk in fp32 is the same network, and nearer to it than bf16 throughout."""

import copy
from typing import Any

import pytest
import torch

from stand_ins import loaded, ran
from tessera.engines.pytorch.engine import TorchEngine
from tessera.generators import RRDBNetConfig
from tessera.generators.rrdbnet.wide_trunk import run_with_wide_trunk


def network(**sizes: int) -> Any:
    config = RRDBNetConfig.model_validate({"blocks": 3, "features": 16, "growth": 8, **sizes})
    torch.manual_seed(1)
    return config.build().eval().requires_grad_(False)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sizes", [{}, {"unshuffle": 2, "scale": 2}, {"scale": 2, "stages": (2,)}, {"blocks": 1}])
def test_in_one_type_it_is_the_networks_own_arithmetic(sizes):
    own = network(**sizes).double()
    x = noise(2, 3, 12, 16).double()
    torch.testing.assert_close(run_with_wide_trunk(own, x), own(x), rtol=1e-12, atol=1e-12)


def test_the_error_of_bf16_becomes_smaller():
    own, x = network(blocks=8, features=32, growth=16), noise(1, 3, 24, 24)
    exact = own(x)
    narrow = copy.deepcopy(own).bfloat16()(x.bfloat16()).float()
    wide = ran(TorchEngine(loaded(own, own.config), "bf16"), x)
    assert wide.dtype == torch.float32
    assert (wide - exact).square().mean() < 0.7 * (narrow - exact).square().mean()


def test_the_loaded_network_keeps_its_types():
    own = network()
    ran(TorchEngine(loaded(own, own.config), "bf16"), noise(1, 3, 8, 8))
    assert {parameter.dtype for parameter in own.parameters()} == {torch.float32}
