"""Equalization changes no result: what is drawn, which channels may be scaled, and that scaling cancels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deploy.networks import FAMILY, made, noise
from tessera.deploy.dataflow import find_convolution, find_scalable, find_sources
from tessera.deploy.equalizing import equalize, name_by_layer
from tessera.deploy.int8_network import Int8Network
from tessera.generators import ESRGANPytorchConfig, RRDBNetConfig, SRVGGNetCompactConfig


def drawn(generator):
    layers = generator.config.layers
    state = {name: value.numpy() for name, value in generator.state.items()}
    return layers, name_by_layer(layers, state)


def run(generator, layers, arrays, x):
    return Int8Network(generator.config, layers, arrays, {}, {}).run(x)


@pytest.mark.parametrize("config", FAMILY.values(), ids=FAMILY)
def test_scaling_every_channel_that_may_be_scaled_leaves_the_network_as_it_was(config):
    generator = made(config)
    layers, arrays = drawn(generator)
    rng = np.random.default_rng(0)
    scales = {
        number: np.exp(rng.uniform(-3, 3, layers.all[number].channels)).astype(np.float32)
        for number in find_scalable(layers)
    }
    assert scales
    changed = equalize(layers, arrays, scales)
    x = noise(1, 3, 12, 8)
    with torch.inference_mode():
        expected = generator.network(x)
    assert torch.allclose(run(generator, layers, changed, x), expected, rtol=1e-4, atol=2e-5)
    one = find_convolution(layers, next(iter(scales)))
    assert one is not None
    assert not np.allclose(changed[f"{one.name}.weight"], arrays[f"{one.name}.weight"], rtol=0.01)


def test_maps_of_the_trunk_may_not_be_scaled():
    generator = made(RRDBNetConfig(features=8, growth=4, blocks=1))
    layers, arrays = drawn(generator)
    by_kind = {number: made.kind for number, made in enumerate(layers.all)}
    assert {by_kind[number] for number in find_scalable(layers)} == {"conv"}
    sums = [number for number in find_sources(layers) if by_kind[number] == "add"]
    assert sums
    with pytest.raises(ValueError, match="cannot be scaled"):
        equalize(layers, arrays, {sums[0]: np.full(8, 2, np.float32)})
    # in a dense block: four maps of a convolution each; behind the trunk: each enlarged map and conv_hr's
    assert len(find_scalable(layers)) == 3 * 4 + 3


def test_a_prelu_passes_scales_on_to_the_convolution_before_it():
    generator = made(SRVGGNetCompactConfig(features=8, convolutions=2))
    layers, _ = drawn(generator)
    assert [layers.all[number].kind for number in find_scalable(layers)] == ["prelu"] * 3
    found = [find_convolution(layers, number) for number in find_scalable(layers)]
    assert [layer.name for layer in found if layer is not None] == ["body.0", "body.2", "body.4"]


def test_a_module_that_is_drawn_twice_has_numbers_of_its_own_at_each_place():
    layers, arrays = drawn(made(ESRGANPytorchConfig(features=8, growth=4, blocks=1)))
    assert {"upsampling.0", "upsampling.0@2"} <= {made.name for _, made in layers.convolutions}
    assert np.array_equal(arrays["upsampling.0.weight"], arrays["upsampling.0@2.weight"])
