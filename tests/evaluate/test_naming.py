"""Names of models and pictures stay distinct, also as folders on file systems that ignore case."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.errors import UsageError
from tessera.evaluate.naming import PREPARED, check_distinct, make_folder_name, name_models, name_pictures
from tessera.evaluate.pairs import Pairing, PicturePair

BASELINES = ("bicubic", "lanczos")


def folders(names: tuple[str, ...]) -> set[str]:
    return {make_folder_name(name).casefold() for name in names}


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([(f"runs/{run}/best.safetensors", "best") for run in "abc"], ("a/best", "b/best", "c/best")),
        ([("a/x/best.pth", "best"), ("b/x/best.pth", "best")], ("a/x/best", "b/x/best")),
        ([("a/best.pth", "best"), ("a/best.safetensors", "best")], ("best.pth", "best.safetensors")),
        ([("Best.pth", "Best"), ("best.pth", "best")], ("Best (2)", "best (3)")),
        ([("bicubic.pth", "bicubic")], ("bicubic.pth",)),
        ([("input.safetensors", "input")], ("input.safetensors",)),
        ([("x/input_resized", "input_resized")], ("x/input_resized",)),
        ([("a@0.5+b@0.5", "n*0.5+n*0.5"), ("a@0.5+c@0.5", "n*0.5+n*0.5")], ("a@0.5+b@0.5", "a@0.5+c@0.5")),
        ([("one", "one"), ("two.pth", "two")], ("one", "two")),
    ],
)
def test_models_get_the_shortest_distinct_names(models, expected):
    names = name_models(models, BASELINES)
    assert len(folders((*names, *BASELINES, *PREPARED))) == len(names) + len(BASELINES) + len(PREPARED)
    if names != expected:
        assert [name.casefold() for name in names] != [name.casefold() for name in expected]
        assert all(name.startswith(("Best", "best")) for name in names)


NAMES = st.text("ab/.*_@ \udcff", max_size=4)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=6))
def test_any_models_get_distinct_folders(models):
    names = name_models(models, BASELINES)
    check_distinct([*BASELINES, *names])
    for name in names:
        folder = make_folder_name(name)
        assert folder not in ("", ".", "..")
        assert "/" not in folder
        assert len(folder.encode("utf-8", "backslashreplace")) <= 120


def test_long_names_are_cut_and_stay_distinct():
    first, second = "é" * 300 + "1", "é" * 300 + "2"
    assert len({make_folder_name(name) for name in (first, second)}) == 2
    assert len(make_folder_name(first).encode()) <= 120


@pytest.mark.parametrize("methods", [["a/b", "a_b"], ["A", "a"], ["input"]])
def test_methods_that_would_share_a_folder_are_refused(methods):
    with pytest.raises(UsageError, match="distinct names"):
        check_distinct(methods)


def test_pictures_of_one_stem_are_named_with_their_extension():
    pairs = tuple(PicturePair(Path(name).stem, gt=Path(name)) for name in ("a.png", "a.jpg", "b.png", "x/b.png"))
    assert [pair.name for pair in name_pictures(Pairing(pairs)).pairs] == ["a.png", "a.jpg", "b.png", "b.png (2)"]
    single = Pairing(pairs[:1])
    assert name_pictures(single) is single
