"""Parts of a batch on their way to a device and back, with a device whose every step is written down."""

import numpy as np
import pytest
import torch

from stand_ins import loaded
from tessera.engines.engine import Batching
from tessera.engines.pytorch.engine import TorchEngine
from tessera.engines.pytorch.lanes import PlainLane, pack_tiles, run_in_parts, unpack_tiles
from tessera.generators import SRVGGNetCompactConfig
from tessera.tiling.mosaic import to_planes
from tessera.tiling.pipeline import Pipeline
from tessera.tiling.settings import Settings


class Device:
    """Does nothing before it has to: what comes back is filled in by `finish`, as with asynchronous copies."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._tickets = 0
        self._pending: list[tuple[torch.Tensor, torch.Tensor]] = []

    def upload(self, tiles):
        self._tickets += 1
        self.log.append(f"up {self._tickets - 1}")
        return self._tickets - 1, tiles

    def compute(self, uploaded):
        ticket, tiles = uploaded
        self.log.append(f"run {ticket}")
        return ticket, tiles.repeat_interleave(2, -1).repeat_interleave(2, -2)

    def download(self, computed):
        ticket, made = computed
        self.log.append(f"down {ticket}")
        place = torch.full_like(made, float("nan"))
        self._pending.append((place, made))
        return place

    def finish(self) -> None:
        self.log.append("wait")
        for place, made in self._pending:
            place.copy_(made)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_every_part_is_on_its_way_there_before_the_one_before_it_is_computed(count):
    tiles = np.random.default_rng(0).random((count, 3, 5, 6), dtype=np.float32)
    device = Device()
    result = run_in_parts(device, tiles, 2)
    np.testing.assert_array_equal(result, tiles.repeat(2, 2).repeat(2, 3))
    parts = -(-count // 2)
    assert device.log[-1] == "wait"
    assert device.log.count("wait") == 1
    for part in range(parts):
        assert device.log.index(f"run {part}") < device.log.index(f"down {part}")
        if part + 1 < parts:
            assert device.log.index(f"up {part + 1}") < device.log.index(f"run {part}")
        if part + 2 < parts:  # and no further ahead, which would only take memory
            assert device.log.index(f"up {part + 2}") > device.log.index(f"run {part}")


def test_the_plain_lane_makes_what_the_network_makes():
    network = torch.nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
    tiles = np.random.default_rng(0).random((5, 3, 6, 7), dtype=np.float32)
    made = run_in_parts(PlainLane(network, torch.device("cpu"), torch.float32), tiles, 2)
    torch.testing.assert_close(torch.from_numpy(made), network(torch.from_numpy(tiles)))
    assert made.flags.c_contiguous


def test_a_processor_wants_one_tile_at_a_time_and_a_gpu_as_many_as_its_memory_holds(monkeypatch):
    config = SRVGGNetCompactConfig(features=8, convolutions=1)
    engine = TorchEngine(loaded(config.build(), config))
    assert isinstance(engine, Batching)
    pipeline = Pipeline(generator=loaded(config.build(), config), engine=engine, settings=Settings())
    assert pipeline.plan(64).batch == 1
    monkeypatch.setattr(engine, "_device", torch.device("cuda"))
    for tiles, expected in ((0, 2), (1, 2), (2, 4), (100, 8)):
        free = int(64 * 64 * engine.bytes_per_pixel * tiles / 0.4) + 100
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        assert pipeline.plan(64).batch == expected
    assert pipeline.plan(0).batch == 1


def test_tiles_of_8_bits_travel_as_bytes_and_lose_nothing():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    tiles = torch.from_numpy(to_planes(pixels[0]))[None]
    small = pack_tiles(tiles)
    assert small.dtype == torch.uint8
    assert torch.equal(unpack_tiles(small), tiles)


@pytest.mark.parametrize(
    "tiles",
    [
        torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)),
        torch.from_numpy(to_planes(np.full((4, 4, 3), 1234, np.uint16)))[None],
        torch.tensor([[[[0.0, 1.5, -1.0, float("nan")]]]]),
    ],
    ids=["chance", "16 bits", "beyond the range"],
)
def test_other_tiles_travel_as_they_are(tiles: torch.Tensor):
    assert pack_tiles(tiles) is tiles
