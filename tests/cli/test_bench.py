"""`tessera bench`, run as users run it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera import Picture, save_weights, write_picture
from tessera.bench import peaks, turns
from tessera.cli import main
from tessera.generators import SRVGGNetCompactConfig


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    config = SRVGGNetCompactConfig(features=8, convolutions=1)
    torch.manual_seed(0)
    save_weights(folder / "model.safetensors", config, config.build().state_dict())
    y, x = np.mgrid[:30, :40]
    write_picture(Picture(np.stack((x * 6, y * 8, x + y), -1).astype(np.uint8)), folder / "photo.png")
    return folder


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch):
    """No rest before turns and small matrices; and the threads are given back."""
    monkeypatch.setattr(turns, "REST_SECONDS", 0.0)
    monkeypatch.setattr(peaks, "_SIDE", 64)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_engines_and_peers_run_in_turn_and_both_files_are_written(desk: Path, capsys: pytest.CaptureFixture[str]):
    files = ("--json", str(desk / "out.json"), "--markdown", str(desk / "out.md"))
    assert (
        main(
            [
                "bench",
                str(desk / "model.safetensors"),
                str(desk / "photo.png"),
                "--size",
                "16x24",
                "--rounds",
                "2",
                *files,
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert printed == (desk / "out.md").read_text(encoding="utf-8")
    assert "model, 24x16 of" in printed
    found = json.loads((desk / "out.json").read_text(encoding="utf-8"))
    (comparison,) = found["comparisons"]
    candidates = {each["name"]: each for each in comparison["candidates"]}
    assert next(iter(candidates)) == "plain PyTorch"
    assert {"pytorch fp32", "openvino fp32"} <= set(candidates)
    assert all(len(each["runs"]) == 2 for each in candidates.values())
    assert comparison["multiply_adds"] > 0
    assert comparison["peaks"]["fp32"] > 1e7


def test_only_what_was_asked_for_runs_beside_the_reference(desk: Path, capsys: pytest.CaptureFixture[str]):
    options = ("--engine", "pytorch", "--precision", "exact", "--rounds", "1", "--size", "8x8", "--no-peers")
    assert main(["bench", str(desk / "model.safetensors"), *options, "--threads", "1"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1:]] == ["plain PyTorch", "pytorch fp32"]


def test_the_exit_code_is_1_where_an_engine_is_wrong(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from tessera.engines.pytorch import engine as pytorch

    right = pytorch.TorchEngine.run
    monkeypatch.setattr(pytorch.TorchEngine, "run", lambda self, tiles: right(self, tiles) * 0.8)
    options = ("--engine", "pytorch", "--precision", "exact", "--rounds", "1", "--size", "8x8", "--no-peers")
    assert main(["bench", str(desk / "model.safetensors"), *options]) == 1
    assert "**wrong**" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--size", "big"), "--size: expected HEIGHTxWIDTH"),
        (("--engine", "steam"), "--engine steam: expected auto, kernels"),
        (("--engine", "auto"), "--engine auto: needs --whole"),
        (("--precision", "most"), "--precision most: expected exact, auto or fast"),
        (("--json", "nowhere/out.json"), "nowhere does not exist"),
    ],
)
def test_wrong_options_are_sentences(
    options: tuple[str, ...], sentence: str, desk: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["bench", str(desk / "model.safetensors"), *options]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the system does not say how much memory a process had")
def test_whole_processes_are_measured_with_their_memory(desk: Path, capsys: pytest.CaptureFixture[str]):
    options = ("--whole", "--engine", "openvino", "--precision", "exact", "--rounds", "1", "--size", "16x16")
    report = ("--json", str(desk / "whole.json"))
    assert main(["bench", str(desk / "model.safetensors"), str(desk / "photo.png"), *options, *report]) == 0
    (comparison,) = json.loads((desk / "whole.json").read_text(encoding="utf-8"))["comparisons"]
    assert [each["name"] for each in comparison["candidates"]] == ["pytorch exact", "openvino exact"]
    assert all(each["runs"][0]["peak_bytes"] > 2**25 for each in comparison["candidates"])
