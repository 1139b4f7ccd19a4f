"""A generator whose network may wait: everything else is known, and the network is read once."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from stand_ins import loaded, nearest
from tessera.errors import WeightsError
from tessera.generators import SRVGGNetCompactConfig
from tessera.weights.loaded_generator import LoadedGenerator, Unread, compute_state_sha256

SUM = "5" * 64
CONFIG = SRVGGNetCompactConfig(features=4, convolutions=1)


class Reader:
    """Reads a network slowly, and counts how often."""

    def __init__(self, failures: int = 0) -> None:
        self.times, self.failures = 0, failures

    def __call__(self) -> nn.Module:
        self.times += 1
        time.sleep(0.02)
        if self.times <= self.failures:
            raise WeightsError("the disk is away")
        return CONFIG.build()


def waiting(reader: Reader) -> LoadedGenerator:
    return replace(nearest(), config=CONFIG, network=Unread(reader, SUM))


def test_the_network_is_read_when_it_is_asked_for_and_once_for_all_threads():
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


def test_neither_a_new_name_nor_printing_reads_the_network():
    reader = Reader()
    generator = waiting(reader).with_name("other", "MIT")
    assert "other" in repr(generator)
    assert (generator.name, generator.license, generator.config) == ("other", "MIT", CONFIG)
    assert reader.times == 0
    assert generator.network is generator.with_name("third", None).network
    assert reader.times == 1


def test_what_could_not_be_read_is_tried_again():
    reader = Reader(failures=1)
    generator = waiting(reader)
    with pytest.raises(WeightsError, match="the disk is away"):
        _ = generator.network
    assert not generator.is_read
    assert generator.state.keys() == CONFIG.build().state_dict().keys()


def test_a_network_that_was_given_is_there_and_can_be_replaced():
    generator, other = nearest(), nn.Identity()
    assert generator.is_read
    assert replace(generator, network=other).network is other
    with pytest.raises(AttributeError):
        generator.network = other  # pyright: ignore


def test_the_sum_of_the_weights_is_known_before_they_are_and_true_afterwards():
    generator = waiting(Reader())
    assert generator.state_sha256 == SUM
    before = compute_state_sha256(generator.network.state_dict())
    assert generator.state_sha256 == before
    with torch.no_grad():
        next(generator.network.parameters()).add_(1)
    assert generator.state_sha256 != before


def test_the_sum_counts_names_shapes_types_and_numbers_and_not_the_order():
    one, two = torch.arange(6.0), torch.ones(2, 3)
    assert compute_state_sha256({"a": one, "b": two}) == compute_state_sha256({"b": two, "a": one})
    others = [{"a": two, "b": one}, {"a": one}, {"a": one.reshape(2, 3), "b": two}, {"a": one.double(), "b": two}, {}]
    sums = {compute_state_sha256({"a": one, "b": two}), *(compute_state_sha256(other) for other in others)}
    assert len(sums) == 6
    assert compute_state_sha256({"a": torch.ones(3, 2).T.mul(2)}) == compute_state_sha256(
        {"a": torch.full((2, 3), 2.0)}
    )  # the strides


def test_an_onnx_file_keeps_its_weights_to_itself():
    with pytest.raises(WeightsError, match="an ONNX file can be run"):
        _ = replace(loaded(nn.Identity(), CONFIG), dialect="onnx").state
