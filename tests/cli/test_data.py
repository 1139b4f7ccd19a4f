"""`tessera data`, run through its own application."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pictures import ramp, random_pixels, save
from tessera.cli.data import app
from tessera.errors import UsageError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "hr"
    made.mkdir()
    for number in range(3):
        save(made / f"{number}.png", random_pixels(160, 170, 3, np.uint8, seed=number))
    return made


def test_crops_says_what_was_cut(folder: Path, tmp_path: Path) -> None:
    result = run("crops", folder, "-o", tmp_path / "out", "--size", 96, "--step", 64, "-j", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'out'}: 18 windows of 3 pictures.\n"
    assert len(list((tmp_path / "out").glob("?_s00?.png"))) == 18
    again = run("crops", folder, "-o", tmp_path / "out", "--size", 96, "--step", 64, "-j", 1, "--resume")
    assert again.stdout == f"{tmp_path / 'out'}: 18 windows of 3 pictures, 3 of them already done.\n"


def test_crops_goes_on_after_a_bad_file_and_says_so(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.png").write_bytes(b"bad")
    result = run("crops", folder, "-o", tmp_path / "out", "-j", 1)
    assert result.exit_code == 1
    assert "bad.png: is not a picture" in result.output
    assert "3 windows of 3 pictures, 1 could not be read." in result.output
    assert "note: 3 pictures smaller than 480" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--step", 0), "--step at 1"),
        (("-j", 0), "--workers 0: expected 1 or more"),
        (("--size", 4), "--size starts at 8"),
    ],
)
def test_wrong_numbers_are_refused(arguments: tuple[object, ...], said: str, folder: Path, tmp_path: Path) -> None:
    result = run("crops", folder, "-o", tmp_path / "out", *arguments)
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_check_is_silent_about_good_pictures(folder: Path) -> None:
    result = run("check", folder, "-j", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout == "3 pictures examined: nothing found.\n"


def test_check_lists_what_it_found_and_writes_it_down(folder: Path, tmp_path: Path) -> None:
    save(folder / "copy.png", random_pixels(160, 170, 3, np.uint8, seed=1))
    for number in range(12):
        (folder / f"bad{number}.png").write_bytes(b"bad")
    found = tmp_path / "found.json"
    result = run("check", folder, "-j", 1, "--json", found)
    assert result.exit_code == 1
    assert "corrupt (12): cannot be read completely" in result.stdout
    assert f"and 2 more, all of them in {found}" in result.stdout
    assert "copy.png: has the same pixels as" in result.stdout
    assert result.stdout.endswith("16 pictures examined: 12 corrupt, 1 duplicate.\n")
    written = json.loads(found.read_text(encoding="utf-8"))
    assert written["pictures"] == 16
    assert written["clean"] is False
    assert len(written["findings"]) == 13
    assert {finding["kind"] for finding in written["findings"]} == {"corrupt", "duplicate"}


def test_check_compares_pairs_and_test_sets(folder: Path, tmp_path: Path) -> None:
    for name in ("lr", "Set5"):
        (tmp_path / name).mkdir()
    for number in range(3):
        save(tmp_path / "lr" / f"{number}x4.png", ramp(40, 42 if number else 50))
    save(tmp_path / "Set5" / "baby.png", random_pixels(160, 170, 3, np.uint8, seed=2))
    result = run("check", folder, "--lq", tmp_path / "lr", "-s", 4, "--against", tmp_path / "Set5", "-j", 1)
    assert result.exit_code == 1
    assert "0x4.png: is 50x40, and" in result.stdout
    assert "2.png: shows the same as" in result.stdout
    assert "leak (1)" in result.stdout


def test_check_refuses_a_place_for_json_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    result = run("check", folder, "--json", tmp_path / "no" / "found.json")
    assert isinstance(result.exception, UsageError)
    assert "does not exist. Create it first" in str(result.exception)
