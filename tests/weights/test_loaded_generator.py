"""A loaded generator: its weights may be read late and once, and its PyTorch network is built late and once."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stand_ins import loaded, nearest
from tessera.errors import WeightsError
from tessera.generators import SRVGGNetCompactConfig
from tessera.weights.arrays import State
from tessera.weights.loaded_generator import LoadedGenerator, NetworkWeights, compute_state_sha256

SUM = "5" * 64
CONFIG = SRVGGNetCompactConfig(features=4, convolutions=1)


def draw_arrays() -> State:
    rng = np.random.default_rng(0)
    return {name: rng.random(shape, np.float32) for name, shape in CONFIG.weight_shapes.items()}


class Reader:
    """Reads weights slowly, and counts how often."""

    def __init__(self, failures: int = 0) -> None:
        self.times, self.failures = 0, failures

    def __call__(self) -> State:
        self.times += 1
        time.sleep(0.02)
        if self.times <= self.failures:
            raise WeightsError("the disk is away")
        return draw_arrays()


def waiting(reader: Reader) -> LoadedGenerator:
    return replace(nearest(), config=CONFIG, network=NetworkWeights(reader, SUM))


def test_weights_are_read_and_the_network_is_built_once_for_all_threads():
    reader = Reader()
    generator = waiting(reader)
    assert not generator.is_read
    networks: list[nn.Module] = []
    threads = [threading.Thread(target=lambda: networks.append(generator.network)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reader.times == 1
    assert generator.is_read
    assert len(networks) == 8
    assert all(network is networks[0] for network in networks)


def test_a_new_name_and_printing_do_not_read_the_weights():
    reader = Reader()
    generator = waiting(reader).with_name("other", "MIT")
    assert "other" in repr(generator)
    assert (generator.name, generator.license, generator.config) == ("other", "MIT", CONFIG)
    assert reader.times == 0
    assert generator.network is generator.with_name("third", None).network
    assert reader.times == 1


def test_a_failed_reading_is_tried_again():
    reader = Reader(failures=1)
    generator = waiting(reader)
    with pytest.raises(WeightsError, match="the disk is away"):
        _ = generator.arrays
    assert not generator.is_read
    assert generator.state.keys() == CONFIG.build().state_dict().keys()


def test_a_given_network_is_read_and_can_be_replaced():
    generator, other = nearest(), nn.Identity()
    assert generator.is_read
    assert replace(generator, network=other).network is other
    with pytest.raises(AttributeError):
        generator.network = other  # pyright: ignore


def test_the_network_has_the_values_of_the_arrays_and_then_owns_them():
    given = draw_arrays()
    generator = replace(nearest(), config=CONFIG, network=NetworkWeights(given))
    assert generator.arrays["body.0.weight"] is given["body.0.weight"]
    tensors = generator.network.state_dict()
    assert all(np.array_equal(tensors[name].numpy(), array) for name, array in given.items())
    with torch.no_grad():
        next(generator.network.parameters()).add_(1)
    assert np.array_equal(generator.arrays["body.0.weight"], given["body.0.weight"] + 1)


def test_the_checksum_is_known_before_the_weights_are_read_and_follows_a_changed_network():
    generator = waiting(Reader())
    assert generator.state_sha256 == SUM
    network = generator.network
    before = compute_state_sha256(draw_arrays())
    assert generator.state_sha256 == before
    with torch.no_grad():
        next(network.parameters()).add_(1)
    assert generator.state_sha256 != before


def test_the_checksum_covers_names_shapes_types_and_values_and_not_the_order():
    one, two = np.arange(6, dtype=np.float32), np.ones((2, 3), np.float32)
    assert compute_state_sha256({"a": one, "b": two}) == compute_state_sha256({"b": two, "a": one})
    others: list[State] = [
        {"a": two, "b": one},
        {"a": one},
        {"a": one.reshape(2, 3), "b": two},
        {"a": one.astype(np.float64), "b": two},
        {},
    ]
    sums = {compute_state_sha256({"a": one, "b": two}), *(compute_state_sha256(other) for other in others)}
    assert len(sums) == 6
    assert compute_state_sha256({"a": np.ones((3, 2)).T * 2}) == compute_state_sha256({"a": np.full((2, 3), 2.0)})


def test_an_onnx_file_does_not_give_its_weights():
    generator = replace(loaded(nn.Identity(), CONFIG), dialect="onnx")
    for read in (lambda: generator.state, lambda: generator.arrays):
        with pytest.raises(WeightsError, match="an ONNX file can be run"):
            read()
