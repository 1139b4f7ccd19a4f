"""A run that is killed and resumed is, to the bit, the run that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from train.runs import SMALL, SMALL_RRDB, make_pictures, trained_lines

FILES = ("generator.safetensors", "average.safetensors", "discriminator.safetensors", "optimizers.safetensors")
EVERYTHING_RANDOM = (
    "tricks.noisy_labels=true",
    "tricks.instance_noise=true",
    "tricks.lq_noise=0.02",
    "data.rotations=true",
    "step.accumulate=2",
)


def command(recipe: str, name: str, *more: str) -> list[str]:
    changes = [*SMALL, *SMALL_RRDB, f"name={name}", "steps=8", "checkpoint.every=3", "data.workers=2", *more]
    return [sys.executable, "-m", "tessera", "train", recipe, *changes]


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def killed_after(step: int, words: list[str], folder: Path, run_folder: Path) -> None:
    """Start a run, and kill -9 it once it has recorded this step."""
    process = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 240
    while time.monotonic() < until:
        metrics = run_folder / "metrics.jsonl"
        if metrics.exists() and f'"step": {step},' in metrics.read_text():
            break
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tensors(path: Path) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
@pytest.mark.parametrize(
    ("recipe", "more"),
    [
        pytest.param("realesrnet", (), marks=pytest.mark.slow),
        ("a-esrgan-multi", ("discriminator.features=4", *EVERYTHING_RANDOM)),
    ],
)
def test_a_killed_and_resumed_run_equals_one_that_was_not(recipe, more, tmp_path):
    make_pictures(tmp_path / "photos")
    run(command(recipe, "whole", *more), tmp_path)
    killed_after(5, command(recipe, "killed", *more), tmp_path, tmp_path / "runs" / "killed")
    said = run([*command(recipe, "killed", *more), "--resume"], tmp_path)
    assert "Resuming at step 3 of 8" in said or "Resuming at step 6 of 8" in said
    whole, killed = (tmp_path / "runs" / name / "checkpoints" / "000000008" for name in ("whole", "killed"))
    names = [name for name in FILES if (whole / name).exists()]
    assert len(names) == (3 if recipe == "realesrnet" else 4)
    for name in (*names, "pool.safetensors"):
        assert tensors(whole / name) == tensors(killed / name), name
    lines = [trained_lines(tmp_path / "runs" / name) for name in ("whole", "killed")]
    assert lines[0] == lines[1]
    assert [line["step"] for line in lines[0]] == list(range(1, 9))
