"""`tessera data teach`, run through its own application."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from tessera.cli.data import app
from tessera.dataset.decoding import read_rgb
from tessera.dataset.sources import list_pictures
from tessera.dataset.taught import read_teaching
from tessera.errors import UsageError
from tessera.generators import RRDBNetConfig
from tessera.storage.checksum import compute_sha256
from tessera.weights.files import load_weights, save_weights
from tessera.weights.license import LICENSE_KEY
from train.runs import make_pictures

RECIPE = '[[kinds]]\nname = "clean"\nshare = 1.0\ndegradation = { kind = "area" }\n'


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["teach", *(str(each) for each in arguments)])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_pictures(tmp_path / "photos", count=2)
    config = RRDBNetConfig(features=16, growth=16, blocks=1)
    torch.manual_seed(0)
    save_weights(tmp_path / "big.safetensors", config, config.build().state_dict(), metadata={LICENSE_KEY: "CC-BY-4.0"})
    (tmp_path / "clean.toml").write_text("side = 16\nmargin = 4\n" + RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_store_is_made_finished_and_made_larger(desk: Path) -> None:
    words = ("big.safetensors", "photos", "-o", "store", "--recipe", "clean.toml")
    result = run(*words, "--pairs", 9)
    assert result.exit_code == 0, result.output
    digest = compute_sha256(desk / "big.safetensors")
    assert f"store: 9 pairs by big, sha256 {digest[:12]}" in result.stdout
    teaching = read_teaching(desk / "store")
    assert (teaching.teacher, teaching.sha256, teaching.license) == ("big", digest, "CC-BY-4.0")
    assert (teaching.scale, teaching.side) == (4, 16)
    assert "12 pairs" in run(*words, "--pairs", 12, "--resume").stdout

    network = load_weights(desk / "big.safetensors").network
    listing = list_pictures([desk / "store"])
    assert listing.lq is not None
    assert len(listing) == 12
    for lq, gt in zip(listing.lq, listing.gt, strict=True):
        x = torch.from_numpy(read_rgb(lq).pixels.transpose(2, 0, 1).copy())[None] / 255
        with torch.inference_mode():
            expected = (network(x).clamp(0, 1) * 255)[0].permute(1, 2, 0).numpy()
        assert np.abs(read_rgb(gt).pixels - expected).max() <= 0.51  # whichever engine that is exact was quickest


def test_a_folder_that_is_there_and_other_settings_are_refused(desk: Path) -> None:
    words = ("big.safetensors", "photos", "-o", "store", "--recipe", "clean.toml", "--pairs", 8)
    assert run(*words).exit_code == 0
    for more, said in (
        ((), "Choose another, or continue in it with"),
        (("--resume", "--seed", 4), "a different inputs"),
    ):
        result = run(*words, *more)
        assert isinstance(result.exception, UsageError)
        assert said in str(result.exception)


def test_a_wrong_key_of_the_recipe_is_named(desk: Path) -> None:
    (desk / "wrong.toml").write_text("sidde = 16\n" + RECIPE)
    result = run("big.safetensors", "photos", "-o", "store", "--recipe", "wrong.toml")
    assert isinstance(result.exception, UsageError)
    assert "sidde" in str(result.exception)
    assert not (desk / "store").exists()
