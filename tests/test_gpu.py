"""The same pictures on a CUDA device as on the processor."""

import numpy as np
import pytest
import torch

from tessera import Upscaler, load_generator
from tessera.engines.pytorch.engine import TorchEngine
from tessera.generators import RRDBNetConfig, SRVGGNetCompactConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device can be used by this PyTorch"),
]


def textures(side: int = 150) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    rng = np.random.default_rng(0)
    return np.dstack((x * 255 // side, y * 255 // side, rng.integers(0, 255, (side, side)))).astype(np.uint8)


@pytest.mark.parametrize("config", [RRDBNetConfig(features=8, blocks=2, growth=4), SRVGGNetCompactConfig(features=8)])
def test_fp32_on_the_gpu_is_fp32_on_the_processor(config):
    from stand_ins import loaded

    torch.manual_seed(0)
    generator = loaded(config.build(), config)
    torch.backends.cudnn.allow_tf32 = True  # as a user's program may have it: exact must be exact all the same
    exact = [
        Upscaler(generator, device=device, precision="exact", tile=64).upscale(textures()) for device in ("cpu", "cuda")
    ]
    assert np.abs(exact[0].astype(int) - exact[1]).max() <= 1


def test_published_weights_in_reduced_precision_stay_close():
    generator = load_generator("realesr-animevideov3", offline=True)
    exact, fast = (
        Upscaler(generator, device="cuda", precision=precision).upscale(textures()).astype(int)
        for precision in ("exact", "fast")
    )
    assert 10 * np.log10(255**2 / ((exact - fast) ** 2).mean()) > 45


def test_what_is_replayed_is_what_the_network_makes_for_every_batch():
    from stand_ins import loaded

    torch.manual_seed(0)
    config = RRDBNetConfig(features=8, blocks=2, growth=4)
    generator = loaded(config.build(), config)
    engine, reference = TorchEngine(generator, "fp32", device="cuda"), TorchEngine(generator, "fp32")
    rng = np.random.default_rng(0)
    for side in (32, 32, 32, 32, 48, 32, 48, 48, 48):
        tiles = rng.random((4, 3, side, side), dtype=np.float32)
        np.testing.assert_allclose(engine.run(tiles), reference.run(tiles), atol=1e-4)
