"""`tessera evaluate` and `tessera niqe`, through the command line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera import save_weights, write_picture
from tessera.cli import main
from tessera.generators import SRVGGNetCompactConfig


def textures(height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.dstack([127 + 90 * np.sin((x + seed * 7) / (4 + c)) * np.cos(y / (6 + c)) for c in range(3)])
    return (waves + rng.normal(0, 9, waves.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    for index in range(3):
        (tmp_path / "data" / "Set5" / "HR").mkdir(parents=True, exist_ok=True)
        write_picture(textures(200, 208, index), tmp_path / "data" / "Set5" / "HR" / f"p{index}.png")
    torch.manual_seed(0)
    config = SRVGGNetCompactConfig(features=4, convolutions=1)
    save_weights(tmp_path / "m.safetensors", config, config.build().state_dict())
    rng = np.random.default_rng(0)
    features = rng.normal(1, 0.3, (200, 36))
    np.savez(tmp_path / "niqe.npz", mu_pris_param=features.mean(0), cov_pris_param=np.cov(features, rowvar=False))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TESSERA_DATA", raising=False)
    return tmp_path


def test_models_on_a_test_set(desk, capsys):
    words = ["evaluate", "--bench", "Set5", "--data", "data", "-n", "m.safetensors", "--metrics", "psnr,ssim,niqe"]
    assert main([*words, "--niqe-model", "niqe.npz", "-o", "out", "--companions"]) == 0
    said = capsys.readouterr().out
    assert "protocol: paper" in said
    assert "5 pictures; 3 were found" in said
    table = list(csv.DictReader((desk / "out" / "scores.csv").read_text().splitlines()))
    assert len(table) == 9
    assert all(float(row[name]) for row in table for name in ("psnr", "ssim", "niqe"))
    assert json.loads((desk / "out" / "scores.json").read_text())["scale"] == 4
    assert "<html" in (desk / "out" / "report.html").read_text()
    assert list((desk / "out" / "companions").glob("*/metrics.csv"))


def test_results_against_references(desk, capsys):
    (desk / "sr").mkdir()
    for index in range(2):
        write_picture(textures(200, 208, index), desk / "sr" / f"p{index}_out.png")
    assert main(["evaluate", "--sr", "sr", "--gt", "data/Set5/HR", "-o", "out"]) == 1
    said = capsys.readouterr()
    assert "inf" in said.out
    assert "p2.png: has no partner among the results" in said.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Nothing to score"),
        (["--sr", "data/Set5/HR", "-n", "bicubic"], "Use one or the other"),
        (["--bench", "Set5", "-n", "bicubic"], "TESSERA_DATA"),
        (["--bench", "Set5", "--data", "data"], "--model: name what to score"),
        (["--bench", "Set6", "--data", "data", "-n", "bicubic"], "did you mean Set5"),
        (["--gt", "data/Set5/HR", "-n", "bicubic", "--metrics", "psrn"], "known are psnr"),
        (["--sr", "data/Set5/HR", "--metrics", "psnr"], "needs references"),
        (["--gt", "data/Set5/HR", "-n", "bicubic", "--protocol", "papers"], "did you mean paper"),
        (["--gt", "data/Set5/HR", "-n", "bicubic", "--crop", "-4"], "number of pixels"),
        (["--gt", "nowhere", "-n", "bicubic"], "no such folder"),
        (["--gt", "data/Set5/HR", "-n", "m.safetensors", "-s", "2"], "expected 4, the scale of m, found 2"),
        (["--gt", "data/Set5/HR", "-n", "bicubic", "--metrics", "niqe", "--niqe-model", "x.npz"], "no such file"),
    ],
)
def test_senseless_words_get_a_sentence(words, sentence, desk, capsys):
    assert main(["evaluate", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_niqe_of_files_and_folders(desk, capsys):
    write_picture(textures(40, 40, 0), desk / "small.png")
    code = main(["niqe", "data/Set5/HR", "small.png", "--niqe-model", "niqe.npz", "--csv", "scores.csv"])
    said = capsys.readouterr()
    assert code == 1
    assert "mean of 3 (Y of BT.601 in 16..235, rounded; crop none)" in said.out
    assert "small.png: NIQE needs 2 blocks of 96x96" in said.err
    assert len((desk / "scores.csv").read_text().splitlines()) == 4
    assert main(["niqe", "data/Set5/HR", "--niqe-model", "niqe.npz", "--luma", "pil-l"]) == 0
    assert "Pillow" in capsys.readouterr().out


def test_niqe_without_its_statistics_says_where_they_belong(desk, capsys, monkeypatch):
    monkeypatch.setenv("TESSERA_MODELS", str(desk / "models"))
    assert main(["niqe", "data/Set5/HR", "--offline"]) == 1
    assert "niqe_pris_params.npz" in capsys.readouterr().err
