"""Recordings of a network, with a stand-in for the device that replays them."""

from __future__ import annotations

import torch
from torch import Tensor

from tessera.engines.pytorch.lanes import Network
from tessera.engines.pytorch.replayed import Replayed


class Device:
    """Records as a GPU does: into one place for the tiles and one for what is made, used again by every replay."""

    def __init__(self, memory: int = 10) -> None:
        self.recorded: list[tuple[int, ...]] = []
        self.replays = 0
        self._memory = memory

    def record(self, network: Network, x: Tensor) -> Network:
        if not self._memory:
            raise torch.OutOfMemoryError("no memory for another recording")
        self._memory -= 1
        self.recorded.append(tuple(x.shape))
        place, made = x.clone(), network(x)

        def replay(tiles: Tensor) -> Tensor:
            self.replays += 1
            place.copy_(tiles)
            made.copy_(network(place))
            return made.clone()

        return replay


def doubled(x: Tensor) -> Tensor:
    return 2 * x


def tiles(side: int, value: float) -> Tensor:
    return torch.full((2, 3, side, side), value)


def test_a_shape_is_recorded_at_its_third_run_and_replayed_from_then_on():
    device = Device()
    network = Replayed(doubled, device.record)
    made = [network(tiles(8, value)) for value in range(6)]
    assert device.recorded == [(2, 3, 8, 8)]
    assert device.replays == 4
    for value, each in enumerate(made):  # what an earlier run has made is not overwritten by a later one
        assert torch.equal(each, tiles(8, 2 * value))


def test_each_of_two_shapes_has_its_recording_and_a_third_runs_as_it_is():
    device = Device()
    network = Replayed(doubled, device.record)
    for value in range(5):
        for side in (8, 4, 6):
            assert torch.equal(network(tiles(side, value)), tiles(side, 2 * value))
    assert device.recorded == [(2, 3, 8, 8), (2, 3, 4, 4)]


def test_where_nothing_can_be_recorded_the_network_runs_as_it_is_and_nobody_asks_again():
    device = Device(memory=0)
    network = Replayed(doubled, device.record)
    for value in range(5):
        assert torch.equal(network(tiles(8, value)), tiles(8, 2 * value))
    assert device.recorded == []
    assert device.replays == 0
