"""What is found in what the user names, and how the outputs are named."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from stand_ins import FunctionEngine, nearest, repeated
from tessera.errors import UsageError
from tessera.images.picture import read_picture
from tessera.storage.atomic import PART_MARK
from tessera.upscaling import finding
from tessera.upscaling.batch import run_batch
from tessera.upscaling.batch_report import BatchReport
from tessera.upscaling.finding import Naming, Task, find_tasks
from tessera.upscaling.journal import JOURNAL_NAME, Journal
from tessera.upscaling.upscaler import Upscaler
from upscaling.files import picture, touch


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def find(*inputs: str, recursive: bool = False, **naming: Any) -> dict[str, str]:
    """Inputs found -> where their outputs go."""
    return {str(task.source): str(task.output) for task in tasks_for(*inputs, recursive=recursive, **naming)}


def tasks_for(*inputs: str, recursive: bool = False, **naming: Any) -> list[Task]:
    chosen = Naming(**{"output": Path("out"), **naming})
    return find_tasks(inputs, chosen, Journal(chosen.journal_folder(inputs)), recursive=recursive)[0]


def run(*inputs: str, recursive: bool = False, **naming: Any) -> BatchReport:
    """Find, and do what was found."""
    chosen = Naming(**{"output": Path("out"), **naming})
    journal = Journal(chosen.journal_folder(inputs))
    tasks, ignored, _ = find_tasks(inputs, chosen, journal, recursive=recursive)
    upscaler = Upscaler(nearest(4), engine=FunctionEngine(repeated(4)))
    return run_batch(tasks, upscaler, journal, ignored=ignored)


# ------------------------------------------------------------------------------------------------------------- finding


def test_a_folder_gives_its_pictures_in_order_and_leaves_the_rest_alone() -> None:
    touch("in/b.png", "in/a.jpg", "in/C.WEBP", "in/notes.txt", "in/desktop.ini", "in/Thumbs.db", "in/.hidden.png")
    touch("in/._a.jpg", f"in/.a{PART_MARK}77.png", f"in/{JOURNAL_NAME}", "in/below/d.png")
    naming = Naming(output=Path("out"))
    tasks, ignored, _ = find_tasks(["in"], naming, Journal(naming.output))
    assert [str(task.source) for task in tasks] == ["in/C.WEBP", "in/a.jpg", "in/b.png"]
    assert [str(task.output) for task in tasks] == ["out/C_out.WEBP", "out/a_out.jpg", "out/b_out.png"]
    assert ignored == 1


def test_recursive_keeps_the_tree() -> None:
    touch("in/a.png", "in/x/a.png", "in/x/y/a.png", "in/.git/a.png")
    assert find("in", recursive=True) == {
        "in/a.png": "out/a_out.png",
        "in/x/a.png": "out/x/a_out.png",
        "in/x/y/a.png": "out/x/y/a_out.png",
    }


def test_a_loop_of_links_ends() -> None:
    touch("in/a.png", "in/x/b.png")
    Path("in/x/loop").symlink_to("..")
    Path("in/self").symlink_to(".")
    assert set(find("in", recursive=True)) == {"in/a.png", "in/x/b.png"}
    assert set(find("in/**/*.png")) == {"in/a.png", "in/x/b.png"}


@pytest.mark.parametrize("spelled", ["in/out", "./in/../in/out", "link/out", "in/deep/out"])
def test_an_output_folder_inside_the_input_folder_is_no_input(spelled: str) -> None:
    touch("in/a.png", f"{spelled.replace('link', 'in')}/b.png")
    Path("link").symlink_to("in")
    assert set(find("in", recursive=True, output=Path(spelled))) == {"in/a.png"}


def test_an_input_folder_can_be_its_own_output_folder_again_and_again() -> None:
    picture("in/a.png")
    picture("in/x/b.png")
    for expected in ((2, 0), (0, 2)):
        report = run("in", output=Path("in"), recursive=True)
        assert (report.count("done"), report.count("skipped")) == expected
    assert sorted(str(path) for path in Path("in").rglob("*.png")) == [
        "in/a.png",
        "in/a_out.png",
        "in/x/b.png",
        "in/x/b_out.png",
    ]


def test_a_file_named_in_several_ways_is_one() -> None:
    touch("in/a.png", "in/b.png")
    assert list(find("in/a.png", "./in/a.png", str(Path("in/a.png").absolute()), "in", "in/", "in/*.png")) == [
        "in/a.png",
        "in/b.png",
    ]


@pytest.mark.parametrize(
    "name",
    [
        b"with space.png",
        b"-leading-dash.png",
        "Grüße, 世界 🎉.png".encode(),
        b"not-utf-8-\xff\xfe.png",
        b"new\nline.png",
        b"a[1].png",
        b"a*b?.png",
        b"[ab].png",
        b"per%cent.png",
        b'quote\'s "here".png',
        b"escape\x1b[31m.png",
        b"a,b=c;d.png",
        b"n" * 200 + b".png",
    ],
)
def test_any_name_that_a_file_can_have_is_found_and_done(name: bytes) -> None:
    text = os.fsdecode(name)
    shutil.move(picture("in/plain.png"), Path("in", text))
    assert run("in").count("done") == 1
    assert run(f"in/{text}").count("skipped") == 1
    assert read_picture(Path("out", text.replace(".png", "_out.png"))).pixels.shape == (48, 64, 3)
    json.dumps(run("in").as_json()).encode()


def test_patterns_take_pictures_only_and_say_when_there_are_none() -> None:
    touch("in/a1.png", "in/a2.jpg", "in/a3.txt", "in/x/a4.png", "in/a5.png/z.png")
    assert set(find("in/a*")) == {"in/a1.png", "in/a2.jpg"}
    assert set(find("in/**")) == {"in/a1.png", "in/a2.jpg", "in/x/a4.png", "in/a5.png/z.png"}
    touch("in/.x/a6.png")
    assert set(find("in/**/*.png")) == {"in/a1.png", "in/x/a4.png", "in/a5.png/z.png"}
    assert set(find(f"{Path.cwd()}/in/.x/*.png")) == {f"{Path.cwd()}/in/.x/a6.png"}
    assert set(find("in/[a-b]?.png")) == {"in/a1.png"}
    assert "no picture" in str(tasks_for("in/a**b.png")[0].problem)
    [task] = tasks_for("in/q*.png")
    assert task.problem == "in/q*.png: no picture matches this pattern."


def test_inputs_that_are_not_there_are_problems_of_their_own() -> None:
    touch("a.png")
    Path("broken.png").symlink_to("nowhere.png")
    tasks = {str(task.source): task.problem for task in tasks_for("a.png", "no.png", "broken.png", "n" * 300)}
    assert tasks["a.png"] is None
    assert tasks["no.png"] == "no.png: no such file or folder."
    assert "is a broken link" in (tasks["broken.png"] or "")
    assert "no such file" in (tasks["n" * 300] or "")


def test_a_folder_without_pictures_is_named_with_a_way_on() -> None:
    touch("in/a.txt", "in/below/a.png")
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=r"No pictures in empty\."):
        find("empty")
    with pytest.raises(
        UsageError, match=r"No pictures in in \(1 other files\); `recursive` includes subfolders\. Supported: JPEG, PNG"
    ):
        find("in")
    with pytest.raises(UsageError, match="empty text"):
        find("")
    assert list(find("empty", "in/below")) == ["in/below/a.png"]


def test_a_folder_that_cannot_be_listed_is_a_problem_and_the_rest_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("in/a.png", "in/locked/b.png", "in/z/c.png")
    scandir = os.scandir

    def locked(place: Any = ".") -> Any:
        if os.fspath(place).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", locked)
    tasks = tasks_for("in", recursive=True)
    assert [str(task.source) for task in tasks if task.problem is None] == ["in/a.png", "in/z/c.png"]
    assert [task.problem for task in tasks if task.problem] == [
        "in/locked: this folder cannot be listed: Permission denied."
    ]


def test_a_folder_named_like_a_picture_is_a_folder() -> None:
    touch("album.jpg/a.png", "in/album.jpg/b.png", "in/c.png")
    assert list(find("album.jpg")) == ["album.jpg/a.png"]
    assert list(find("in")) == ["in/c.png"]


# -------------------------------------------------------------------------------------------------------------- naming


def test_names_are_those_that_users_of_real_esrgan_know() -> None:
    touch("photo.JPG", "scan.bmp", "two.dots.png", "noextension")
    assert list(find("photo.JPG", "scan.bmp", "two.dots.png", "noextension").values()) == [
        "out/photo_out.JPG",
        "out/scan_out.png",
        "out/two.dots_out.png",
        "out/noextension_out.png",
    ]
    assert find("photo.JPG", suffix="") == {"photo.JPG": "out/photo.JPG"}
    assert find("photo.JPG", suffix="big", extension=".WebP") == {"photo.JPG": "out/photo_big.webp"}


@pytest.mark.parametrize(
    ("names", "naming"),
    [
        (["in/a.png", "in/a.jpg"], {"extension": "png"}),
        (["in/a.JPG", "in/a.jpg"], {}),
        (["in/a.jpg", "in/A.jpg", "in/a.JPG"], {}),
        (["1/a.png", "2/a.png", "3/a.png"], {}),
        (["in/a.png", "in/a.jpg", "in/a_png.png", "in/a_jpg.png"], {"extension": "png"}),
        (["1/a.png", "2/a.png", "in/a_png_out-2.png"], {"suffix": ""}),
        (["in/caf\u00e9.png", "in/cafe\u0301.png"], {}),
        (["in/a.bmp", "in/a.png"], {"suffix": ""}),
    ],
)
def test_no_two_inputs_share_an_output_on_any_file_system(names: list[str], naming: dict[str, Any]) -> None:
    touch(*names)
    outputs = list(find(*names, **naming).values())
    assert len({output.casefold().replace("e\u0301", "\u00e9") for output in outputs}) == len(names)


def test_names_tell_what_they_were_made_from_where_two_would_be_the_same() -> None:
    touch("in/a.png", "in/a.jpg", "in/b.png")
    assert find("in", extension="png") == {
        "in/a.jpg": "out/a_jpg_out.png",
        "in/a.png": "out/a_png_out.png",
        "in/b.png": "out/b_out.png",
    }


def test_thousands_of_equal_names_take_no_time() -> None:
    found = [finding._FoundPicture(Path(f"{index}/a.png")) for index in range(20_000)]  # pyright: ignore[reportPrivateUsage]
    tasks = finding._name_outputs(found, Naming())  # pyright: ignore[reportPrivateUsage]
    assert len({task.output for task in tasks}) == 20_000


def test_minus_o_names_a_file_for_one_input_and_a_picture_name_and_else_a_folder() -> None:
    touch("a.png", "b.png", "in/c.png")
    Path("folder.png").mkdir()
    assert find("a.png", output=Path("x/y.jpg")) == {"a.png": "x/y.jpg"}
    assert find("a.png", "b.png", output=Path("y.jpg"), is_folder=True)["a.png"] == "y.jpg/a_out.png"
    assert find("in", output=Path("y.jpg"), is_folder=True) == {"in/c.png": "y.jpg/c_out.png"}
    assert find("a.png", output=Path("folder.png")) == {"a.png": "folder.png/a_out.png"}
    assert find("a.png", output=Path("name.v2")) == {"a.png": "name.v2/a_out.png"}
    assert find("b*.png", output=Path("y.jpg")) == {"b.png": "y.jpg"}


@pytest.mark.parametrize(
    ("inputs", "naming", "words"),
    [
        (["a.png"], {"output": Path("y.bmp")}, "can be read, not written"),
        (["a.png"], {"output": Path("y.png"), "extension": "jpg"}, "two formats"),
        (["?.png"], {"output": Path("y.png")}, "is one file, but .* matches 2"),
        (["a.png", "b.png"], {"output": Path("a.png")}, "is the name of one picture, and there are 2 inputs"),
        (["a.png"], {"output": Path("y.xyz")}, "xyz is not the extension .* expected one of jpg, png"),
        (["in"], {"output": Path("y.jpg")}, "is the name of one picture, and the input is a folder"),
        (["a.png"], {"extension": "psd"}, "extension: expected auto or one of"),
        (["a.png"], {"suffix": "../../x"}, "suffix: expected no path"),
        (["a.png"], {"output": Path(), "suffix": ""}, "is itself an input"),
        (["a.png"], {"output": Path("a.png")}, "is itself an input"),
    ],
)
def test_namings_that_cannot_be_are_wrong_usage(inputs: list[str], naming: dict[str, Any], words: str) -> None:
    touch("a.png", "b.png", "in/c.png")
    with pytest.raises(UsageError, match=words):
        find(*inputs, **naming)


@pytest.mark.parametrize("spelled", ["in", "./in/../in", "link", "in/x/.."])
def test_inputs_are_never_replaced_however_the_folder_is_spelled(spelled: str) -> None:
    touch("in/a.png", "in/x/y.png")
    Path("link").symlink_to("in")
    with pytest.raises(UsageError, match="inputs are never replaced"):
        find("in/a.png", output=Path(spelled), suffix="")


def test_an_input_behind_a_link_is_not_replaced_either() -> None:
    touch("store/a.png")
    Path("in").mkdir()
    Path("in/a.png").symlink_to("../store/a.png")
    with pytest.raises(UsageError, match="inputs are never replaced"):
        find("in", output=Path("store"), suffix="")


def test_one_output_that_is_an_input_does_not_stop_the_rest() -> None:
    picture("in/a.png")
    picture("in/a_out.png")
    report = run("in", output=Path("in"))
    assert [(entry.source.name, entry.state) for entry in report.results] == [
        ("a.png", "failed"),
        ("a_out.png", "done"),
    ]
    assert "in/a_out.png is itself an input" in report.results[0].message
