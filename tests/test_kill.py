"""Killed at any moment (kill -9), a batch resumes, and no output is half a file.

The moments are drawn from a seed: some while the program starts, the rest spread over its work, so that all of them
together go once through the whole run.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from pictures import ramp, save
from tessera.generators import SRVGGNetCompactConfig
from tessera.storage.atomic import PART_MARK
from tessera.upscaling.journal import JOURNAL_NAME
from tessera.weights.files import save_weights

COMMAND = [sys.executable, "-c", "import sys; from tessera.cli import main; sys.exit(main())", "upscale"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
EXTENSIONS = (".png", ".jpg", ".tif", ".webp", ".png", ".gif")


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    torch.manual_seed(0)
    save_weights(tmp_path / "tiny.safetensors", config, config.build().state_dict())
    options = ["-n", str(tmp_path / "tiny.safetensors"), "--engine", "pytorch", "-t", "32", "--json-progress"]
    return [*COMMAND, *options, "--recursive", str(tmp_path / "in")]


def make_pictures(folder: Path, count: int) -> None:
    for index in range(count):
        place = folder / ("", "below", "below/deeper")[index % 3]
        place.mkdir(parents=True, exist_ok=True)
        extension = EXTENSIONS[index % len(EXTENSIONS)]
        save(place / f"{index:02}{extension}", ramp(90 + index, 110, 3, seed=index))


def start(command: list[str], output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, "-o", str(output)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )


def run_whole(command: list[str], output: Path) -> tuple[float, float]:
    """Run to the end -> seconds until the first file, seconds of work."""
    began = time.monotonic()
    process = start(command, output)
    assert process.stdout is not None
    process.stdout.readline()
    working = time.monotonic()
    process.stdout.read()
    assert process.wait() == 0
    process.stdout.close()
    return working - began, time.monotonic() - working


def run_killed(command: list[str], output: Path, *, while_starting: bool, seconds: float) -> bool:
    """Run and kill after so many seconds, from the start or from the first file -> whether the kill came in time."""
    process = start(command, output)
    assert process.stdout is not None
    if not while_starting:
        process.stdout.readline()
    time.sleep(seconds)
    process.kill()
    process.stdout.read()
    process.stdout.close()
    return process.wait() != 0


def count_entries(output: Path) -> tuple[Counter[str], Counter[str]]:
    """Count the journal's lines of each output that say begun, and those that say done."""
    journal = output / JOURNAL_NAME
    lines = journal.read_bytes().splitlines() if journal.exists() else []
    entries = [json.loads(line) for line in lines if line.endswith(b"}")]
    begun = Counter(entry["output"] for entry in entries if entry["state"] == "begun")
    return begun, Counter(entry["output"] for entry in entries if entry["state"] == "done")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != JOURNAL_NAME
    }


@pytest.mark.parametrize(("files", "kills"), [(8, 3), pytest.param(30, 20, marks=pytest.mark.slow)])
@pytest.mark.timeout(1200)
def test_killed_at_random_moments_a_batch_resumes_and_equals_an_uninterrupted_one(
    files: int, kills: int, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pictures(tmp_path / "in", files)
    starting, working = run_whole(command, tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    assert len(expected) == files

    draw = random.Random(0)
    outputs = [tmp_path / "out-0"]
    finished: dict[tuple[Path, str], int] = {}
    """How often the journal called a file done when a kill found it under its final name."""
    killed = with_part = 0
    while killed < kills:
        while_starting = killed % 7 == 1
        seconds = draw.uniform(0, starting if while_starting else 1.6 * working / kills)
        in_time = run_killed(command, outputs[-1], while_starting=while_starting, seconds=seconds)
        killed += in_time
        left = contents(outputs[-1]) if outputs[-1].exists() else {}
        with_part += any(PART_MARK in name for name in left)
        in_place = {name: data for name, data in left.items() if PART_MARK not in name}
        # At every moment, what has its final name is whole.
        assert all(expected[name] == data for name, data in in_place.items())
        _, done = count_entries(outputs[-1])
        finished.update({(outputs[-1], name): done[name] for name in in_place})
        if not in_time:  # it had come to its end: the kills that are left go to another batch
            assert left == expected
            outputs.append(tmp_path / f"out-{len(outputs)}")
    run_whole(command, outputs[-1])

    again = 0
    for output in outputs:
        assert contents(output) == expected
        begun, done = count_entries(output)
        assert set(done) == set(expected)
        # A kill between the journal's line and the renaming costs that file; one under its final name is not redone.
        for name in expected:
            assert done[name] == finished.get((output, name), done[name]), "a finished file was done again"
        assert sum(done.values()) - files <= kills
        again += sum(begun.values()) - files
    assert again <= 2 * kills, "a kill costs at most the file that has the network and the one that is being written"
    with capsys.disabled():
        print(
            f" {killed} kills in {working:.1f} s of work of {files} files, {len(outputs)} batches:"
            f" {with_part} left a part, {again} files begun again"
        )
