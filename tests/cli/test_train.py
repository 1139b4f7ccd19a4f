"""`tessera train`, through the command line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tessera.cli import main
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
