"""The engine of our own: what it takes, what it refuses, and how near its bf16 is to fp32 on pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engines.sharing import assert_threads_share, make_random
from native.networks import CONFIGS, noise
from stand_ins import nearest, ran
from tessera.engines.engine import Precision
from tessera.engines.kernels.engine import KernelsEngine, choose_kinds, describe
from tessera.engines.opening import choose_products, open_engine
from tessera.errors import EngineError
from tessera.generators import ESRDnetConfig, ESRGANPytorchConfig, RRDBNetConfig
from tessera.images.picture import read_picture
from tessera.native import library
from tessera.planning.checking import Reference
from tessera.weights.files import load_weights
from tessera.weights.loaded_generator import LoadedGenerator
from tessera.zoo.models import load_model

if library.problem() is not None:
    pytest.skip(f"{library.problem()}", allow_module_level=True)


def test_it_takes_views_and_gives_what_belongs_to_the_caller():
    generator = make_random(CONFIGS["srvgg"])
    engine = KernelsEngine(generator)
    picture = torch.from_numpy(noise(generator.config, 40, 40)).to(memory_format=torch.channels_last)
    before = picture.clone()
    first = ran(engine, picture[:, :, 3:24, 5:36])
    assert torch.allclose(first, generator.network(picture[:, :, 3:24, 5:36]), atol=1e-5)
    kept = first.clone()
    ran(engine, picture[:, :, 4:25, 5:36])
    assert torch.equal(first, kept)
    assert torch.equal(picture, before)


def test_threads_share_an_engine():
    engine = KernelsEngine(make_random(CONFIGS["rrdbnet"]), threads=2)
    config = CONFIGS["rrdbnet"]
    assert_threads_share(engine, [torch.from_numpy(noise(config, 16 + index, 24, seed=index)) for index in range(6)])


def test_precision_is_what_was_asked_for_and_exact_is_fp32():
    generator = make_random(RRDBNetConfig(blocks=4, features=16, growth=16))
    for precision in ("exact", "auto", "fast"):
        engine = open_engine(generator, precision, engine="kernels")
        assert (engine.name, engine.precision) == ("kernels", choose_products("kernels", precision))
        assert engine.exact().precision == "fp32"
        assert engine.exact() is engine.exact()
        compact = open_engine(make_random(CONFIGS["srvgg"]), precision, engine="kernels")
        assert compact.precision == (choose_products("kernels", "fast") if precision == "fast" else "fp32")
    assert choose_products("kernels", "exact") == "fp32"
    with pytest.raises(EngineError, match="kernels engine runs on the CPU, not on cuda"):
        open_engine(generator, device="cuda", engine="kernels")


def test_other_networks_and_widths_are_refused_by_name():
    with pytest.raises(EngineError, match="run rrdbnet and srvggnetcompact, and stand-in is nearest; use the pytorch"):
        KernelsEngine(nearest())
    odd = make_random(RRDBNetConfig(blocks=1, features=24, growth=16))
    with pytest.raises(EngineError, match="multiples of 16, and stand-in has 24 and 16"):
        KernelsEngine(odd)


def test_first_and_late_blocks_are_exact_in_bf16_and_every_depth_has_its_kinds():
    for blocks in (1, 2, 6, 23, 40):
        description = describe(make_random(RRDBNetConfig(blocks=blocks, features=16, growth=16)))
        for mode in ("exact", "bf16", "fast"):
            kinds = choose_kinds(description, mode)
            assert len(kinds) == blocks + 1
            assert mode == "fast" or kinds[0] == kinds[-1] == "F4 fp32"
    assert "F4 bf16" in choose_kinds(description, "bf16")


def levels(sr: torch.Tensor) -> torch.Tensor:
    return (sr.clamp(0, 1) * 255).round()


@pytest.mark.assets
def test_real_weights_give_the_same_picture_in_fp32_and_nearly_so_in_bf16(assets: Path):
    generator = load_weights(assets / "weights" / "realesr-animevideov3.pth")
    reference = Reference(generator)
    cases: tuple[tuple[str, Precision], ...] = (("fp32", "exact"), ("bf16", "auto"), ("bf16", "fast"))
    for precision, policy in cases:
        difference = reference.difference(KernelsEngine(generator, precision, fast=policy == "fast"))
        assert difference is not None
        assert difference.is_allowed(policy)


def pictures(assets: Path, side: int) -> dict[str, NDArray[np.float32]]:
    """The middles of scikit-image's pictures and of photographs, and noise: (1, 3, side, side) each."""
    import skimage.data

    def middle(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = pixels if pixels.ndim == 3 else np.stack([pixels] * 3, -1)
        y, x = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        return (pixels[y : y + side, x : x + side, :3].transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)

    names = ("astronaut", "coffee", "chelsea", "rocket", "text")
    found = {name: middle(getattr(skimage.data, name)()) for name in names}
    for path in sorted((assets / "photos" / "val").glob("*.webp"))[:3]:
        found[path.stem] = middle(read_picture(path).pixels)
    found["noise"] = np.random.default_rng(0).integers(0, 256, (1, 3, side, side)).astype(np.float32) / np.float32(255)
    return found


@pytest.mark.slow
@pytest.mark.assets
@pytest.mark.skipif(choose_products("kernels", "auto") != "bf16", reason="needs products of bf16")
def test_bf16_stays_within_its_policy_on_text_fur_sky_faces_and_noise(assets: Path):
    generator: LoadedGenerator = load_model("realesrgan-x4plus")
    exact, bf16 = KernelsEngine(generator, "fp32"), KernelsEngine(generator, "bf16")
    fast = KernelsEngine(generator, "bf16", fast=True)
    for name, pixels in pictures(assets, 96).items():
        x = torch.from_numpy(np.ascontiguousarray(pixels))
        expected, found, quick = ran(exact, x), ran(bf16, x), ran(fast, x)
        apart = (levels(found) - levels(expected)).abs()
        assert (apart <= 1).double().mean() >= 0.99, name
        assert apart.max() <= 8, name
        error = (quick.clamp(0, 1) - expected.clamp(0, 1)).double().square().mean()
        assert -10 * error.log10() >= 50, name
    for name in ("chelsea", "text"):
        x = torch.from_numpy(np.ascontiguousarray(pictures(assets, 64)[name]))
        with torch.inference_mode():
            assert (levels(ran(exact, x)) - levels(generator.network(x))).abs().max() <= 1


@pytest.mark.parametrize(
    "config",
    [ESRDnetConfig(blocks=1, features=16, growth=16), ESRGANPytorchConfig(blocks=1, features=16, growth=16)],
    ids=repr,
)
def test_networks_with_the_layers_of_rrdbnet_run_under_any_name(config):
    generator = make_random(config)
    x = torch.from_numpy(noise(config, 12, 16))
    assert torch.allclose(ran(KernelsEngine(generator), x), generator.network(x), atol=1e-5)
    with pytest.raises(EngineError, match="run rrdbnet and srvggnetcompact, and stand-in is esrdnet"):
        KernelsEngine(make_random(ESRDnetConfig(blocks=1, features=16, growth=16, hr_kernel=5)))
