"""The same pictures on a GPU of PyTorch as on the CPU; skipped without one. `benchmarks/gpu.py` measures speed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stand_ins import loaded
from tessera import Upscaler, load_generator
from tessera.engines.devices import list_automatic
from tessera.engines.engine import OnDevice
from tessera.engines.pytorch.engine import TorchEngine
from tessera.engines.pytorch.gpu_engine import TorchGpuEngine
from tessera.generators import GeneratorConfig, RRDBNetConfig, SRVGGNetCompactConfig
from tessera.planning.checking import Reference
from tessera.weights.loaded_generator import LoadedGenerator

DEVICE = "mps" if torch.backends.mps.is_available() else "cuda"
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() and DEVICE != "mps", reason="no CUDA or Apple GPU can be used by this PyTorch"
)
SMALL = (RRDBNetConfig(features=8, blocks=2, growth=4), SRVGGNetCompactConfig(features=8))


def textures(height: int = 150, width: int = 150) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(0)
    return np.dstack((x * 255 // width, y * 255 // height, rng.integers(0, 255, (height, width)))).astype(np.uint8)


def build(config: GeneratorConfig) -> LoadedGenerator:
    torch.manual_seed(0)
    return loaded(config.build(), config)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("config", SMALL)
@pytest.mark.parametrize("size", [(150, 150), (67, 131)])
def test_fp32_on_the_gpu_is_fp32_on_the_cpu(config, size):
    generator = build(config)
    torch.backends.cudnn.allow_tf32 = True  # as a user's program may have it: exact must be exact all the same
    exact = [
        Upscaler(generator, device=device, precision="exact", tile=64).upscale(textures(*size))
        for device in ("cpu", DEVICE)
    ]
    assert np.abs(exact[0].astype(int) - exact[1]).max() <= 1


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", ["realesr-animevideov3", "realesrgan-x4plus"])
def test_published_weights_in_fp16_pass_the_check(name):
    generator = load_generator(name, offline=True)
    engine = Upscaler(generator, device=DEVICE).engine
    assert engine.precision == "fp16"
    difference = Reference(generator).difference(TorchGpuEngine(generator, "fp16", device=DEVICE))
    assert difference is not None
    assert difference.is_allowed("auto")
    assert difference.psnr_db is None or difference.psnr_db > 60


@pytest.mark.gpu
@needs_gpu
def test_what_is_replayed_is_what_the_network_makes_for_every_batch():
    generator = build(SMALL[0])
    engine, reference = TorchGpuEngine(generator, "fp32", device=DEVICE), TorchEngine(generator, "fp32")
    rng = np.random.default_rng(0)
    for side in (32, 32, 32, 32, 48, 32, 48, 48, 48):
        tiles = rng.random((4, 3, side, side), dtype=np.float32)
        np.testing.assert_allclose(engine.run(tiles), reference.run(tiles), atol=1e-4)


@pytest.mark.gpu
@needs_gpu
def test_the_gpu_is_found_and_its_memory_known():
    assert any(name.partition(":")[0] == DEVICE for name in list_automatic())
    engine = TorchGpuEngine(build(SMALL[1]), "fp16", device=DEVICE)
    assert isinstance(engine, OnDevice)
    assert 2**28 < engine.free_memory_bytes() < 2**42


@pytest.mark.gpu
@needs_gpu
def test_memory_does_not_grow_with_the_number_of_tiles():
    engine = TorchGpuEngine(build(SMALL[1]), "fp16", device=DEVICE)
    tiles = np.random.default_rng(0).random((4, 3, 64, 64), dtype=np.float32)
    for _ in range(5):
        engine.run(tiles)
    before = engine.free_memory_bytes()
    for _ in range(250):
        engine.run(tiles)
    assert before - engine.free_memory_bytes() < 2**26


@pytest.mark.slow
def test_the_benchmark_of_gpus_runs_all_its_steps_on_the_cpu(tmp_path: Path):
    script = Path(__file__).parent.parent / "benchmarks" / "gpu.py"
    options = ["--device", "cpu", "--quick", "--models", "realesr-animevideov3", "--output", str(tmp_path / "gpu")]
    done = subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| `realesr-animevideov3` | kernels" in (tmp_path / "gpu.md").read_text()
    assert (tmp_path / "gpu.json").is_file()
