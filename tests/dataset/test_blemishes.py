import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from tessera.dataset.blemishes import BLOCKY_FROM, STRIP, BlankMeter, BlockMeter, DetailMeter
from tessera.images.picture import read_picture


def fed(meter, luma: np.ndarray):
    for first in range(0, len(luma), STRIP):
        meter.take(np.ascontiguousarray(luma[first : first + STRIP], dtype=np.float32))
    return meter


def texture(side: int = 512, seed: int = 0) -> np.ndarray:
    """Something like a photograph: power that falls with the frequency, down to the finest."""
    rng = np.random.default_rng(seed)
    layers = [gaussian_filter(rng.normal(0, 1, (side, side)), sigma) * sigma for sigma in (0.3, 1, 3, 9, 27)]
    values = np.sum(layers, axis=0)
    return np.clip(values / values.std() * 35 + 128, 0, 255).round()


def as_jpeg(luma: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(luma.astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).astype(float)


def enlarged(luma: np.ndarray, factor: float) -> np.ndarray:
    picture = Image.fromarray(luma.astype(np.uint8))
    size = (int(luma.shape[1] * factor), int(luma.shape[0] * factor))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC)).astype(float)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_an_enlarged_picture_ends_where_its_detail_ended(factor):
    assert fed(DetailMeter(), texture()).finest is None
    finest = fed(DetailMeter(), enlarged(texture(256), factor)).finest
    assert finest is not None
    assert finest < 2.2 / factor


def test_a_flat_picture_is_not_called_enlarged():
    assert fed(DetailMeter(), np.full((600, 600), 90.0)).finest is None
    assert fed(DetailMeter(), np.full((20, 20), 90.0)).finest is None
    assert DetailMeter().finest is None


@pytest.mark.parametrize("offset", [(0, 0), (3, 5), (7, 1)])
def test_blocks_are_found_wherever_their_grid_lies(offset):
    coarse = as_jpeg(texture(), 10)[offset[0] :, offset[1] :]
    assert fed(BlockMeter(), coarse).blockiness > BLOCKY_FROM
    assert fed(BlockMeter(), texture()[offset[0] :, offset[1] :]).blockiness < BLOCKY_FROM / 3
    assert fed(BlockMeter(), as_jpeg(texture(), 95)[offset[0] :, offset[1] :]).blockiness < BLOCKY_FROM / 2


def test_a_pattern_along_one_side_is_no_block():
    stripes = texture()
    stripes += 30 * (np.arange(stripes.shape[1]) // 8 % 2)  # a step at every eighth column, and at no row
    assert fed(BlockMeter(), np.clip(stripes, 0, 255)).blockiness < BLOCKY_FROM
    assert fed(BlockMeter(), np.zeros((300, 300))).blockiness == 0
    assert fed(BlockMeter(), np.zeros((5, 5))).blockiness == 0


@pytest.mark.parametrize(("spread", "blank"), [(0, True), (1, True), (3, False), (40, False)])
def test_a_picture_of_nearly_one_brightness_is_near_blank(spread, blank):
    luma = np.clip(np.random.default_rng(0).normal(120, spread, (300, 300)), 0, 255)
    luma[:3, :3] = 255
    assert fed(BlankMeter(), luma).near_blank is blank


@pytest.mark.assets
def test_real_photographs_are_told_from_their_enlargements(assets):
    called_enlarged: list[str] = []
    overlooked: list[str] = []
    for path in sorted(Path(assets, "photos", "val").iterdir())[:10]:
        pixels = read_picture(path).pixels
        top, left = (max(0, side // 2 - 384) for side in pixels.shape[:2])
        luma = (pixels[top : top + 768, left : left + 768, :3] @ np.array([0.299, 0.587, 0.114])).round()
        if fed(DetailMeter(), luma).finest is not None:
            called_enlarged.append(path.name)
        for factor in (2, 3):
            if fed(DetailMeter(), enlarged(luma[200:500, 200:500], factor)).finest is None:
                overlooked.append(f"{path.name} x{factor}")
    assert called_enlarged == []
    assert len(overlooked) <= 1, overlooked
