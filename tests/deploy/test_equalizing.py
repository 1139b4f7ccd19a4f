"""Equalization changes no result: what is drawn, which channels may be scaled, and that scaling cancels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deploy.networks import FAMILY, made, noise
from tessera.deploy.drawing import record
from tessera.deploy.equalizing import arrays_by_place, equalized
from tessera.deploy.int8_network import Int8Network
from tessera.generators import ESRGANPytorchConfig, RRDBNetConfig, SRVGGNetCompactConfig


def drawn(generator):
    drawing = record(generator.config, generator.state)
    state = {name: value.numpy() for name, value in generator.state.items()}
    return drawing, arrays_by_place(drawing, state)


def run(generator, drawing, arrays, x):
    return Int8Network(generator.config, drawing, arrays, {}, {}).run(x)


@pytest.mark.parametrize("config", FAMILY.values(), ids=FAMILY)
def test_scaling_every_channel_that_may_be_scaled_leaves_the_network_as_it_was(config):
    generator = made(config)
    drawing, arrays = drawn(generator)
    rng = np.random.default_rng(0)
    scales = {
        number: np.exp(rng.uniform(-3, 3, drawing.channels[number])).astype(np.float32) for number in drawing.free()
    }
    assert scales
    changed = equalized(drawing, arrays, scales)
    x = noise(1, 3, 12, 8)
    with torch.inference_mode():
        expected = generator.network(x)
    assert torch.allclose(run(generator, drawing, changed, x), expected, rtol=1e-4, atol=2e-5)
    one = drawing.maker(next(iter(scales)))
    assert not np.allclose(changed[f"{one.layer}.weight"], arrays[f"{one.layer}.weight"], rtol=0.01)


def test_maps_of_the_trunk_may_not_be_scaled():
    generator = made(RRDBNetConfig(features=8, growth=4, blocks=1))
    drawing, arrays = drawn(generator)
    by_kind = {number: made.kind for number, made in enumerate(drawing.maps)}
    assert {by_kind[number] for number in drawing.free()} == {"conv"}
    sums = [number for number in drawing.sources() if by_kind[number] == "add"]
    assert sums
    with pytest.raises(ValueError, match="cannot be scaled"):
        equalized(drawing, arrays, {sums[0]: np.full(8, 2, np.float32)})
    # in a dense block: four maps of a convolution each; behind the trunk: each enlarged map and conv_hr's
    assert len(drawing.free()) == 3 * 4 + 3


def test_a_prelu_passes_scales_on_to_the_convolution_before_it():
    generator = made(SRVGGNetCompactConfig(features=8, convolutions=2))
    drawing, _ = drawn(generator)
    assert [drawing.maps[number].kind for number in drawing.free()] == ["prelu"] * 3
    assert [drawing.maker(number).layer for number in drawing.free()] == ["body.0", "body.2", "body.4"]


def test_a_module_that_is_drawn_twice_has_numbers_of_its_own_at_each_place():
    drawing, arrays = drawn(made(ESRGANPytorchConfig(features=8, growth=4, blocks=1)))
    assert {"upsampling.0", "upsampling.0@2"} <= {made.layer for _, made in drawing.convolutions}
    assert np.array_equal(arrays["upsampling.0.weight"], arrays["upsampling.0@2.weight"])
