"""What is measured on a picture is what was done to it."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tessera.degrade.estimate import estimate_blur, estimate_noise, find_quality, measure_file
from tessera.errors import PictureError
from tessera.images.picture import read_picture


def scene(side: int = 400, seed: int = 0) -> np.ndarray:
    """Discs of flat color on a slope, with soft texture in some: (H, W, 3) in [0, 255], edges as sharp as pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    picture = np.dstack([60 + 40 * x / side, 90 + 30 * y / side, 110 - 30 * x / side])
    texture = ndimage.gaussian_filter(rng.normal(0, 60, (side, side)), 2.0)
    for number in range(25):
        cy, cx, radius = [*rng.uniform(0, side, 2).tolist(), rng.uniform(20, 70)]
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        picture[inside] = rng.uniform(30, 220, 3)
        if number % 3 == 0:
            picture[inside] += texture[inside, None]
    return picture.clip(0, 255)


def levels(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(levels(picture)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def luma(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float64) @ np.array((0.299, 0.587, 0.114))


@pytest.mark.parametrize("sigma", [1.5, 4, 8, 15, 25])
def test_noise_is_found_within_a_tenth(sigma):
    noisy = levels(scene() + np.random.default_rng(1).normal(0, sigma, (400, 400, 3)))
    assert estimate_noise(noisy[..., 1].astype(np.float64)) == pytest.approx(sigma, rel=0.1)


def test_a_clean_picture_has_no_noise_and_a_white_one_nothing_to_tell_it_from():
    sigma = estimate_noise(levels(scene())[..., 1].astype(np.float64))
    assert sigma is not None
    assert sigma < 0.5
    assert estimate_noise(np.full((64, 64), 255.0)) is None


@pytest.mark.parametrize("quality", [30, 45, 60, 75, 88])
@pytest.mark.parametrize("crop", [(0, 0), (3, 5)])
def test_quality_is_found_in_pixels_saved_again_also_after_a_crop(quality, crop):
    picture = scene() + np.random.default_rng(1).normal(0, 3, (400, 400, 3))
    pixels = luma(through_jpeg(picture, quality))[crop[0] :, crop[1] :]
    assert find_quality(pixels) == pytest.approx(quality, abs=1)


@pytest.mark.parametrize("sigma", [0, 6])
def test_what_never_was_a_jpeg_is_not_called_one(sigma):
    picture = scene() + np.random.default_rng(1).normal(0, sigma, (400, 400, 3))
    assert find_quality(luma(levels(picture))) is None


@pytest.mark.parametrize("sigma", [0.8, 1.2, 1.8, 2.5, 4])
def test_blur_is_found_within_a_fifth_of_a_pixel_or_fifteen_hundredths(sigma):
    blurred = ndimage.gaussian_filter(scene(), (sigma, sigma, 0))
    assert estimate_blur(levels(blurred)[..., 1].astype(np.float64)) == pytest.approx(sigma, rel=0.15, abs=0.2)


def test_blur_is_found_below_noise():
    noisy = ndimage.gaussian_filter(scene(), (1.5, 1.5, 0)) + np.random.default_rng(1).normal(0, 6, (400, 400, 3))
    plane = levels(noisy)[..., 1].astype(np.float64)
    assert estimate_blur(plane, 6.0) == pytest.approx(1.5, rel=0.2)


def test_without_edges_there_is_no_blur_to_tell():
    assert estimate_blur(np.full((100, 100), 90.0)) is None


def test_a_file_is_measured_by_its_own_table(tmp_path):
    path = tmp_path / "a.jpg"
    noisy = levels(scene() + np.random.default_rng(1).normal(0, 5, (400, 400, 3)))
    Image.fromarray(noisy).save(path, quality=83)
    damage = measure_file(path)
    assert (damage.jpeg_quality, damage.jpeg_in_file) == (83, True)
    again = tmp_path / "b.png"
    Image.fromarray(read_picture(path).pixels).save(again)
    damage = measure_file(again)
    assert damage.jpeg_quality == pytest.approx(83, abs=1)
    assert not damage.jpeg_in_file


def test_gray_and_deep_pictures_are_measured_in_the_same_units(tmp_path):
    gray = levels(scene()[..., 1] + np.random.default_rng(1).normal(0, 5, (400, 400)))
    Image.fromarray(gray).save(tmp_path / "8.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "16.png")
    shallow, deep = (measure_file(tmp_path / name) for name in ("8.png", "16.png"))
    assert shallow.noise_sigma_255 == pytest.approx(5, rel=0.1)
    assert deep.noise_sigma_255 == pytest.approx(shallow.noise_sigma_255, rel=1e-6)


def test_a_picture_too_small_to_measure_is_refused(tmp_path):
    Image.fromarray(np.zeros((20, 90, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(PictureError, match="90x20 is too small"):
        measure_file(tmp_path / "a.png")


@pytest.mark.assets
def test_on_real_photographs_quality_and_noise_are_found(assets):
    paths = sorted((assets / "photos" / "val").iterdir())[:8]
    rng = np.random.default_rng(0)
    noises, qualities = [], []
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB").resize((600, 450), Image.Resampling.LANCZOS))
        noises.append(estimate_noise(levels(pixels + rng.normal(0, 8, pixels.shape))[..., 1].astype(np.float64)))
        qualities.append(find_quality(luma(through_jpeg(pixels, 70))))
    assert sum(noise is not None and abs(noise - 8) < 1.2 for noise in noises) >= 7
    assert sum(quality is not None and abs(quality - 70) <= 1 for quality in qualities) >= 7
