"""The arithmetic of configurations, against published numbers and against the networks themselves."""

import pytest
import torch
from pydantic import ValidationError

from tessera.generators import (
    GENERATORS,
    ESRDnetConfig,
    ESRGANPytorchConfig,
    GeneratorConfig,
    PyTorchGANConfig,
    RRDBNetConfig,
    SRVGGNetCompactConfig,
)

SMALL: list[GeneratorConfig] = [
    RRDBNetConfig(features=4, blocks=1, growth=3),
    RRDBNetConfig(scale=2, features=4, blocks=1, growth=3),
    RRDBNetConfig(scale=1, features=4, blocks=1, growth=3),
    RRDBNetConfig(scale=8, features=4, blocks=1, growth=3),
    RRDBNetConfig(scale=3, features=4, blocks=1, growth=3),
    RRDBNetConfig(scale=1, features=4, blocks=1, growth=3, unshuffle=1, stages=()),
    RRDBNetConfig(scale=2, features=4, blocks=1, growth=3, unshuffle=1, stages=(2,)),
    SRVGGNetCompactConfig(features=4, convolutions=3),
    SRVGGNetCompactConfig(scale=3, features=4, convolutions=2, activation="relu"),
    SRVGGNetCompactConfig(scale=1, features=4, convolutions=2, activation="leakyrelu"),
    ESRDnetConfig(features=4, blocks=1, growth=3, lff_kernel=1, hr_kernel=5),
    ESRDnetConfig(scale=2, features=4, blocks=1, growth=3),
    ESRGANPytorchConfig(features=4, blocks=1, growth=3),
    PyTorchGANConfig(features=4, blocks=1),
    PyTorchGANConfig(scale=1, features=4, blocks=1),
    PyTorchGANConfig(in_channels=1, out_channels=1, scale=2, features=4, blocks=1),
]


def count_parameters(config: GeneratorConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in config.build().parameters())


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (RRDBNetConfig(), 16_697_987),
        (RRDBNetConfig(blocks=6), 4_467_779),
        (RRDBNetConfig(scale=2), 16_703_171),
        (RRDBNetConfig(scale=1), 16_723_907),
        (SRVGGNetCompactConfig(convolutions=16), 621_424),
        (SRVGGNetCompactConfig(convolutions=32), 1_213_296),
        (ESRDnetConfig(features=128, blocks=12), 18_522_499),
        (PyTorchGANConfig(blocks=23), 38_549_123),
        (PyTorchGANConfig(blocks=16), 26_930_243),
        (ESRGANPytorchConfig(), 16_661_059),
    ],
)
def test_published_networks_have_their_published_number_of_parameters(config: GeneratorConfig, parameters: int) -> None:
    assert count_parameters(config) == parameters


def test_rrdbnet_has_702_tensors() -> None:
    with torch.device("meta"):
        assert len(RRDBNetConfig().build().state_dict()) == 702


def test_x4plus_needs_293_713_billion_multiply_adds_at_128() -> None:
    assert round(RRDBNetConfig().multiply_adds(128, 128) / 1e9, 3) == 293.713


@pytest.mark.parametrize("config", SMALL, ids=repr)
def test_multiply_adds_are_those_that_the_convolutions_do(config: GeneratorConfig) -> None:
    network, height, width = config.build().eval(), 8, 12
    done = 0

    def count(module: torch.nn.Conv2d, inputs: object, output: torch.Tensor) -> None:
        nonlocal done
        done += module.weight[0].numel() * output.numel()

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, config.in_channels, height, width))
    assert config.multiply_adds(height, width) == done


@pytest.mark.parametrize("config", SMALL, ids=repr)
def test_the_output_is_scale_times_as_large(config: GeneratorConfig) -> None:
    height, width = 4 * config.multiple, 3 * config.multiple
    with torch.no_grad():
        output = config.build()(torch.rand(2, config.in_channels, height, width))
    assert output.shape == (2, config.out_channels, height * config.scale, width * config.scale)
    assert output.dtype == torch.float32


@pytest.mark.parametrize("config", SMALL, ids=repr)
def test_the_receptive_radius_is_exactly_how_far_a_change_is_felt(config: GeneratorConfig) -> None:
    torch.manual_seed(0)
    network = config.build().double()
    for parameter in network.parameters():  # all positive, so that nothing cancels and no slope is zero
        parameter.data.abs_().add_(0.05)
    radius, cell = config.receptive_radius, config.multiple
    middle = (radius // cell + 1) * cell
    width = middle + radius + 2 * cell
    width += -width % cell
    reach = 0
    for column in range(middle, middle + cell):
        picture = torch.full((1, config.in_channels, cell, width), 0.9, dtype=torch.float64, requires_grad=True)
        output = network(picture)
        output[..., column * config.scale : (column + 1) * config.scale].sum().backward()
        assert picture.grad is not None
        felt = picture.grad.abs().sum((0, 1, 2)).nonzero().flatten()
        reach = max(reach, column - int(felt[0]), int(felt[-1]) - column)
    assert reach == radius


def test_the_radius_of_the_large_networks_is_near_the_published_one() -> None:
    assert RRDBNetConfig().receptive_radius == 349
    assert RRDBNetConfig(blocks=6).receptive_radius == 94
    assert SRVGGNetCompactConfig(convolutions=32).receptive_radius == 34
    assert SRVGGNetCompactConfig(convolutions=16).receptive_radius == 18


@pytest.mark.parametrize(("scale", "multiple"), [(1, 4), (2, 2), (3, 1), (4, 1), (8, 1)])
def test_a_scale_alone_gives_the_layout_of_basicsr(scale: int, multiple: int) -> None:
    assert RRDBNetConfig(scale=scale).multiple == multiple


@pytest.mark.parametrize(
    "values",
    [
        {"scale": 5},
        {"scale": 4, "unshuffle": 2, "stages": (2, 2)},
        {"features": 0},
        {"features": 100_000},
        {"blocks": 10_000},
        {"in_channels": -3},
        {"unknown": 1},
    ],
)
def test_a_senseless_rrdbnet_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        RRDBNetConfig.model_validate(values)


def test_even_kernels_are_refused() -> None:
    with pytest.raises(ValidationError, match="odd"):
        ESRDnetConfig(hr_kernel=4)


@pytest.mark.parametrize("config", SMALL, ids=repr)
def test_a_configuration_survives_json(config: GeneratorConfig) -> None:
    again = type(config).model_validate_json(config.model_dump_json(), strict=True)
    assert again == config
    assert hash(again) == hash(config)


def test_the_list_names_each_network_once_and_as_its_configuration_does() -> None:
    names = [generator.name for generator in GENERATORS]
    assert len(set(names)) == len(names)
    assert names == [generator.config.model_fields["network"].default for generator in GENERATORS]
