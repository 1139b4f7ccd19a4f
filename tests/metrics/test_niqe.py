import math
import warnings
import zipfile

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve, gaussian_filter
from scipy.special import gamma

from tessera.errors import UsageError
from tessera.evaluate.levels import convert_to_gray
from tessera.metrics.niqe import PRISTINE_FILE, NiqeRows, PristineModel, load_pristine_model, niqe
from tessera.storage.checksum import compute_sha256


def gray(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(0, 1, (height, width)), 4) * 900 + 120
    return (smooth + gaussian_filter(rng.normal(0, 1, (height, width)), 1) * 60).clip(0, 255).round()


def reference_fit(x: np.ndarray) -> tuple[float, float, float]:
    """Shape and widths as the reference code finds them, in float32: every shape tried."""
    x = x.flatten()
    shapes = np.arange(0.2, 10.001, 0.001)
    ratios = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # means of no samples
        left, right = np.sqrt(np.mean(x[x < 0] ** 2)), np.sqrt(np.mean(x[x > 0] ** 2))
        g, r = left / right, np.mean(np.abs(x)) ** 2 / np.mean(x**2)
        wanted = r * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
    alpha = shapes[np.argmin((ratios - wanted) ** 2)]
    width = np.sqrt(gamma(1 / alpha) / gamma(3 / alpha))
    return alpha, left * width, right * width


def keys_cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    outer = np.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0)
    return np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, outer)


def reference_half(picture: np.ndarray) -> np.ndarray:
    """MATLAB's imresize by 0.5: Keys' cubic stretched to 8 pixels, edges mirrored, rows first."""
    for axis in (0, 1):
        moved = np.moveaxis(picture, axis, 0)
        size = len(moved)
        out = np.zeros((size // 2, moved.shape[1]))
        center = 2 * np.arange(size // 2) + 0.5
        total = np.zeros(size // 2)
        for tap in range(-4, 6):
            place = (np.floor(center) + tap).astype(int)
            weight = keys_cubic((center - place) / 2)
            mirrored = np.where(place < 0, -1 - place, np.where(place >= size, 2 * size - 1 - place, place))
            out += weight[:, None] * moved[mirrored]
            total += weight
        picture = np.moveaxis(out / total[:, None], 0, axis)
    return picture


def reference_features(picture: np.ndarray) -> np.ndarray:
    """The features of each block in the arithmetic of the reference: SciPy's filter on float32, and no threshold.

    Blocks are in rows here, and in columns there; the score does not depend on their order.
    """
    offsets = np.arange(7) - 3
    window = np.exp(-(offsets**2) / (2 * (7 / 6) ** 2))
    window = np.outer(window, window) / window.sum() ** 2
    picture = picture[: picture.shape[0] // 96 * 96, : picture.shape[1] // 96 * 96].astype(np.float32)
    found = []
    for scale, block in ((1, 96), (2, 48)):
        mean = convolve(picture, window, mode="nearest")
        deviation = np.sqrt(np.abs(convolve(np.square(picture), window, mode="nearest") - np.square(mean)))
        normal = (picture - mean) / (deviation + 1)
        assert normal.dtype == np.float32
        here = []
        for top in range(0, picture.shape[0], block):
            for left in range(0, picture.shape[1], block):
                x = normal[top : top + block, left : left + block]
                alpha, beta_l, beta_r = reference_fit(x)
                row = [alpha, (beta_l + beta_r) / 2]
                for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    alpha, beta_l, beta_r = reference_fit(x * np.roll(x, shift, (0, 1)))
                    row += [alpha, (beta_r - beta_l) * gamma(2 / alpha) / gamma(1 / alpha), beta_l, beta_r]
                here.append(row)
        found.append(here)
        if scale == 1:
            halved = reference_half((picture / 255).astype(np.float64))
            picture = halved.astype(np.float32) * np.float32(255)
    return np.concatenate(found, axis=1)


def model(seed: int = 3) -> PristineModel:
    features = reference_features(gray(288, 576, seed))
    return PristineModel(features.mean(axis=0), np.cov(features, rowvar=False))


def saturated(height: int, width: int) -> np.ndarray:
    """A picture with black, white and half-gray areas, a flat block, and a gentle ramp."""
    picture = ((gray(height, width, 5) - 120) * 4 + 120).clip(0, 255)
    picture[:40, :60] = 128
    picture[96:192, 96:192] = 255
    picture[192:240, :200] = np.linspace(0, 20, 200).round()
    return picture


@pytest.mark.parametrize("picture", [gray(230, 330), saturated(288, 400)], ids=["textured", "saturated"])
def test_features_equal_the_arithmetic_of_the_reference(picture):
    rows = NiqeRows(*picture.shape)
    rows.take(picture)
    expected = reference_features(picture)
    assert rows.features.shape == expected.shape
    np.testing.assert_allclose(rows.features, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "score"),
    [("astronaut", 3.0599), ("coffee", 4.0577), ("chelsea", 2.5721), ("page", 8.8126), ("coins", 3.6227)],
)
def test_scores_are_those_of_the_script_of_a_esrgan(name, score):
    """Its scores with Pillow's L; astronaut and page have saturated areas."""
    picture = np.atleast_3d(getattr(skimage.data, name)()).astype(np.float64)
    levels = np.broadcast_to(np.moveaxis(picture, 2, 0), (3, *picture.shape[:2]))
    found = niqe(convert_to_gray(levels, "pil-l"), load_pristine_model())
    assert found == pytest.approx(score, abs=1e-3)


@settings(max_examples=10)
@given(st.integers(1, 250))
def test_rows_give_what_the_whole_gives(step):
    picture = gray(250, 200)
    whole, rows = NiqeRows(250, 200), NiqeRows(250, 200)
    whole.take(picture)
    for first in range(0, 250, step):
        rows.take(picture[first : first + step])
    np.testing.assert_allclose(rows.features, whole.features, atol=1e-9)


def test_noise_and_blur_score_worse_than_what_the_model_was_made_of():
    pristine, picture = model(), gray(288, 480, seed=9)
    own = niqe(picture, pristine)
    noisy = picture + np.random.default_rng(0).normal(0, 25, picture.shape)
    for worse in (gaussian_filter(picture, 2), noisy):
        assert niqe(worse.clip(0, 255).round(), pristine) > own + 1


@pytest.mark.parametrize("size", [(95, 400), (96, 100), (1, 1), (50, 50)])
def test_a_picture_too_small_for_two_blocks_is_refused(size):
    with pytest.raises(ValueError, match="2 blocks"):
        niqe(gray(*size), model())


def test_a_constant_picture_has_no_structure_to_judge():
    with pytest.raises(ValueError, match="found 0"):
        niqe(np.full((300, 300), 128.0), model())


def test_a_file_that_is_no_model_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", mu_pris_param=np.zeros(36))
    with pytest.raises(ValueError, match="cov_pris_param"):
        PristineModel.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", mu_pris_param=np.zeros(3), cov_pris_param=np.zeros((36, 36)))
    with pytest.raises(ValueError, match="36"):
        PristineModel.load(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(ValueError, match="damaged, or not an"):
        PristineModel.load(tmp_path / "c.npz")


def test_a_small_archive_of_statistics_cannot_unpack_to_gigabytes(tmp_path):
    """Counts the bytes that are declared: 30 MB of zeros in 30 kB stand for any size."""
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mu_pris_param.npy", bytes(30_000_000))
    assert (tmp_path / "bomb.npz").stat().st_size < 40_000
    with pytest.raises(UsageError, match="at most 1,048,576 bytes unpacked, found 30,000,000"):
        load_pristine_model(tmp_path / "bomb.npz")
    header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999,), }"
    with zipfile.ZipFile(tmp_path / "wide.npz", "w") as archive:
        archive.writestr("mu_pris_param.npy", header.ljust(127) + b"\n")
    with pytest.raises(UsageError, match="not a file of NIQE statistics"):
        load_pristine_model(tmp_path / "wide.npz")


def test_the_published_model_comes_with_the_package():
    published = load_pristine_model()
    assert math.isclose(published.mean.sum(), 17.32876552816881, rel_tol=1e-12)
    assert math.isclose(published.covariance.sum(), 13.276807347444823, rel_tol=1e-12)
    assert compute_sha256(PRISTINE_FILE) == "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296"
