"""`tessera train`, through the command line."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tessera.cli import main
from tessera.train.downloads import list_missing
from tessera.train.recipe import load_recipe
from train.runs import SMALL, SMALL_RRDB, make_pictures, trained_lines

RUN = ("rrdb-psnr", *SMALL, *SMALL_RRDB, "pool=0", "name=run", "steps=4", "checkpoint.every=2")


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    make_pictures(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_and_its_continuation(desk, capsys):
    assert main(["train", *RUN]) == 0
    said = capsys.readouterr()
    assert "4 steps done" in said.out
    assert "step 4 of 4  pixel" in said.err
    assert main(["train", *RUN]) == 1
    assert "a run of this name exists" in capsys.readouterr().err
    assert main(["train", *RUN, "steps=6", "--resume"]) == 0
    assert "Resuming at step 4 of 6" in capsys.readouterr().err
    assert [line["step"] for line in trained_lines(desk / "runs" / "run")] == [1, 2, 3, 4, 5, 6]
    assert main(["train", *RUN, "steps=6", "--resume"]) == 0
    assert "measured" not in capsys.readouterr().err.partition("Resuming")[2]


def test_the_runs_own_configuration_goes_on(desk, capsys):
    assert main(["train", *RUN]) == 0
    assert main(["train", "runs/run/config.toml", "steps=5", "--resume", "-q"]) == 0
    assert [line["step"] for line in trained_lines(desk / "runs" / "run")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rrdb-psnr"], "No training pictures"),
        (["rrdb-psn"], "did you mean rrdb-psnr?"),
        (["rrdb-psnr", "data.trian=photos"], "did you mean `data.train`?"),
        (["rrdb-psnr", "data.train=photos", "--resume"], "no run to resume"),
        (["none.toml"], "cannot be read"),
        (["rrdb-psnr", "steps"], "key=value"),
        (["rrdb-psnr", "data.train=photos", "--resum"], "did you mean --resume?"),
    ],
)
def test_wrong_usage_is_one_sentence(desk, capsys, words, sentence):
    assert main(["train", *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (desk / "runs").exists()


def test_a_run_that_goes_on_may_not_become_another(desk, capsys):
    assert main(["train", *RUN]) == 0
    assert main(["train", *RUN, "generator.blocks=2", "optimizer.rate=1", "--resume"]) == 2
    assert "cannot change generator.blocks and optimizer.rate" in capsys.readouterr().err


def test_the_complete_configuration_can_be_shown(desk, capsys):
    assert main(["train", *RUN, "--show"]) == 0
    said = capsys.readouterr().out
    assert 'network = "rrdbnet"' in said
    assert "[watch]" in said
    assert not (desk / "runs").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_sigterm_saves_and_ends_with_the_code_of_the_signal(desk):
    words = [sys.executable, "-m", "tessera", "train", *RUN, "steps=100000"]
    process = subprocess.Popen(words, cwd=desk, stderr=subprocess.PIPE, text=True)
    metrics = desk / "runs" / "run" / "metrics.jsonl"
    until = time.monotonic() + 120
    while not (metrics.exists() and '"step": 3,' in metrics.read_text()) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert "saved. Continue with --resume" in said
    assert "Traceback" not in said


@pytest.fixture
def empty_models(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("TESSERA_MODELS", str(folder))
    monkeypatch.setenv("TESSERA_OFFLINE", "1")
    return folder


def test_downloads_are_announced_with_their_size_and_the_line_without_them(desk, empty_models, capsys):
    assert main(["train", "finetune", "data.train=photos", "name=a b"]) == 1
    said = capsys.readouterr().err
    assert "perceptual.trunk: vgg19 (575 MB) is not on this machine" in said
    assert "To train without it: tessera train finetune data.train=photos 'name=a b' perceptual.weight=0\n" in said
    assert not (desk / "runs").exists()


def test_the_distilled_trunk_is_proposed_where_it_is_here(desk, empty_models):
    (empty_models / "vgg19-distilled-encoder.pth").write_bytes(b"")
    (missing,) = list_missing(load_recipe("realesrgan", ["start.generator="]))
    assert missing.instead == ("perceptual.trunk=vgg19-distilled",)
    recipe = load_recipe("realesrgan", ["start.generator=", *missing.instead])
    assert list_missing(recipe) == []
    assert recipe.perceptual is not None  # the distilled trunk ends at relu5_1
    assert recipe.perceptual.layers == {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_1": 1}


def test_a_model_to_start_from_is_announced_too(empty_models):
    found = list_missing(load_recipe("rrdb-psnr", ["start.generator=realesrgan-x4plus", "generator.scale=4"]))
    assert found == []  # installed with the package
    (missing,) = list_missing(load_recipe("rrdb-psnr", ["start.generator=realesrnet-x4plus"]))
    assert (missing.key, missing.name) == ("start.generator", "realesrnet-x4plus")


def test_the_training_examples_of_the_readme_need_no_download(empty_models):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    lines = [line.partition("#")[0] for line in readme.splitlines() if line.startswith("tessera train ")]
    assert lines
    for line in lines:
        recipe, *changes = shlex.split(line)[2:]
        assert list_missing(load_recipe(recipe, changes)) == [], line
