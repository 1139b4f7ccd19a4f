"""`tessera report`, run as the command runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tessera.cli import main


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "cats"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('name = "cats"\nsteps = 10\n', encoding="utf-8")
    (folder / "metrics.jsonl").write_text('{"step": 3, "kind": "train", "pixel": 0.5}\n', encoding="utf-8")
    return folder


def test_the_report_lies_in_the_run_unless_it_is_wanted_elsewhere(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}: written.\n"
    assert main(["report", str(run), "-o", str(tmp_path / "cats.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'cats.html'}: written.\n"
    assert (tmp_path / "cats.html").read_bytes() == (run / "report.html").read_bytes()
    assert "step 3 of 10" in (tmp_path / "cats.html").read_text(encoding="utf-8")


def test_a_folder_without_a_run_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"tessera: {tmp_path}: expected the folder of a training run, found neither config.toml nor metrics.jsonl. Name"
        " a run, as in `tessera report runs/NAME`.\n"
    )


def test_a_page_that_cannot_be_written_is_a_failure_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run), "-o", str(tmp_path / "none" / "a.html")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
