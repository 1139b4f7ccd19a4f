"""The published networks against an independent runtime that reads the same ncnn files (the `ncnn` package)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stand_ins import to_tensor
from tessera import Upscaler, load_generator, read_picture
from tessera.weights.files import load_weights
from tessera.zoo.models import resolve

SIDE = 40
ncnn: Any = pytest.importorskip("ncnn")
MODELS = ("realesrgan-x4plus-anime", "realesr-animevideov3", "realesrgan-x4plus", "realsr-df2k")


def by_ncnn(files: Path, pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (4H, 4W, 3) float in [0, 1] by ncnn in fp32."""
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    net.opt.num_threads = 2
    assert net.load_param(str(files.with_suffix(".param"))) == 0
    assert net.load_model(str(files.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    data = np.ascontiguousarray((pixels.astype(np.float32) / 255).transpose(2, 0, 1))
    extractor.input("data", ncnn.Mat(data))
    _, result = extractor.extract("output")
    return np.array(result).transpose(1, 2, 0).clip(0, 1)


def textures() -> np.ndarray:
    """A picture without any file: waves, edges, flat color and noise."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    rng = np.random.default_rng(7)
    red = 127 + 100 * np.sin(x / 3) * np.cos(y / 5)
    green = np.where((x // 8 + y // 8) % 2, 220, 30)
    blue = 120 + rng.normal(0, 25, (SIDE, SIDE))
    return np.stack((red, green, blue), -1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("model", MODELS)
def test_published_weights_give_what_ncnn_gives_within_one_level(model):
    files = resolve(model, offline=True)
    pixels = textures()
    ours = Upscaler(model, precision="exact", flat_lock=False, keep_color_noise=True, tile=0, offline=True).upscale(
        pixels
    )
    theirs = np.rint(by_ncnn(files, pixels) * 255)
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.assets
@pytest.mark.parametrize("model", MODELS)
def test_published_weights_agree_with_ncnn_on_photographs(model, assets):
    pixels = read_picture(assets / "inputs" / "OST_009.png").pixels[300 : 300 + SIDE, 200 : 200 + SIDE]
    files = resolve(model, offline=True)
    with torch.inference_mode():
        ours = load_generator(model, offline=True).network(to_tensor(pixels))[0].permute(1, 2, 0).clamp(0, 1).numpy()
    assert np.abs(ours - by_ncnn(files, pixels)).max() < 1e-4


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["0014.jpg", "OST_009.png", "children-alpha.png", "niqe_baboon.png", "00003.png"])
def test_pictures_of_many_kinds_agree_with_ncnn_within_one_level(model, name, assets):
    pixels = np.ascontiguousarray(read_picture(assets / "inputs" / name).pixels[:256, :256, :3])
    ours = Upscaler(model, precision="exact", flat_lock=False, keep_color_noise=True, tile=0, offline=True).upscale(
        pixels
    )
    theirs = np.rint(by_ncnn(resolve(model, offline=True), pixels) * 255)
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.assets
def test_the_official_checkpoint_agrees_with_its_ncnn_file_to_half_precision(assets):
    official = load_weights(assets / "weights" / "realesr-animevideov3.pth")
    converted = load_generator("realesr-animevideov3", offline=True)
    assert official.config == converted.config
    for name, tensor in official.network.state_dict().items():
        other = converted.network.state_dict()[name]
        # ncnn's tool cut the last bits off instead of rounding, and made zeros of what half precision has as subnormal
        assert ((tensor - other).abs() <= tensor.abs() * 2**-10 + 2**-14).all(), name
    with torch.inference_mode():
        x = to_tensor(textures())
        assert (official.network(x) - converted.network(x)).abs().max() < 1 / 255
