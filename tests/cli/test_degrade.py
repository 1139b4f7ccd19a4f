"""`tessera degrade`, run through its own application."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from typer.testing import CliRunner, Result

from pictures import ramp, random_pixels, save
from tessera.cli.degrade import app
from tessera.degrade import Degradation, RealESRGANDegradation, apply, from_json
from tessera.errors import UsageError
from tessera.images.picture import read_picture


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return save(tmp_path / "photo.png", ramp(120, 160))


def test_a_sheet_shows_the_cut_and_what_becomes_of_it_and_json_repeats_it(photo: Path, tmp_path: Path) -> None:
    result = run(
        photo, "-o", tmp_path / "s.png", "--seed", 7, "--patch", 64, "--count", 3, "--json", tmp_path / "d.json"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 's.png'}: 3 draws of realesrgan.\n"
    sheet = read_picture(tmp_path / "s.png").pixels
    written = json.loads((tmp_path / "d.json").read_text())
    assert written["seed"] == 7
    assert len(written["draws"]) == 3
    source = read_picture(photo).pixels
    for number, each in enumerate(written["draws"]):
        gt = source[each["y"] : each["y"] + 64, each["x"] : each["x"] + 64]
        top = number * (sheet.shape[0] // 3) + 12 + 22
        assert (sheet[top : top + 64, 12 : 12 + 64] == gt).all()
        tensor = torch.from_numpy(gt.copy()).permute(2, 0, 1)[None].float() / 255
        lq = (apply(tensor, from_json(json.dumps(each["draw"]))).lq[0] * 255).round().byte().permute(1, 2, 0).numpy()
        left = 12 + 2 * (256 + 12)
        assert (sheet[top : top + 64 : 4, left : left + 64 : 4] == lq).all()


def test_the_same_seed_gives_the_same_sheet_and_another_another(photo: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run(photo, "-o", tmp_path / f"{name}.png", "--seed", seed, "--patch", 64, "--count", 2).exit_code == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("recipe", ["bicubic", "pil-bicubic", "cv2-cubic", "area"])
def test_a_folder_gets_the_pictures(photo: Path, tmp_path: Path, recipe: str) -> None:
    gray = save(tmp_path / "gray.png", random_pixels(64, 48, 2, np.uint16))
    result = run(photo, gray, "-o", tmp_path / "out", "--recipe", recipe)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["gray_lq.png", "photo_lq.png"]
    small = read_picture(tmp_path / "out" / "photo_lq.png").pixels
    assert small.shape == (30, 40, 3)
    blocks = read_picture(photo).pixels.reshape(30, 4, 40, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - blocks).max() < 12


def test_what_cannot_be_read_is_named_and_the_rest_is_done(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    result = run(tmp_path / "broken.png", photo, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "broken.png" in result.stderr
    assert (tmp_path / "out" / "photo_lq.png").exists()


def test_a_recipe_file_is_obeyed(photo: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[degradation]\nkind = "realesrgan"\n[degradation.second.jpeg]\nquality = [61.0, 61.0]\n')
    result = run(photo, "-o", tmp_path / "out", "--recipe", recipe, "--json", tmp_path / "d.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "d.json").read_text())["draws"][0]["draw"]["second"]["qualities"] == [61.0]
    recipe.write_text('[degradation]\nkind = "realesrgan"\n[degradation.second.jpeg]\nquality = [61.0, 10.0]\n')
    with pytest.raises(UsageError, match=r"second\.jpeg\.quality"):
        raise run(photo, "-o", tmp_path / "out2", "--recipe", recipe).exception or AssertionError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name photographs"),
        (["PHOTO", "--recipe", "esrgan"], "expected realesrgan"),
        (["PHOTO", "--scale", "0"], "1 to 16"),
        (["PHOTO", "--patch", "8"], "32 to"),
        (["PHOTO", "--count", "0"], "1 to 256"),
        (["PHOTO", "--seed", "-1"], "0 or more"),
        (["PHOTO", "-o", "PHOTO"], "one of the photographs"),
        (["PHOTO", "-o", "/nowhere/at/all/s.png"], "does not exist"),
        (["PHOTO", "--estimate", "FOLDER"], "remove the photographs"),
        (["--estimate", "FOLDER/none"], "no such folder"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(photo: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    named = {"PHOTO": str(photo)}
    words = [named.get(each, each.replace("FOLDER", str(tmp_path))) for each in arguments]
    error = run(*words).exception
    assert isinstance(error, UsageError)
    assert said in str(error)


def test_what_exists_is_not_replaced_unasked(photo: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "s.png"
    sheet.write_bytes(b"mine")
    assert isinstance(run(photo, "-o", sheet, "--patch", 64).exception, UsageError)
    assert sheet.read_bytes() == b"mine"
    assert run(photo, "-o", sheet, "--patch", 64, "--count", 1, "--overwrite").exit_code == 0


def test_estimated_ranges_are_a_recipe_that_covers_what_was_done(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:240, :240]
    edges = ((x // 40 + y // 40) % 2 * 100 + 70)[..., None].repeat(3, axis=2)
    for number, sigma in enumerate((3, 4, 5, 6)):
        noisy = (edges + rng.normal(0, sigma, edges.shape)).clip(0, 255).round().astype(np.uint8)
        save(folder / f"{number}.png", noisy)
        save(folder / f"{number}.jpg", noisy, Q=70 + 5 * number)
    result = run("--estimate", folder)
    assert result.exit_code == 0, result.output
    values = tomllib.loads(result.stdout)["degradation"]
    config = TypeAdapter(Degradation).validate_python(values)
    assert isinstance(config, RealESRGANDegradation)
    low, high = config.second.noise.sigma_255
    assert low < 4  # at these qualities JPEG leaves little of noise
    assert high == pytest.approx(6, abs=0.6)
    assert config.second.jpeg.probability == 0.5
    assert config.second.jpeg.quality == pytest.approx((71, 84), abs=1)
    assert config.second.resize.up == 0.3
    assert "8 pictures" in result.stdout


def test_an_empty_folder_has_nothing_to_measure(tmp_path: Path) -> None:
    error = run("--estimate", tmp_path).exception
    assert isinstance(error, UsageError)
    assert "no pictures" in str(error)
