"""Which pictures belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tessera.errors import UsageError
from tessera.report.partners import find_partners


def folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_bytes(b"x")
    return path


def pairs(*folders: Path) -> dict[str, list[str]]:
    return {group.name: [entry.path.name for entry in group.entries] for group in find_partners(folders).groups}


def test_endings_of_tools_do_not_count(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", "cat_out.png", "0801x4.png", "img_001_SRF_4_LR.png", "bird_x4_SR.png")
    second = folder(tmp_path / "b", "cat.jpg", "0801.png", "img_001_SRF_4_HR.png", "bird_HR.png", "notes.txt")
    assert pairs(first, second) == {
        "0801": ["0801x4.png", "0801.png"],
        "bird": ["bird_x4_SR.png", "bird_HR.png"],
        "cat": ["cat_out.png", "cat.jpg"],
        "img_001": ["img_001_SRF_4_LR.png", "img_001_SRF_4_HR.png"],
    }


def test_what_all_names_of_a_folder_end_in_is_the_name_of_a_method(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", "baby_RCAN_x4.png", "bird_RCAN_x4.png")
    second = folder(tmp_path / "b", "baby_HR_x4.png", "bird_HR_x4.png")
    assert list(pairs(first, second)) == ["baby", "bird"]


def test_numbers_at_the_end_are_kept(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", "day_1.png", "night_1.png")
    second = folder(tmp_path / "b", "day_1.png", "night_1.png", "day_2.png")
    assert list(pairs(first, second)) == ["day_1", "night_1"]


def test_of_two_files_with_one_name_the_plainer_has_it(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", "cat.png", "cat_out.png")
    second = folder(tmp_path / "b", "cat.png")
    assert pairs(first, second) == {"cat": ["cat.png", "cat.png"]}


def test_names_that_end_like_a_mark_of_scale_are_names(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", "box1.png", "box3.png", "cat.png")
    second = folder(tmp_path / "b", "box2.png", "box3.png", "cat_out.png")
    assert pairs(first, second) == {"box3": ["box3.png", "box3.png"], "cat": ["cat.png", "cat_out.png"]}


def test_one_sentence_says_what_is_missing_where(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", "1.png", "2.png", "3.png")
    second = folder(tmp_path / "b", "1.png", "3.png")
    third = folder(tmp_path / "c", *(f"{index}.png" for index in range(1, 10)))
    found = find_partners([first, second, third])
    assert [group.name for group in found.groups] == ["1", "2", "3"]
    assert found.notes == ("Missing: 4, 5, 6, 7, 8 and 1 more in a; 2, 4, 5, 6, 7 and 2 more in b.",)


def test_folders_of_one_name_are_told_apart_by_those_above(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    folders = [folder(tmp_path / above / "out", "1.png") for above in "xy"]
    assert find_partners(folders).labels == ("x/out", "y/out")
    assert find_partners(folders, ["left", "right"]).labels == ("left", "right")


@pytest.mark.parametrize(
    ("names", "labels", "words"),
    [
        ((), (), "found nothing"),
        (("a",), (), "found only"),
        (("a", "none"), (), "no such file or folder"),
        (("a", "empty"), (), "no pictures in this folder"),
        (
            ("a", "b"),
            (),
            "No picture names match between the folders; they have, for example, 1.png in .*a and 2.png in .*b",
        ),
        (("a", "a"), (), "named twice"),
        (("a", "a/1.png"), (), "is a folder and .* is a file"),
        (("a", "c"), ("one",), "labels: expected one for each of the 2 inputs, or none, found 1"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(
    tmp_path: Path, names: tuple[str, ...], labels: tuple[str, ...], words: str
) -> None:
    folder(tmp_path / "a", "1.png")
    folder(tmp_path / "b", "2.png")
    folder(tmp_path / "c", "1.png")
    folder(tmp_path / "empty")
    with pytest.raises(UsageError, match=words):
        find_partners([tmp_path / name for name in names], labels)
