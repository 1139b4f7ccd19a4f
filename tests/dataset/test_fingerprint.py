import functools
import io
import time

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from tessera.dataset.fingerprint import SIDE, _compute_hashes, compute_area_weights, find_same_pictures, orient


@functools.cache
def scene(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Blobs of all sizes, as (H, W) bytes."""
    rng = np.random.default_rng(seed)
    layers = [gaussian_filter(rng.normal(0, 1, (height, width)), sigma) * sigma * 2 for sigma in (1, 3, 10)]
    values = np.sum(layers, axis=0)
    return np.clip((values - values.mean()) / values.std() * 50 + 128, 0, 255).astype(np.uint8)


def thumb(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape
    return compute_area_weights(height) @ pixels.astype(np.float32) @ compute_area_weights(width).T


def changed(pixels: np.ndarray, how: str) -> np.ndarray:
    picture = Image.fromarray(pixels)
    if how.startswith("jpeg"):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(how[4:]))
        return np.asarray(Image.open(buffer))
    if how.startswith("size"):
        factor = float(how[4:])
        return np.asarray(picture.resize((int(160 * factor), int(120 * factor)), Image.Resampling.BICUBIC))
    if how == "brighter":
        return np.clip(pixels * 1.1 + 8, 0, 255).astype(np.uint8)
    return np.clip(pixels + np.random.default_rng(0).normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("length", [1, 7, 32, 33, 100, 2040])
def test_each_pixel_counts_once(length):
    weights = compute_area_weights(length)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(weights.sum(axis=0), SIDE / length, atol=1e-5)


def test_the_hash_is_the_signs_of_the_low_frequencies():
    small = thumb(scene(3))
    signs = np.asarray(dctn(small, type=2))[:16, :16] > 0
    signs[0, 0] = False
    found = np.unpackbits(_compute_hashes(small[None]).view(np.uint8)).reshape(16, 16)
    assert (found == signs).mean() > 0.99


@pytest.mark.parametrize("how", ["jpeg30", "jpeg90", "size0.4", "size0.7", "size2", "brighter", "noise"])
def test_a_picture_is_known_again_however_it_was_saved(how):
    scenes = np.stack([thumb(scene(seed)) for seed in range(8)])
    copies = np.stack([thumb(changed(scene(seed), how)) for seed in range(8)])
    assert list(find_same_pictures(copies, scenes)) == [(index, index) for index in range(8)]


def test_pictures_of_different_things_are_different():
    scenes = np.stack([thumb(scene(seed)) for seed in range(80)])
    assert list(find_same_pictures(scenes)) == []


@pytest.mark.parametrize("position", range(8))
def test_mirrored_and_turned_pictures_are_known_when_asked_for(position):
    square = np.stack([thumb(scene(seed, 120, 120)) for seed in range(5)])
    moved = orient(square, position)
    assert list(find_same_pictures(moved, square, turns=True)) == [(index, index) for index in range(5)]
    assert len(list(find_same_pictures(moved, square))) == (5 if position == 0 else 0)


def test_each_is_compared_with_those_before_it_and_empty_ones_with_none():
    one, other = thumb(scene(0)), thumb(scene(1))
    flat = np.full((SIDE, SIDE), 80, np.float32)
    assert list(find_same_pictures(np.stack([one, flat, other, one, flat, one]))) == [(3, 0), (5, 0)]


def test_thousands_take_seconds():
    rng = np.random.default_rng(0)
    thumbs = gaussian_filter(rng.normal(0, 1, (4000, SIDE, SIDE)), (0, 1, 1)).astype(np.float32) * 100 + 128
    thumbs[3999] = thumbs[5]
    start = time.process_time()
    assert list(find_same_pictures(thumbs)) == [(3999, 5)]
    assert time.process_time() - start < 8
