"""`tessera prune`, run through its own application: the table, the file, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pictures import save
from pruning.networks import adding
from tessera.cli.prune import app
from tessera.errors import UsageError
from tessera.weights.files import load_weights, save_weights
from tessera.weights.license import LICENSE_KEY


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A network whose blocks add 0.1, nothing and 0.05, and gray pictures for it."""
    whole = adding([0.1, 0.0, 0.05])
    save_weights(
        tmp_path / "whole.safetensors", whole.config, whole.state, metadata={LICENSE_KEY: "CC-BY-4.0", "title": "Whole"}
    )
    (tmp_path / "mine").mkdir()
    for number in range(3):
        save(tmp_path / "mine" / f"{number}.png", np.full((20, 24, 3), 85 + 17 * number, np.uint8))  # thirds, and more
    return tmp_path


def test_the_table_and_the_file_say_what_was_found(desk: Path) -> None:
    words = ("--blocks", 1, "--calibration", desk / "mine", "-o", desk / "small.safetensors", "--size", 16)
    result = run(desk / "whole.safetensors", *words, "--report", desk / "report.json")
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines()[1:4]}
    assert "20.0 dB" in rows["0"]
    assert rows["0"].endswith("kept")
    assert "26.0 dB" in rows["2"]
    assert rows["2"].endswith("as number 2, then 26.0 dB")
    assert "1 of 3 blocks of whole" in result.stdout
    assert "26.0 dB from it on 3 crops" in result.stdout

    found = load_weights(desk / "small.safetensors")
    assert found.config.model_dump()["blocks"] == 1
    assert found.license == "CC-BY-4.0"
    assert found.metadata["tessera.blocks"] == "0"
    report = json.loads((desk / "report.json").read_text())
    assert report["kept"] == [0]
    assert [each["block"] for each in report["removed"]] == [1, 2]
    assert report["blocks"][0]["psnr_db_without"] == pytest.approx(20, abs=0.01)
    assert len(report["blocks"][0]["psnr_db_without_dense"]) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--blocks", 3, "-o", "new.safetensors"), "has 3 blocks"),
        (("--blocks", 1, "-o", "new.pth"), "use the suffix"),
        (("--blocks", 1, "-o", "nowhere/new.safetensors"), "nowhere does not exist"),
        (("--blocks", 1, "-o", "whole.safetensors"), "already exists"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_written(
    words: tuple[object, ...], said: str, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    before = sorted(desk.iterdir()), (desk / "whole.safetensors").read_bytes()
    result = run("whole.safetensors", "--calibration", "mine", *words)
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)
    assert (sorted(desk.iterdir()), (desk / "whole.safetensors").read_bytes()) == before
