"""GPUs that run out of memory or are lost: smaller tiles, then the CPU, with the same picture as a result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stand_ins import nearest
from tessera.engines.engine import Engine, Tiles
from tessera.errors import DeviceLostError, EngineError, OutOfMemoryError
from tessera.planning.fallback import FallbackEngine
from tessera.tiling.pipeline import Pipeline
from tessera.tiling.settings import Settings
from tessera.upscaling.arrays import upscale_array


class Cpu:
    """Nearest neighbor by 2."""

    name, precision, bytes_per_pixel = "ncnn", "fp32", 1

    def run(self, tiles: Tiles) -> Tiles:
        return tiles.repeat(2, axis=2).repeat(2, axis=3)

    def exact(self) -> Engine:
        return self


class Gpu(Cpu):
    """The same on a device that fails with tiles larger than `most`, and is gone after `lives` resets."""

    device = "vulkan:1"

    def __init__(self, error: Callable[[], Exception], most: int, lives: int = 9) -> None:
        self.error, self.most, self.lives, self.largest = error, most, lives, 0

    def run(self, tiles: Tiles) -> Tiles:
        self.largest = max(self.largest, *tiles.shape[2:])
        if max(tiles.shape[2:]) > self.most:
            raise self.error()
        return super().run(tiles)

    def free_memory_bytes(self) -> int:
        return 10**9

    def reopen(self) -> None:
        self.lives -= 1
        if self.lives < 0:
            raise EngineError("vulkan:1 is gone.")


def lost() -> Exception:
    return DeviceLostError("ncnn failed with error -1.")


def full() -> Exception:
    return OutOfMemoryError("Out of memory.")


def run(gpu: Gpu) -> FallbackEngine:
    engine = FallbackEngine(gpu, Cpu)
    pixels = np.random.default_rng(0).integers(0, 256, (150, 131, 3), dtype=np.uint8)
    settings = Settings(tile=128)
    pipeline = Pipeline(generator=nearest(2), engine=engine, settings=settings)
    np.testing.assert_array_equal(upscale_array(pixels, lambda: pipeline), pixels.repeat(2, axis=0).repeat(2, axis=1))
    return engine


def test_a_gpu_that_is_reset_goes_on_with_smaller_tiles():
    engine = run(Gpu(lost, most=64))
    assert engine.free_memory_bytes() == 10**9
    assert engine.notes == ("vulkan:1 was reset by its driver; continued with smaller tiles.",)


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        (Gpu(lost, most=0), "vulkan:1 was lost; the CPU took over."),
        (Gpu(lost, most=64, lives=0), "vulkan:1 was lost; the CPU took over."),
        (Gpu(full, most=0), "vulkan:1 ran out of memory; the CPU took over."),
    ],
    ids=["lost each time", "gone", "out of memory with the smallest tiles"],
)
def test_the_cpu_takes_over_from_a_gpu(gpu: Gpu, said: str):
    engine = run(gpu)
    assert engine.free_memory_bytes() is None
    assert engine.notes[-1] == said


def test_an_error_of_the_cpu_is_not_tried_again():
    engine = FallbackEngine(Gpu(lost, most=0), Cpu)
    assert engine.recover(lost(), is_smallest=True)
    assert not engine.recover(full(), is_smallest=True)


def test_a_gpu_gets_no_larger_tile_than_was_measured():
    """On a weak GPU the best tile takes a second, and a driver resets a GPU that computes for two."""
    for engine, expected in ((FallbackEngine(Gpu(full, most=999), Cpu), 192), (Cpu(), 304)):
        pipeline = Pipeline(generator=nearest(2), engine=engine, settings=Settings(), best_tile=192)
        assert pipeline.choose_first_tile(300, 301) == expected
