import os
from pathlib import Path

import numpy as np
import pytest

from pictures import random_pixels, save
from tessera.dataset.cache import DiskCache, MemoryCache
from tessera.dataset.decoding import read_rgb
from tessera.dataset.sources import PictureRef


class Reading:
    """Reads, and counts how often."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, ref: PictureRef):
        self.read.append(Path(ref.place).name)
        return read_rgb(ref)


@pytest.fixture
def refs(tmp_path) -> list[PictureRef]:
    made = [save(tmp_path / f"{n}.png", random_pixels(20, 30, 3, np.uint8, seed=n)) for n in range(4)]
    return [PictureRef(str(path)) for path in made]


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_what_fits_is_read_once_and_what_does_not_each_time(kind, refs, tmp_path):
    limit = 2 * 20 * 30 * 3 + 1500  # two pictures and what the files' headers take
    cache = MemoryCache(limit) if kind == "memory" else DiskCache(tmp_path / "cache", limit)
    reading = Reading()
    for _ in range(3):
        for number, ref in enumerate(refs):
            assert (cache.get(ref, reading).pixels == random_pixels(20, 30, 3, np.uint8, seed=number)).all()
    assert reading.read == ["0.png", "1.png", "2.png", "3.png", "2.png", "3.png", "2.png", "3.png"]


def test_the_disk_cache_serves_other_processes_and_later_runs(refs, tmp_path):
    first = Reading()
    DiskCache(tmp_path / "cache", 2**20).get(refs[0], first)
    later = Reading()
    decoded = DiskCache(tmp_path / "cache", 2**20).get(refs[0], later)
    assert later.read == []
    assert isinstance(decoded.pixels, np.memmap)


def test_a_changed_file_is_read_again(refs, tmp_path):
    cache, reading = DiskCache(tmp_path / "cache", 2**20), Reading()
    cache.get(refs[0], reading)
    changed = random_pixels(25, 31, 3, np.uint8, seed=77)
    save(Path(refs[0].place), changed)
    assert (cache.get(refs[0], reading).pixels == changed).all()
    os.utime(refs[0].place, ns=(5, 5))
    cache.get(refs[0], reading)
    assert len(reading.read) == 3


def test_several_writers_stay_below_the_limit_together(refs, tmp_path):
    limit = 3 * 2000
    for _ in range(3):  # three runs with two workers each
        for cache in [DiskCache(tmp_path / "cache", limit, writers=2) for _ in range(2)]:
            for ref in refs:
                cache.get(ref, Reading())
    held = list((tmp_path / "cache").iterdir())
    assert held
    assert sum(path.stat().st_size for path in held) <= limit


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_a_damaged_file_of_the_cache_is_made_again(damage, refs, tmp_path):
    cache = DiskCache(tmp_path / "cache", 2**20)
    cache.get(refs[0], Reading())
    (held,) = (tmp_path / "cache").iterdir()
    whole = held.read_bytes()
    held.write_bytes(whole[:-10] if damage is None else damage)
    reading = Reading()
    assert (cache.get(refs[0], reading).pixels == random_pixels(20, 30, 3, np.uint8, seed=0)).all()
    assert len(reading.read) == 1
    assert held.read_bytes() == whole


def test_alpha_is_remembered(tmp_path):
    save(tmp_path / "a.png", random_pixels(20, 30, 4, np.uint8))
    ref = PictureRef(str(tmp_path / "a.png"))
    for _ in range(2):
        assert DiskCache(tmp_path / "cache", 2**20).get(ref, read_rgb).had_alpha


def test_a_full_disk_ends_the_caching_and_nothing_else(refs, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tessera.dataset.cache.np.save", full)
    cache, reading = DiskCache(tmp_path / "cache", 2**20), Reading()
    for _ in range(2):
        assert cache.get(refs[0], reading).pixels.shape == (20, 30, 3)
    assert len(reading.read) == 2
    assert list((tmp_path / "cache").iterdir()) == []
