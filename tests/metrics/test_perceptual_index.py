import math
import shlex
import sys
from pathlib import Path

import pytest

from tessera.errors import EngineError, UsageError
from tessera.metrics.perceptual_index import find_ma, perceptual_index, pirm_region, read_ma_table, run_ma_command


def python(code: str) -> str:
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {{picture}}"


def test_it_is_half_of_what_ma_lacks_to_ten_and_niqe():
    assert perceptual_index(ma=8.5, niqe=2.5) == 2.0
    assert perceptual_index(ma=0, niqe=10) == 10
    assert perceptual_index(ma=9, niqe=3) < perceptual_index(ma=8, niqe=3) < perceptual_index(ma=8, niqe=4)
    for wrong in ({"ma": math.nan, "niqe": 3.0}, {"ma": 8.0, "niqe": math.inf}):
        with pytest.raises(UsageError, match="expected finite scores"):
            perceptual_index(**wrong)


@pytest.mark.parametrize(
    ("rmse", "region"),
    [(0, 1), (11.5, 1), (11.5001, 2), (12.5, 2), (12.5001, 3), (16, 3), (16.0001, None), (math.inf, None)],
)
def test_the_regions_of_pirm_include_their_limits(rmse, region):
    assert pirm_region(rmse) == region


@pytest.mark.parametrize("rmse", [-0.1, math.nan])
def test_what_is_no_error_has_no_region(rmse):
    with pytest.raises(UsageError, match="0 or more"):
        pirm_region(rmse)


def test_scores_are_read_from_a_table(tmp_path):
    path = tmp_path / "ma.csv"
    path.write_bytes('\ufeffpicture,Ma\r\nbaby.png,8.25\r\n"a, b.png", 7\r\n\r\nbird,6.5\r\n'.encode())
    scores = read_ma_table(path)
    assert scores == {"baby.png": 8.25, "a, b.png": 7.0, "bird": 6.5}
    assert find_ma(Path("results/baby.png"), scores) == 8.25
    assert find_ma(Path("results/bird.png"), scores) == 6.5
    with pytest.raises(UsageError, match=r"no row for 'head\.png' or 'head'"):
        find_ma(Path("results/head.png"), scores)


def test_a_table_without_heading_loses_no_row(tmp_path):
    path = tmp_path / "ma.csv"
    path.write_text("baby.png,8\nbird.png,7\n", encoding="utf-8")
    assert len(read_ma_table(path)) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a.png,8\nb.png,good\n", r"row 2: expected a picture's name and its score, found 'b\.png,good'"),
        ("a.png,nan\n", r"row 1"),
        ("a.png,8,9\n", r"row 1"),
        ("a.png\n", r"row 1"),
        ("a.png,8\na.png,9\n", r"row 2: expected one row per picture, found a second one for 'a\.png'"),
        ("name,score\n", "found an empty table"),
        ("", "found an empty table"),
    ],
)
def test_a_wrong_table_gets_a_sentence(text, sentence, tmp_path):
    path = tmp_path / "ma.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=sentence):
        read_ma_table(path)


def test_a_table_that_cannot_be_read_gets_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_ma_table(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"caf\xe9.png,8\n")
    with pytest.raises(UsageError, match="cannot read this table"):
        read_ma_table(tmp_path / "latin.csv")


def test_a_command_is_asked_with_the_path_as_one_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "import sys; print(len(sys.argv) - 1 + (sys.argv[1].endswith('-a b;$x.png') and sys.argv[1][0] == '/') / 4)"
    assert run_ma_command(python(code), Path("-a b;$x.png")) == 1.25


@pytest.mark.parametrize(
    ("command", "kind", "sentence"),
    [
        ("score baby.png", UsageError, r"expected \{picture\} in it"),
        ("score '{picture}", UsageError, "cannot be parsed"),
        ("/nowhere/score {picture}", EngineError, "'/nowhere/score' cannot be run"),
        (python("import sys; print('first'); sys.exit('no model')"), EngineError, r"exit code 1 \(no model\)"),
        (python("print('8 of 10')"), EngineError, "one number, found '8 of 10'"),
        (python("print('nan')"), EngineError, "one number"),
        (python("pass"), EngineError, "found ''"),
    ],
)
def test_a_command_that_fails_gets_a_sentence(command, kind, sentence):
    with pytest.raises(kind, match=sentence):
        run_ma_command(command, Path("baby.png"))


def test_a_command_that_takes_too_long_is_ended():
    with pytest.raises(EngineError, match=r"more than 0\.2 seconds"):
        run_ma_command(python("import time; time.sleep(60)"), Path("baby.png"), seconds=0.2)
