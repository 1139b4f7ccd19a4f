"""PyTorch's engine for GPUs, with the CPU as its device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stand_ins import loaded
from tessera.engines.engine import OnDevice
from tessera.engines.opening import choose_products
from tessera.engines.pytorch import gpu_engine
from tessera.engines.pytorch.engine import TorchEngine
from tessera.engines.pytorch.gpu_engine import TorchGpuEngine
from tessera.engines.pytorch.lanes import PlainLane
from tessera.errors import DeviceLostError, OutOfMemoryError
from tessera.generators import RRDBNetConfig
from tessera.planning.checking import Reference
from tessera.planning.fallback import FallbackEngine
from tessera.tiling.pipeline import Pipeline
from tessera.tiling.settings import Settings
from tessera.upscaling.arrays import upscale_array
from tessera.weights.loaded_generator import LoadedGenerator


@pytest.fixture(scope="module")
def generator() -> LoadedGenerator:
    torch.manual_seed(0)
    config = RRDBNetConfig(features=8, blocks=2, growth=4)
    return loaded(config.build(), config)


def test_gpus_multiply_in_fp16_unless_exact():
    for device in ("cuda", "cuda:1", "mps"):
        assert [choose_products("pytorch", precision, device) for precision in ("exact", "auto", "fast")] == [
            "fp32",
            "fp16",
            "fp16",
        ]


def test_fp16_is_nearer_to_fp32_than_bf16_and_passes_the_check(generator: LoadedGenerator):
    reference = Reference(generator)
    half, brain = (
        reference.difference(TorchGpuEngine(generator, precision, device="cpu")) for precision in ("fp16", "bf16")
    )
    assert half is not None
    assert brain is not None
    assert half.is_allowed("auto")
    assert half.psnr_db is not None
    assert brain.psnr_db is not None
    assert half.psnr_db > brain.psnr_db + 10


def test_what_overflows_fp16_is_run_again_in_fp32(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(TorchGpuEngine, "free_memory_bytes", lambda self: 2**30)
    torch.manual_seed(0)
    config = RRDBNetConfig(features=8, blocks=1, growth=4)
    network = config.build()
    state = network.state_dict()  # the same function, by way of values beyond 65,504
    for name, factor in (("conv_hr.weight", 1e6), ("conv_hr.bias", 1e6), ("conv_last.weight", 1e-6)):
        state[name].mul_(factor)
    generator = loaded(network, config)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    made = []
    for engine in (TorchGpuEngine(generator, "fp16", device="cpu"), TorchEngine(generator)):
        pipeline = Pipeline(generator=generator, engine=engine, settings=Settings(flat_lock=False))
        made.append(upscale_array(pixels, lambda pipeline=pipeline: pipeline).astype(int))
    assert np.abs(made[0] - made[1]).max() <= 1
    assert not np.isfinite(TorchGpuEngine(generator, "fp16", device="cpu").run(np.ones((1, 3, 8, 8), np.float32))).all()


def fail_with(error: Exception) -> Callable[..., object]:
    def run(self: TorchEngine, tiles: object) -> object:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (RuntimeError("CUDA error: unspecified launch failure"), DeviceLostError, "cpu was lost; the CPU took over."),
        (OutOfMemoryError("Out of memory."), OutOfMemoryError, "cpu ran out of memory; the CPU took over."),
    ],
)
def test_a_gpu_that_fails_hands_over_to_the_cpu(generator, monkeypatch, error, expected, said):
    gpu = TorchGpuEngine(generator, "fp16", device="cpu")
    monkeypatch.setattr(gpu_engine.TorchGpuEngine, "free_memory_bytes", lambda self: 2**30)
    assert isinstance(gpu, OnDevice)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(TorchEngine, "run", fail_with(error))
        with pytest.raises(expected):
            gpu.run(np.zeros((1, 3, 8, 8), np.float32))
    monkeypatch.setattr(TorchGpuEngine, "run", fail_with(expected(str(error))))
    engine = FallbackEngine(gpu, lambda: TorchEngine(generator))
    pipeline = Pipeline(generator=generator, engine=engine, settings=Settings(tile=32))
    assert upscale_array(pixels, lambda: pipeline).shape == (96, 120, 3)
    assert engine.notes[-1] == said


def test_tiles_travel_to_any_gpu_as_bytes_in_channels_last():
    lane = PlainLane(lambda x: x, torch.device("meta"), torch.float16)
    uploaded = lane.upload(torch.full((2, 3, 8, 8), 128 / 255))
    assert uploaded.device.type == "meta"
    assert uploaded.dtype == torch.float16
    assert uploaded.is_contiguous(memory_format=torch.channels_last)
