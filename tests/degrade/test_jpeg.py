"""The codec is that of the published training, and near the JPEG of files."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import fft

from tessera.degrade.jpeg import compress, compute_step_factor
from tessera.degrade.tables import CHROMA_STEPS, LUMA_STEPS, build_luma_table, find_nearest_quality, read_luma_table


def soft_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 20
    rng = np.random.default_rng(seed)
    planes = [0.5 + 0.3 * np.sin(x * a + y * b + c) for a, b, c in rng.uniform(0.5, 2.5, (3, 3))]
    return (np.dstack(planes) + rng.normal(0, 0.02, (height, width, 3))).clip(0, 1).astype(np.float32)


def as_tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]


def one_block_at_a_time(picture: np.ndarray, quality: float) -> np.ndarray:
    """The codec in float64 with SciPy's transform: (H, W, 3) in [0, 1] -> the same."""
    height, width = picture.shape[:2]
    filled = np.zeros((-(-height // 16) * 16, -(-width // 16) * 16, 3))
    filled[:height, :width] = picture * 255.0
    r, g, b = np.moveaxis(filled, 2, 0)
    planes = [
        0.299 * r + 0.587 * g + 0.114 * b,
        -0.168736 * r - 0.331264 * g + 0.5 * b + 128,
        0.5 * r - 0.418688 * g - 0.081312 * b + 128,
    ]
    tables = [
        np.reshape(table, (8, 8)).T * compute_step_factor(quality) for table in (LUMA_STEPS, CHROMA_STEPS, CHROMA_STEPS)
    ]
    for number in (1, 2):
        p = planes[number]
        planes[number] = (p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2]) / 4
    for plane, table in zip(planes, tables, strict=True):
        for y in range(0, plane.shape[0], 8):
            for x in range(0, plane.shape[1], 8):
                block = plane[y : y + 8, x : x + 8]
                steps = np.round(np.asarray(fft.dctn(block - 128, norm="ortho")) / table)
                block[:] = np.asarray(fft.idctn(steps * table, norm="ortho")) + 128
    y, cb, cr = planes[0], *(plane.repeat(2, 0).repeat(2, 1) - 128 for plane in planes[1:])
    rgb = np.dstack((y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb))
    return (rgb.clip(0, 255) / 255)[:height, :width]


@pytest.mark.parametrize(("height", "width"), [(48, 64), (45, 37), (16, 17), (3, 5)])
@pytest.mark.parametrize("quality", [30, 49.9, 72.3, 95])
def test_it_is_the_published_arithmetic(height, width, quality):
    picture = soft_picture(height, width)
    out = compress(as_tensor(picture), [quality])[0].permute(1, 2, 0).numpy()
    apart = np.abs(out - one_block_at_a_time(picture, quality))
    assert np.median(apart) < 1e-5
    assert (apart > 1e-4).mean() < 0.01  # a cosine half-way between two steps may be rounded either way


def test_each_picture_has_its_own_quality():
    picture = as_tensor(soft_picture(64, 64))
    both = compress(picture.expand(2, 3, 64, 64), [30.0, 95.0])
    torch.testing.assert_close(both[0], compress(picture, [30.0])[0], atol=1e-6, rtol=0)
    assert (both[0] - picture[0]).abs().mean() > 1.3 * (both[1] - picture[0]).abs().mean()


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_it_takes_about_as_much_as_a_jpeg_file_does(quality):
    picture = soft_picture(128, 128)
    file = io.BytesIO()
    levels = (picture * 255).round().astype(np.uint8)
    Image.fromarray(levels).save(file, "JPEG", quality=quality, subsampling=2)
    real = np.asarray(Image.open(file), np.float32) / 255
    ours = compress(as_tensor(picture), [quality])[0].permute(1, 2, 0).numpy()

    def psnr(one: np.ndarray, other: np.ndarray) -> float:
        """Of luma: libjpeg smooths the colors that it enlarges, the training's codec does not."""
        return -10 * np.log10((((one - other) @ [0.299, 0.587, 0.114]) ** 2).mean())

    assert psnr(ours, real) > psnr(real, picture) + (quality < 80)
    assert psnr(ours, picture) == pytest.approx(psnr(real, picture), abs=0.3)


def test_the_tables_lie_on_their_side():
    """Waves across and waves down have steps 11 and 12 in a file; here they change places."""
    place = np.cos((2 * np.arange(8) + 1) * np.pi / 16)
    amplitude = 5.8  # of the cosine's number: rounds to one step of 11, to none of 12
    wave = 128 + amplitude * place[None, :] / 2 * np.sqrt(1 / 8) * np.ones((8, 1))
    across = np.dstack([np.pad(wave, ((0, 8), (0, 8)), constant_values=128)] * 3).astype(np.float32) / 255
    down = across.transpose(1, 0, 2)
    kept = [float(compress(as_tensor(each), [50.0])[0, 0, :8, :8].std()) for each in (across, down)]
    assert kept[0] < 1e-4
    assert kept[1] > 1e-3


@pytest.mark.parametrize("quality", [5, 35, 50, 77, 92])
def test_the_table_of_a_file_is_read_and_its_quality_known(tmp_path, quality):
    path = tmp_path / "a.jpg"
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path, quality=quality)
    table = read_luma_table(path)
    assert table is not None
    np.testing.assert_array_equal(table, build_luma_table(quality))
    assert find_nearest_quality(table) == quality


def test_files_without_a_table_have_none(tmp_path):
    for name, data in (
        ("a.png", b"\x89PNG"),
        ("b.jpg", b"\xff\xd8\xff\xd9"),
        ("c.jpg", b"\xff\xd8\xff\xdb\x00\x43\x00\x01"),
    ):
        (tmp_path / name).write_bytes(data)
        assert read_luma_table(tmp_path / name) is None
