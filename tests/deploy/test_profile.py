"""What a network costs, against published figures, PyTorch's own counting and a network small enough for paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stand_ins import nearest
from tessera.deploy.profile import Operation, find_peak_values, profile_network
from tessera.errors import UsageError
from tessera.generators import (
    ESRDnetConfig,
    ESRGANPytorchConfig,
    GeneratorConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)

PUBLISHED: dict[str, tuple[GeneratorConfig, str, int]] = {
    "x4plus": (RRDBNetConfig(), "653.675", 16_697_987),
    "anime 6B": (RRDBNetConfig(blocks=6), "208.149", 4_467_779),
    "x2plus": (RRDBNetConfig(scale=2), "163.466", 16_703_171),
    "animevideov3": (SRVGGNetCompactConfig(), "22.586", 621_424),
    "general-x4v3": (SRVGGNetCompactConfig(convolutions=32), "44.098", 1_213_296),
}
FAMILY: tuple[GeneratorConfig, ...] = (
    RRDBNetConfig(features=8, growth=4, blocks=2, scale=2),
    SRVGGNetCompactConfig(features=8, convolutions=2, scale=3),
    ESRDnetConfig(features=8, growth=4, blocks=1, lff_kernel=1, hr_kernel=5),
    ESRGANPytorchConfig(features=8, growth=4, blocks=1),
    PyTorchGANConfig(features=8, blocks=1, scale=2),
)


@pytest.mark.parametrize(("config", "flops", "parameters"), PUBLISHED.values(), ids=PUBLISHED)
def test_the_published_figures_of_vastmodelzoo_come_out_to_their_last_digit(config, flops, parameters):
    found = profile_network(config, 128, 128)
    assert f"{found.vacc_gflops:.3f}" == flops
    assert found.parameters == parameters


def test_the_plain_figure_of_x4plus_stands_beside_it():
    found = profile_network(RRDBNetConfig(), 128, 128)
    assert f"{found.gflop:.1f}" == "587.4"
    assert found.multiply_adds + found.biases == 293_971_165_184
    assert found.leaky_values == 182_452_224


def test_slopes_are_left_out_of_parameters_where_that_tool_chain_does():
    assert profile_network(SRVGGNetCompactConfig(), 8, 8).parameters_without_slopes == 620_336
    assert profile_network(SRVGGNetCompactConfig(convolutions=32), 8, 8).parameters_without_slopes == 1_211_184
    assert profile_network(RRDBNetConfig(), 8, 8).parameters_without_slopes == 16_697_987


@pytest.mark.parametrize("config", FAMILY, ids=lambda config: config.network)
def test_the_counts_are_what_pytorch_does(config):
    counted = {"multiply_adds": 0, "biases": 0, "values": 0}

    def convolved(module: nn.Module, _: tuple[Tensor], out: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        counted["values"] += out.numel()
        counted["biases"] += out.numel()
        counted["multiply_adds"] += out.numel() * module.in_channels * module.kernel_size[0] ** 2

    network = config.build()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(convolved)
    height, width = 6, 10
    with torch.no_grad():
        network(torch.rand(1, 3, height, width))
    found = profile_network(config, height, width)
    (convolutions,) = [each for each in found.layers if each.kind == "convolution"]
    assert (found.multiply_adds, found.biases, convolutions.values) == (
        counted["multiply_adds"],
        counted["biases"],
        counted["values"],
    )
    assert found.multiply_adds == config.multiply_adds(height, width)
    assert found.parameters == sum(each.numel() for each in network.parameters())


def test_memory_between_layers_is_what_paper_says():
    # x2, two features: picture 3, two feature maps of 2, 12 before the shuffle, 12 after; all for each input pixel.
    found = profile_network(SRVGGNetCompactConfig(features=2, convolutions=1, scale=2, activation="relu"), 10, 10)
    written = {each.kind: each.values for each in found.layers}
    assert written == {
        "convolution": 100 * (2 + 2 + 12),
        "activation": 100 * (2 + 2),
        "rearrangement": 100 * 12,
        "upsampling": 100 * 12,
        "sum": 100 * 12,
    }
    # The most is alive while the sum is written: its two terms and itself.
    assert found.peak_values == 100 * 36
    assert found.sum_values == sum(written.values())
    assert (found.compute_peak_bytes(), found.compute_peak_bytes(2)) == (14_400, 7_200)


def test_a_tensor_is_alive_until_its_last_reader():
    chain = [Operation("sum", (0,), 5), Operation("sum", (1,), 7), Operation("sum", (2, 0), 1)]
    assert find_peak_values(chain, 100, 3) == 112  # the picture, 5 and 7: it is read again at the end
    assert find_peak_values([*chain[:2], Operation("sum", (2,), 1)], 100, 3) == 105


def test_sizes_and_networks_that_cannot_be_counted_are_named():
    with pytest.raises(UsageError, match="multiples of 2"):
        profile_network(RRDBNetConfig(scale=2), 128, 127)
    with pytest.raises(UsageError, match="the layers of others are unknown"):
        profile_network(nearest().config, 8, 8)
