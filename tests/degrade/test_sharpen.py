"""Sharpening is that of Real-ESRGAN."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from tessera.degrade import sharpen
from tessera.degrade.sharpen import LINE, SIGMA, _build_bands, blur


def test_the_gaussian_is_opencvs_for_51_pixels():
    assert abs(SIGMA - 8.0) < 1e-12
    assert len(LINE) == 51


def test_it_is_the_published_arithmetic():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:90, :70]
    picture = np.stack([((x // 13 + y // 11) % 2) * 0.7 + 0.1, x / 70, y / 90])
    picture = (picture + rng.normal(0, 0.01, picture.shape)).clip(0, 1).astype(np.float32)

    def blur(plane: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(plane.astype(np.float64), 8, radius=25, mode="mirror")

    out = sharpen(torch.from_numpy(picture)[None])[0].numpy()
    for plane, got in zip(picture, out, strict=True):
        residual = plane - blur(plane)
        share = blur(np.abs(residual) * 255 > 10)
        expected = share * np.clip(plane + 0.5 * residual, 0, 1) + (1 - share) * plane
        assert (np.abs(got - expected) > 5e-4).mean() < 0.005  # a pixel on the threshold itself may fall either way
        assert np.abs(got - expected).max() < 2e-3


def test_an_edge_becomes_steeper_and_a_flat_area_stays():
    picture = torch.full((1, 3, 100, 100), 0.4)
    picture[..., 50:] = 0.6
    out = sharpen(picture)
    assert float(out[0, 0, 50, 50] - out[0, 0, 50, 49]) > 0.25
    torch.testing.assert_close(out[..., :12], picture[..., :12], atol=1e-3, rtol=0)


def test_its_input_stays_as_it_is():
    picture = torch.rand(2, 3, 40, 33, generator=torch.Generator().manual_seed(0))
    kept = picture.clone()
    sharpen(picture)
    assert torch.equal(picture, kept)


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (51, 26), (130, 97)])
def test_the_blur_between_samples_is_that_of_every_place(size):
    rng = np.random.default_rng(1)
    picture = rng.uniform(0, 1, (2, *size)).round().astype(np.float32)
    expected = [ndimage.gaussian_filter(plane.astype(np.float64), 8, radius=25, mode="mirror") for plane in picture]
    np.testing.assert_allclose(blur(torch.from_numpy(picture)).numpy(), np.stack(expected), atol=6e-4)


def test_no_picture_can_make_the_blur_differ_by_a_level():
    def dense(band, before):
        out = np.zeros((band.after, before))
        for strip in band.strips:
            out[strip.first : strip.last, strip.start : strip.stop] = strip.matrix.numpy()
        return out

    for length in (7, 400):
        fewer, more = _build_bands(length, torch.device("cpu"))
        direct = np.array([ndimage.gaussian_filter1d(unit, 8, radius=25, mode="mirror") for unit in np.eye(length)]).T
        apart = np.abs(dense(more, fewer.after) @ dense(fewer, length) - direct).sum(axis=1).max()
        assert 2 * apart + apart**2 < 1 / 255
