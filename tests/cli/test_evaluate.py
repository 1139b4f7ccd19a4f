"""`tessera evaluate` and `tessera niqe`, through the command line."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera import read_picture, save_weights, write_picture
from tessera.cli import main
from tessera.generators import SRVGGNetCompactConfig


def textures(height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.dstack([127 + 90 * np.sin((x + seed * 7) / (4 + c)) * np.cos(y / (6 + c)) for c in range(3)])
    return (waves + rng.normal(0, 9, waves.shape)).clip(0, 255).astype(np.uint8)


def save_model(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    config = SRVGGNetCompactConfig(features=4, convolutions=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, config, config.build().state_dict())


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    for index in range(3):
        (tmp_path / "data" / "Set5" / "HR").mkdir(parents=True, exist_ok=True)
        write_picture(textures(200, 208, index), tmp_path / "data" / "Set5" / "HR" / f"p{index}.png")
    save_model(tmp_path / "m.safetensors", 0)
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


def test_niqe_works_offline_and_by_the_option_of_the_published_script(desk, capsys, monkeypatch):
    monkeypatch.setenv("TESSERA_MODELS", str(desk / "models"))
    assert main(["niqe", "data/Set5/HR", "--offline"]) == 0
    said = capsys.readouterr().out
    assert "mean of 3" in said
    assert main(["niqe", "--path", "data/Set5/HR"]) == 0
    assert capsys.readouterr().out == said
    assert not (desk / "models").exists()


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(keepends=True)))


def test_models_of_one_file_name_keep_their_own_pictures(desk):
    runs = [f"runs/{run}/best.safetensors" for run in "abc"]
    for seed, run in enumerate(runs):
        save_model(desk / run, seed)
    save_model(desk / "input.safetensors", 3)
    words = [word for model in [*runs, "input.safetensors"] for word in ("-n", model)]
    assert main(["evaluate", "--gt", "data/Set5/HR", *words, "--limit", "1", "-o", "out", "--companions"]) == 0
    rows = json.loads((desk / "out" / "scores.json").read_text())["rows"]
    models = [row for row in rows if row["method"] not in ("bicubic", "lanczos")]
    assert [row["method"] for row in models] == ["a/best", "b/best", "c/best", "input.safetensors"]
    for model, row in zip([*runs, "input.safetensors"], models, strict=True):
        alone = desk / "alone.png"
        assert main(["upscale", row["lq"], "-n", model, "-o", str(alone), "--overwrite", "--precision", "exact"]) == 0
        pixels = [read_picture(Path(path)).pixels.astype(int) for path in (row["sr"], alone)]
        assert np.abs(pixels[0] - pixels[1]).max() <= 1, f"{row['method']} has the pictures of another model"
    assert len(list((desk / "out" / "companions").glob("*/metrics.csv"))) == 4
    assert all(row["method"] in (desk / "out" / "report.html").read_text() for row in models)


def test_several_test_sets_are_scored_separately(desk, capsys):
    (desk / "data" / "Set14" / "HR").mkdir(parents=True)
    write_picture(textures(100, 120, 9), desk / "data" / "Set14" / "HR" / "p0.png")
    (desk / "data" / "RealSRSet").mkdir(parents=True)
    write_picture(textures(60, 64, 9), desk / "data" / "RealSRSet" / "r.png")
    words = ["evaluate", "--data", "data", "-n", "bicubic", "--metrics", "psnr", "--metrics", "ssim"]
    assert main([*words, "--bench", "Set5", "--bench", "Set14", "-o", "twice"]) == 0
    assert main([*words, "--bench", "Set5,Set14,set5", "-o", "listed"]) == 0
    said = capsys.readouterr().out
    assert said.count("## Set14 x4") == 2
    table = rows_of(desk / "twice" / "scores.csv")
    assert (desk / "listed" / "scores.csv").read_bytes() == (desk / "twice" / "scores.csv").read_bytes()
    assert [row["set"] for row in table if row["model"] == "bicubic"] == ["Set5 x4"] * 3 + ["Set14 x4"]
    assert all(float(row["ssim"]) for row in table)
    assert main(["evaluate", "--bench", "Set14", "--data", "data", "-n", "bicubic", "-o", "alone"]) == 0
    (alone,) = [row for row in rows_of(desk / "alone" / "scores.csv") if row["model"] == "bicubic"]
    assert next(row["psnr"] for row in table if row["set"] == "Set14 x4") == alone["psnr"]
    page = (desk / "twice" / "report.html").read_text()
    assert page.count("Set14 x4</bdi></h3>") == 4  # summary, trade-off, best and worst pictures, all scores
    niqe = ["--metrics", "psnr,niqe", "--niqe-model", "niqe.npz"]
    assert main([*words[:5], *niqe, "--bench", "Set5,RealSRSet", "-o", "mixed"]) == 0
    mixed = [row for row in rows_of(desk / "mixed" / "scores.csv") if row["model"] == "bicubic"]
    assert [bool(row["psnr"]) for row in mixed] == [True] * 3 + [False]
    assert all(float(row["niqe"]) for row in mixed)


def test_published_scores_stand_next_to_the_measured_ones(desk, capsys):
    words = ["evaluate", "--data", "data", "--bench", "Set5", "-n", "bicubic", "--limit", "1", "-o", "out"]
    assert main([*words, "--protocol", "a-esrgan"]) == 0
    said = capsys.readouterr().out
    assert "| A-ESRGAN-Multi (published: A-ESRGAN, Table 1) | 3.84 |" in said
    assert "| RealESRGAN (published: A-ESRGAN, Table 1) | 4.8629 |" in said
    published = json.loads((desk / "out" / "scores.json").read_text())["published"]
    assert {each["method"]: each["score"] for each in published}["Bicubic"] == 7.8524
    page = (desk / "out" / "report.html").read_text()
    assert page.count("(published: A-ESRGAN, Table 1)") == 7 * page.count("not measured here")
    assert "published" not in (desk / "out" / "scores.csv").read_text()
    assert main([*words, "--protocol", "a-esrgan", "--luma", "y"]) == 0  # another protocol than the paper's
    assert "published" not in capsys.readouterr().out


def test_one_name_that_is_not_utf8_costs_no_score(desk, capsys):
    odd = os.fsdecode(b"caf\xe9.png")
    for folder in ("sr", "gt"):
        (desk / folder).mkdir()
        for name in (odd, "=1+1.png", "plain.png"):
            write_picture(textures(40, 44, len(name)) // (2 if folder == "sr" else 1), desk / folder / name)
    assert main(["evaluate", "--sr", "sr", "--gt", "gt", "-o", "out"]) == 0
    assert "result" in capsys.readouterr().out
    names = {row["picture"] for row in rows_of(desk / "out" / "scores.csv") if float(row["psnr"])}
    assert names == {"caf\\udce9", "'=1+1", "plain"}
    json.loads((desk / "out" / "scores.json").read_bytes().decode("utf-8"))
    assert "| result |" in (desk / "out" / "scores.md").read_bytes().decode("utf-8")
    assert "caf\\udce9" in (desk / "out" / "report.html").read_bytes().decode("utf-8")


def test_a_full_disk_loses_no_table_and_no_score(desk):
    """A limit on the size of files stands for a full disk: the system refuses the same writes with another number."""
    (desk / "sr").mkdir()
    write_picture(textures(200, 208, 0) // 2, desk / "sr" / "p0.png")
    (desk / "out").mkdir()
    (desk / "out" / "scores.csv").write_text("of an earlier run\n")
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40));"
        " from tessera.cli import main;"
        " sys.exit(main(['evaluate', '--sr', 'sr', '--gt', 'data/Set5/HR', '-o', 'out', '--metrics', 'psnr']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=desk)
    assert done.returncode == 1, done.stderr
    assert "| result | " in done.stdout
    assert "scores.csv: cannot be written: File too large." in done.stderr
    assert "report.html: cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (desk / "out").iterdir()] == ["scores.csv"]
    assert (desk / "out" / "scores.csv").read_text() == "of an earlier run\n"


def test_tables_and_pictures_do_not_follow_links_out_of_the_folder(desk, capsys):
    (desk / "precious.txt").write_text("precious")
    (desk / "elsewhere").mkdir()
    (desk / "out").mkdir()
    for name in ("scores.csv", "scores.json", "scores.md", "report.html", "niqe.csv"):
        (desk / "out" / name).symlink_to(desk / "precious.txt")
    assert main(["evaluate", "--gt", "data/Set5/HR", "-n", "bicubic", "--limit", "1", "-o", "out"]) == 0
    assert main(["niqe", "data/Set5/HR/p0.png", "--niqe-model", "niqe.npz", "--csv", "out/niqe.csv"]) == 0
    assert (desk / "precious.txt").read_text() == "precious"
    assert rows_of(desk / "out" / "niqe.csv")[0]["picture"].endswith("p0.png")
    (desk / "linked").mkdir()
    (desk / "linked" / "pictures").symlink_to(desk / "elsewhere")
    assert main(["evaluate", "--gt", "data/Set5/HR", "-n", "bicubic", "-o", "linked"]) == 1
    assert "leads out of" in capsys.readouterr().err
    assert list((desk / "elsewhere").iterdir()) == []


def test_means_say_how_many_pictures_they_are_of(desk, capsys):
    for folder in ("sr", "gt"):
        (desk / folder).mkdir()
    for index, side in enumerate((200, 40, 48)):
        gt = textures(side, side, index)
        write_picture(gt, desk / "gt" / f"p{index}.png")
        write_picture(gt if index == 1 else gt // 2, desk / "sr" / f"p{index}.png")
    assert main(["evaluate", "--sr", "sr", "--gt", "gt", "-o", "out", "--metrics", "psnr,ms-ssim"]) == 1
    said = capsys.readouterr().out
    assert "(1 equal)" in said
    assert "(1 of 3)" in said
    psnrs = [float(row["psnr"]) for row in rows_of(desk / "out" / "scores.csv")]
    assert sum(map(math.isinf, psnrs)) == 1
    means = json.loads((desk / "out" / "scores.json").read_text())["means"]
    assert means[0]["mean"] == pytest.approx(np.mean([psnr for psnr in psnrs if math.isfinite(psnr)]))
    page = (desk / "out" / "report.html").read_text()
    assert "(1 of 3)" in page
    assert "(1 equal)" in page
