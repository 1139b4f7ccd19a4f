"""Archives of accelerators' tools: packed as their scripts pack, unpacked as their scripts unpack."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tessera.deploy.npz import pack, read_array, run_model, unpack
from tessera.errors import PictureError, UsageError
from tessera.images.picture import read_picture
from tessera.images.writer import write_picture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape, dtype in (
        ("a.png", (20, 30, 3), np.uint8),
        ("b.png", (16, 16, 4), np.uint8),
        ("c.png", (9, 12, 1), np.uint16),
    ):
        write_picture(rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype), folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def result(folder: Path, name: str, array: np.ndarray, key: str = "output_0") -> None:
    folder.mkdir(exist_ok=True)
    arrays: Any = {key: array}
    np.savez(folder / f"{name}.npz", **arrays)


def test_pictures_become_planes_of_rgb_in_the_order_of_the_list(photos, tmp_path):
    made = pack(photos, tmp_path / "in")
    assert [path.name for path in made] == ["a.npz", "b.npz", "c.npz"]
    assert (tmp_path / "in" / "datalist.txt").read_text().splitlines() == [str(path) for path in made]
    for name in "ab":
        with np.load(tmp_path / "in" / f"{name}.npz") as archive:
            planes = archive["input_0"]
            assert list(archive) == ["input_0"]
        expected = np.asarray(Image.open(photos / f"{name}.png"))[..., :3]
        assert planes.dtype == np.uint8
        assert np.array_equal(planes.transpose(1, 2, 0), expected)
    with np.load(tmp_path / "in" / "c.npz") as archive:
        gray = read_picture(photos / "c.png").pixels.reshape(9, 12)
        assert np.array_equal(archive["input_0"], np.stack([np.rint(gray / 257)] * 3).astype(np.uint8))


def test_a_size_is_made_by_covered_area_with_the_aspect_lost(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (12, 24, 3), np.uint8)
    write_picture(pixels, folder / "a.png")
    (path,) = pack(folder, tmp_path / "in", size=(6, 6))
    means = pixels.reshape(6, 2, 6, 4, 3).mean((1, 3))
    assert np.abs(read_array(path, "input_0").transpose(1, 2, 0) - means).max() <= 0.5 + 1e-9


def test_the_same_pictures_give_the_same_bytes(photos, tmp_path):
    one, two = (pack(photos, tmp_path / name) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.parametrize("batched", [False, True])
def test_results_are_clipped_and_rounded_as_they_are_scored(batched, tmp_path):
    planes = np.random.default_rng(0).uniform(-0.2, 1.2, (3, 5, 7)).astype(np.float32)
    result(tmp_path / "out", "a", planes[None] if batched else planes)
    (path,) = unpack(tmp_path / "out", tmp_path / "pictures", suffix="_x4")
    assert path.name == "a_x4.png"
    expected = np.floor(planes.astype(np.float64).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    assert np.array_equal(np.asarray(Image.open(path)), expected.transpose(1, 2, 0))


def test_a_model_stands_in_for_the_accelerator(photos, tmp_path):
    pack(photos, tmp_path / "in")
    run_model(lambda x: x.repeat(2, -1).repeat(2, -2), tmp_path / "in", tmp_path / "out")
    unpack(tmp_path / "out", tmp_path / "pictures")
    expected = read_picture(photos / "a.png").pixels.repeat(2, 0).repeat(2, 1)
    assert np.array_equal(read_picture(tmp_path / "pictures" / "a.png").pixels, expected)
    with pytest.raises(UsageError, match="choose another folder"):
        run_model(lambda x: x, tmp_path / "in", tmp_path / "in")
    with pytest.raises(PictureError, match=r"c\.npz: 12x9, and both sides have to divide by 2"):
        run_model(lambda x: x, tmp_path / "in", tmp_path / "other", multiple=2)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((3, 4, 4), 128, np.int32), "holds int32, and inputs are uint8, or floats"),
        (np.full((3, 4, 4), 40_000, np.uint16), "holds uint16"),
        (np.full((3, 4, 4), np.nan, np.float32), "not finite"),
        (np.full((3, 4, 4), 1e300), "not finite"),
    ],
)
def test_inputs_in_numbers_that_mean_no_colors_are_not_run(array, words, tmp_path):
    result(tmp_path / "in", "a", array, "input_0")
    with pytest.raises(PictureError, match=words) as caught:
        run_model(lambda x: x, tmp_path / "in", tmp_path / "out")
    assert str(caught.value).startswith(f"{tmp_path / 'in' / 'a.npz'}: `input_0`")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_inputs_of_eight_bits_and_of_floats_are_the_same_to_a_model(dtype, tmp_path):
    levels = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    result(tmp_path / "in", "a", levels, "input_0")
    result(tmp_path / "in", "b", (levels / 255).astype(dtype), "input_0")
    run_model(lambda x: x, tmp_path / "in", tmp_path / "out")
    one, two = (read_array(tmp_path / "out" / f"{name}.npz", "output_0") for name in "ab")
    assert one.shape == (1, 3, 4, 4)
    assert one == pytest.approx(levels[None] / 255, abs=1e-6)
    assert np.abs(one - two).max() < 1e-4


def test_what_is_no_archive_of_results_is_a_sentence(tmp_path):
    folder = tmp_path / "out"
    for array, key, words in (
        (np.zeros((3, 4, 4), np.float32), "other", "no array `output_0`"),
        (np.zeros((4, 4, 3), np.float32), "output_0", r"expected \(3, height, width\)"),
        (np.zeros((3, 4, 4), np.uint8), "output_0", "floats in"),
        (np.full((3, 4, 4), np.nan), "output_0", "not finite"),
        (np.array([None]), "output_0", "holds object"),
    ):
        result(folder, "a", array, key)
        with pytest.raises(PictureError, match=words) as caught:
            unpack(folder, tmp_path / "pictures")
        assert str(caught.value).startswith(f"{folder / 'a.npz'}: ")
    for content in (b"", b"no archive", (folder / "a.npz").read_bytes()[:60]):
        (folder / "a.npz").write_bytes(content)
        with pytest.raises(PictureError, match="not a complete NumPy archive"):
            unpack(folder, tmp_path / "pictures")


class Trap:
    def __reduce__(self):
        return (Path("trapped").write_text, ("",))


def test_nothing_in_an_archive_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    (tmp_path / "out").mkdir()
    with zipfile.ZipFile(tmp_path / "out" / "a.npz", "w") as archive:
        archive.writestr("output_0.npy", header.getvalue() + pickle.dumps([Trap()]))
    with pytest.raises(PictureError, match="holds object"):
        unpack(tmp_path / "out", tmp_path / "pictures")
    assert not (tmp_path / "trapped").exists()


def test_an_array_that_declares_too_much_is_not_read(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (3, 99999, 99999)})
    (tmp_path / "out").mkdir()
    with zipfile.ZipFile(tmp_path / "out" / "a.npz", "w") as archive:
        archive.writestr("output_0.npy", header.getvalue())
    with pytest.raises(PictureError, match="at most 4 GiB"):
        unpack(tmp_path / "out", tmp_path / "pictures")


def test_folders_that_hold_nothing_to_do_are_named(photos, tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        pack(tmp_path / "nowhere", tmp_path / "in")
    with pytest.raises(UsageError, match="no archives"):
        unpack(photos, tmp_path / "pictures")
    write_picture(np.zeros((4, 4, 3), np.uint8), photos / "a.jpg")
    with pytest.raises(UsageError, match=r"a\.png and a\.jpg would both become a\.npz"):
        pack(photos, tmp_path / "in")
    (tmp_path / "file").write_text("")
    (photos / "a.jpg").unlink()
    with pytest.raises(UsageError, match="cannot create"):
        pack(photos, tmp_path / "file")
