"""Tables of an evaluation, read back by other programs' rules."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest

from tessera.evaluate.feeds import load_metrics
from tessera.evaluate.pairs import Pairing, PicturePair
from tessera.evaluate.protocol import find_protocol
from tessera.evaluate.scores import Evaluation, ScoreRow
from tessera.evaluate.scoring import PictureScores, Scorer
from tessera.evaluate.summary import ScoredPicture, summarize
from tessera.evaluate.tables import format_csv, scores_as_csv, scores_as_json, scores_as_markdown


def evaluation(
    scores: dict[str, list[float | None]], *, title: str = "t", names: list[str] | None = None
) -> Evaluation:
    """PSNRs by method; None is a picture without a score."""
    count = len(next(iter(scores.values())))
    pictures = names or [f"p{index}" for index in range(count)]
    scorer = Scorer(metrics=load_metrics(("psnr",)), protocol=find_protocol("paper"), scale=4)
    scored = [
        ScoredPicture(
            ScoreRow(method=method, picture=picture, scores={} if value is None else {"psnr": value}),
            PictureScores(scores={}),
        )
        for method, values in scores.items()
        for picture, value in zip(pictures, values, strict=True)
    ]
    pairing = Pairing(tuple(PicturePair(name, gt=Path(name)) for name in pictures))
    return summarize(title, pairing, scorer, tuple(scores), scored)


def test_an_equal_picture_does_not_make_the_mean_infinite():
    found = evaluation({"a": [math.inf, 30.0, 32.0, 34.0]})
    mean = found.mean("a", "psnr")
    assert mean is not None
    assert (mean.mean, mean.count, mean.equal, mean.total) == (32.0, 4, 1, 4)
    assert 30 <= mean.low < 32 < mean.high <= 34
    cell = next(line for line in scores_as_markdown([found]).splitlines() if line.startswith("| a "))
    assert cell.startswith("| a | 32.0000 [")
    assert cell.endswith("(1 equal) |")
    plain = json.loads(json.dumps(scores_as_json([found]), allow_nan=False))
    assert plain["means"][0]["mean"] == 32.0
    assert plain["means"][0]["equal"] == 1


def test_a_mean_of_some_pictures_says_of_how_many():
    found = evaluation({"a": [None, None, 31.0, None, None, None, None, None]})
    assert "| a | 31.0000 (1 of 8) |" in scores_as_markdown([found]).splitlines()
    assert scores_as_json([found])["means"][0]["total"] == 8


def test_only_equal_pictures_have_an_infinite_mean_and_the_json_is_valid():
    found = evaluation({"a": [math.inf, math.inf, None]})
    assert "| a | inf (2 of 3; 2 equal) |" in scores_as_markdown([found]).splitlines()
    text = json.dumps(scores_as_json([found]), allow_nan=False)
    assert json.loads(text)["means"][0]["mean"] == "inf"


def test_paired_differences_leave_out_what_is_infinite_or_missing():
    found = evaluation({"a": [math.inf, 30.0, 33.0, None], "b": [math.inf, 29.0, 31.0, 5.0]})
    (difference,) = found.differences
    assert (difference.difference, difference.count, difference.total) == (1.5, 2, 4)
    assert "| 2 of 4 |" in scores_as_markdown([found])


def test_names_that_are_not_utf8_or_hold_table_marks_are_escaped():
    names = ["caf\udce9", "a|b", "c\nd", "=1+1"]
    found = evaluation({"a": [1.0, 2.0, 3.0, 4.0], "=x|y": [1.0, 2.0, 3.0, 4.0]}, names=names)
    for text in (scores_as_csv([found]), scores_as_markdown([found]), json.dumps(scores_as_json([found]))):
        text.encode("utf-8")
    rows = list(csv.DictReader(scores_as_csv([found]).splitlines(keepends=True)))
    assert [row["picture"] for row in rows][:4] == ["caf\\udce9", "a|b", "c\\nd", "'=1+1"]
    assert [float(row["psnr"]) for row in rows][:4] == [1.0, 2.0, 3.0, 4.0]
    assert "| =x\\|y | 2.5000" in scores_as_markdown([found])
    assert scores_as_json([found])["pictures"] == ["caf\\udce9", "a|b", "c\nd", "=1+1"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_text_of_a_csv_file_is_a_formula_and_numbers_stay_numbers(start):
    (row,) = csv.reader(io.StringIO(format_csv([[f"{start}cmd", -1.5, 1e-7, None]]), newline=""))
    assert row == [f"'{start}cmd", "-1.5", "1e-07", ""]
    assert format_csv([["\t=1", "\r=1", "a\n=1"]]) == "\\t=1,\\r=1,a\\n=1\n"


def test_several_sets_are_told_apart_in_every_table():
    first, second = evaluation({"a": [30.0]}, title="Set5 x4"), evaluation({"a": [20.0]}, title="Set14 x4")
    rows = list(csv.DictReader(scores_as_csv([first, second]).splitlines()))
    assert [(row["set"], row["psnr"]) for row in rows] == [("Set5 x4", "30.0"), ("Set14 x4", "20.0")]
    lines = scores_as_markdown([first, second]).splitlines()
    assert lines.index("## Set5 x4") < lines.index("| a | 30.0000 |") < lines.index("## Set14 x4")
    assert lines.index("## Set14 x4") < lines.index("| a | 20.0000 |")
    plain = scores_as_json([first, second])
    assert [each["title"] for each in plain["evaluations"]] == ["Set5 x4", "Set14 x4"]
