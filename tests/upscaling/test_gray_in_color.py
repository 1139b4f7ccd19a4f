"""Gray that is stored as RGB or as a palette stays gray, although networks add colors to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stand_ins import FunctionEngine, nearest, repeated
from tessera import Picture, Upscaler, read_picture, write_picture

NOTE = "Stored as RGB but gray everywhere: upscaled as gray; `keep_color_noise` upscales it in color."


def coloring(tiles: Tensor, call: int) -> Tensor:
    """A network that leaves red as it is, halves green and removes blue."""
    return repeated()(tiles, call) * torch.tensor([1.0, 0.5, 0.0])[None, :, None, None]


def upscaler(**settings: Any) -> Upscaler:
    return Upscaler(nearest(), engine=FunctionEngine(coloring), flat_lock=False, **settings)


def gray(height: int = 23, width: int = 37) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width), np.uint8)


def color_of(path: Path) -> int:
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int((pixels.max(-1) - pixels.min(-1)).max())


@pytest.mark.parametrize(
    "name", ["rgb.png", "palette.png", "palette.gif", "rgb.jpg", "rgb.webp", "rgb.tif", "rgba.png"]
)
def test_a_gray_picture_gets_no_colors(tmp_path: Path, name: str) -> None:
    mode = {"palette": "P", "rgba": "RGBA"}.get(name.split(".")[0], "RGB")
    more: dict[str, Any] = {"lossless": True} if name.endswith("webp") else {}
    Image.fromarray(gray()).convert(mode).save(tmp_path / name, **more)
    outcome = upscaler().upscale_file(tmp_path / name, tmp_path / "out.png")
    assert NOTE in outcome.notes
    assert color_of(tmp_path / "out.png") == 0
    assert read_picture(tmp_path / "out.png").pixels.shape[2] == (4 if mode == "RGBA" else 3)  # still stored as RGB
    outcome = upscaler(keep_color_noise=True).upscale_file(tmp_path / name, tmp_path / "colored.png")
    assert NOTE not in outcome.notes
    assert color_of(tmp_path / "colored.png") > 100


@pytest.mark.parametrize(("apart", "is_gray"), [(0, True), (1, True), (2, False)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_one_pixel_more_than_one_level_apart_makes_a_picture_colored(
    tmp_path: Path, apart: int, is_gray: bool, dtype: Any
) -> None:
    level = 257 if dtype == np.uint16 else 1
    pixels = (gray() // 2).astype(dtype)[..., None].repeat(3, axis=2) * level
    pixels[-1, -1, 2] += apart * level
    result = upscaler().upscale(pixels).astype(int)
    assert bool((result.max(-1) == result.min(-1)).all()) is is_gray
    write_picture(Picture(pixels), tmp_path / "a.png")
    outcome = upscaler().upscale_file(tmp_path / "a.png", tmp_path / "b.png")
    assert (NOTE in outcome.notes) is is_gray
    assert np.array_equal(read_picture(tmp_path / "b.png").pixels, result)


def test_a_gray_picture_becomes_what_its_gray_file_becomes(tmp_path: Path) -> None:
    pixels = gray(70, 45)
    Image.fromarray(pixels).save(tmp_path / "gray.png")
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "rgb.png")
    for name in ("gray", "rgb"):
        upscaler(tile=32, overlap=4).upscale_file(tmp_path / f"{name}.png", tmp_path / f"{name}_out.png")
    expected = np.asarray(Image.open(tmp_path / "gray_out.png"))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "rgb_out.png")), expected[..., None].repeat(3, axis=2))


def test_colors_that_transparency_hides_do_not_count(tmp_path: Path) -> None:
    pixels = np.dstack([*[gray()] * 3, np.full((23, 37), 255, np.uint8)])
    pixels[:9, :9] = (0, 255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    outcome = upscaler().upscale_file(tmp_path / "a.png", tmp_path / "b.png")
    assert NOTE in outcome.notes
    assert color_of(tmp_path / "b.png") == 0


def test_a_dark_picture_of_sixteen_bits_keeps_its_colors() -> None:
    pixels = np.random.default_rng(2).integers(0, 200, (9, 9, 3)).astype(np.uint16)
    result = Upscaler(nearest(), engine=FunctionEngine(repeated()), flat_lock=False).upscale(pixels)
    assert np.array_equal(result, pixels.repeat(4, 0).repeat(4, 1))


def test_one_colored_frame_makes_an_animation_colored(tmp_path: Path) -> None:
    frames = [Image.fromarray(gray()).convert("RGB") for _ in range(3)]
    frames[2].putpixel((5, 5), (255, 0, 0))
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True, duration=100)
    assert NOTE not in upscaler(frames=True).upscale_file(tmp_path / "a.webp", tmp_path / "b.webp").notes
    assert NOTE in upscaler().upscale_file(tmp_path / "a.webp", tmp_path / "c.webp").notes
