"""Many files: which are found, how their outputs are named, and what becomes of each when things go wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pictures import ramp, save
from stand_ins import FunctionEngine, nearest, repeated
from tessera import batch
from tessera.batch import BatchReport, FileResult, Naming, Task, find_tasks, forecasts, remove_leftovers, run_batch
from tessera.errors import PictureError, TesseraError, UsageError
from tessera.journal import JOURNAL_NAME, Journal
from tessera.picture import read_picture
from tessera.settings import Settings
from tessera.upscaler import Forecast, Upscaler
from tessera.writer import PART_MARK


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str | bytes) -> list[Path]:
    paths = [Path(os.fsdecode(name)) for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return paths


def picture(name: str, seed: int = 0, channels: int = 3, side: int = 12) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(path, ramp(side, side + 4, channels, seed=seed))


def find(*inputs: str, recursive: bool = False, **naming: Any) -> dict[str, str]:
    """Inputs found -> where their outputs go."""
    return {str(task.source): str(task.output) for task in tasks_for(*inputs, recursive=recursive, **naming)}


def tasks_for(*inputs: str, recursive: bool = False, **naming: Any) -> list[Task]:
    chosen = Naming(**{"output": Path("out"), **naming})
    return find_tasks(inputs, chosen, Journal(chosen.journal_folder(inputs)), recursive=recursive)[0]


# ------------------------------------------------------------------------------------------------------------- finding


def test_a_folder_gives_its_pictures_in_order_and_leaves_the_rest_alone() -> None:
    touch("in/b.png", "in/a.jpg", "in/C.WEBP", "in/notes.txt", "in/desktop.ini", "in/Thumbs.db", "in/.hidden.png")
    touch("in/._a.jpg", f"in/.a{PART_MARK}77.png", f"in/{JOURNAL_NAME}", "in/below/d.png")
    naming = Naming(output=Path("out"))
    tasks, ignored = find_tasks(["in"], naming, Journal(naming.output))
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
    for expected in ({"done": 2, "skipped": 0}, {"done": 0, "skipped": 2}):
        report = run("in", output=Path("in"), recursive=True)
        assert {state: report.count(state) for state in expected} == expected
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
    assert tasks["no.png"] == "no.png: there is no such file or folder."
    assert "link to a file that is not there" in (tasks["broken.png"] or "")
    assert "no such file" in (tasks["n" * 300] or "")


def test_a_folder_without_pictures_is_named_with_a_way_on() -> None:
    touch("in/a.txt", "in/below/a.png")
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=r"no pictures in empty\."):
        find("empty")
    with pytest.raises(UsageError, match=r"no pictures in in \(1 other files\); --recursive looks into"):
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
def test_no_two_inputs_share_an_output_on_any_file_system(names: list[str], naming: dict[str, str]) -> None:
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
    found = [batch._Found(Path(f"{index}/a.png")) for index in range(20_000)]  # pyright: ignore[reportPrivateUsage]
    tasks = batch._named(found, Naming())  # pyright: ignore[reportPrivateUsage]
    assert len({task.output for task in tasks}) == 20_000


def test_minus_o_names_a_file_for_one_input_and_a_picture_name_and_else_a_folder() -> None:
    touch("a.png", "b.png", "in/c.png")
    Path("folder.png").mkdir()
    assert find("a.png", output=Path("x/y.jpg")) == {"a.png": "x/y.jpg"}
    assert find("a.png", "b.png", output=Path("y.jpg"))["a.png"] == "y.jpg/a_out.png"
    assert find("in", output=Path("y.jpg")) == {"in/c.png": "y.jpg/c_out.png"}
    assert find("a.png", output=Path("folder.png")) == {"a.png": "folder.png/a_out.png"}
    assert find("a.png", output=Path("name.v2")) == {"a.png": "name.v2/a_out.png"}
    assert find("b*.png", output=Path("y.jpg")) == {"b.png": "y.jpg"}


@pytest.mark.parametrize(
    ("inputs", "naming", "words"),
    [
        (["a.png"], {"output": Path("y.bmp")}, "can be read, not written"),
        (["a.png"], {"output": Path("y.png"), "extension": "jpg"}, "two formats"),
        (["?.png"], {"output": Path("y.png")}, "names one file, but .* gives 2"),
        (["a.png", "b.png"], {"output": Path("a.png")}, "is a file"),
        (["a.png"], {"extension": "psd"}, "--ext psd: expected auto or one of"),
        (["a.png"], {"suffix": "../../x"}, "--suffix"),
        (["a.png"], {"output": Path(), "suffix": ""}, "is itself an input"),
        (["a.png"], {"output": Path("a.png")}, "is itself an input"),
    ],
)
def test_namings_that_cannot_be_are_wrong_usage(inputs: list[str], naming: dict[str, Any], words: str) -> None:
    touch("a.png", "b.png")
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


# ------------------------------------------------------------------------------------------------------------- running


def upscaler(value: int = 0, **settings: Any) -> Upscaler:
    generator = nearest(4)
    object.__setattr__(generator, "sha256", f"{value:064}")
    return Upscaler(generator, engine=FunctionEngine(repeated(4)), settings=Settings(**settings))


def run(
    *inputs: str,
    recursive: bool = False,
    overwrite: bool = False,
    model: int = 0,
    stopped: Callable[[], bool] = lambda: False,
    watcher: Any = None,
    settings: dict[str, Any] | None = None,
    **naming: Any,
) -> BatchReport:
    chosen = Naming(**{"output": Path("out"), **naming})
    journal = Journal(chosen.journal_folder(inputs))
    tasks, ignored = find_tasks(inputs, chosen, journal, recursive=recursive)
    return run_batch(
        tasks,
        upscaler(model, **(settings or {})),
        journal,
        ignored=ignored,
        overwrite=overwrite,
        watcher=watcher,
        stopped=stopped,
    )


def states(report: BatchReport) -> list[str]:
    return [entry.state for entry in report.results]


def parts() -> list[Path]:
    return [path for path in Path().rglob(".*") if PART_MARK in path.name]


def test_what_is_done_is_skipped_and_its_bytes_stay() -> None:
    picture("in/a.png")
    assert states(run("in")) == ["done"]
    before = Path("out/a_out.png").stat()
    assert states(run("in")) == ["skipped"]
    after = Path("out/a_out.png").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


@pytest.mark.parametrize("change", ["input", "weights", "settings", "deleted", "truncated", "emptied", "overwrite"])
def test_it_is_done_again_when(change: str) -> None:
    picture("in/a.png")
    picture("in/b.png")
    run("in")
    output = Path("out/a_out.png")
    whole = output.read_bytes()
    more: dict[str, Any] = {}
    match change:
        case "input":
            picture("in/a.png", seed=1)
        case "weights":
            more = {"model": 1}
        case "settings":
            more = {"settings": {"flat_lock": False}}
        case "deleted":
            output.unlink()
        case "truncated":
            output.write_bytes(whole[:-1])
        case "emptied":
            output.write_bytes(b"")
        case _:
            more = {"overwrite": True}
    assert states(run("in", **more)) == ["done", "done" if more else "skipped"]
    if change != "input":
        assert output.read_bytes() == whole


def test_an_input_that_was_only_touched_or_renamed_back_is_not_done_again() -> None:
    picture("in/a.png")
    run("in")
    os.utime("in/a.png", (1, 1))
    assert states(run("in")) == ["skipped"]


def test_what_tessera_did_not_make_is_not_replaced_unless_asked_for() -> None:
    picture("in/a.png")
    Path("out").mkdir()
    Path("out/a_out.png").write_bytes(b"mine")
    [result] = run("in").results
    assert result.state == "failed"
    assert "was not made by Tessera" in result.message
    assert Path("out/a_out.png").read_bytes() == b"mine"
    assert states(run("in", overwrite=True)) == ["done"]
    Path("out/a_out.png").write_bytes(b"")
    assert states(run("in")) == ["done"]


def test_the_result_of_another_picture_with_the_same_name_is_not_replaced_unless_asked_for() -> None:
    picture("one/a.png")
    picture("two/a.png", seed=1)
    run("one")
    first = Path("out/a_out.png").read_bytes()
    [result] = run("two").results
    assert result.state == "failed"
    assert "one/a.png" in result.message
    assert Path("out/a_out.png").read_bytes() == first
    assert states(run("two", overwrite=True)) == ["done"]
    assert Path("out/a_out.png").read_bytes() != first


def test_a_whole_project_can_be_moved_and_is_still_done() -> None:
    picture("p/in/a.png")
    run("p/in", output=Path("p/out"))
    Path("p").rename("q")
    assert states(run("q/in", output=Path("q/out"))) == ["skipped"]
    assert states(run("q/in", output=Path("q/out"), model=1)) == ["done"]


def test_one_bad_file_of_any_kind_never_stops_the_rest() -> None:
    picture("in/a-good.png")
    picture("in/z-good.png")
    touch("in/empty.png")
    Path("in/text.jpg").write_text("no picture")
    Path("in/cut.png").write_bytes(Path("in/a-good.png").read_bytes()[:60])
    Path("in/link.png").symlink_to("nowhere")
    os.mkfifo("in/pipe.png")
    report = run("in", "missing.png")
    assert report.count("done") == 2
    assert report.count("failed") == 6
    for entry in report.results:
        if entry.state == "failed":
            assert entry.defect is None, entry
            assert "\n" not in entry.message
            assert entry.source.name in entry.message
    assert not parts()


def test_a_bug_is_a_failure_of_that_file_alone_and_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    picture("in/a.png")
    picture("in/b.png")
    upscale_file = Upscaler.upscale_file

    def broken(self: Upscaler, path: Path, output: Path, **more: Any) -> Any:
        if path.name == "a.png":
            raise KeyError("oops")
        return upscale_file(self, path, output, **more)

    monkeypatch.setattr(Upscaler, "upscale_file", broken)
    bad, good = run("in").results
    assert bad.state == "failed"
    assert "this is a bug" in bad.message
    assert isinstance(bad.defect, KeyError)
    assert good.state == "done"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error", "x.png"), MemoryError()])
def test_what_the_system_refuses_is_a_sentence_and_no_bug(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    picture("in/a.png")

    def broken(self: Upscaler, path: Path, output: Path, **more: Any) -> Any:
        raise error

    monkeypatch.setattr(Upscaler, "upscale_file", broken)
    [result] = run("in").results
    assert result.state == "failed"
    assert result.defect is None
    assert "bug" not in result.message


def test_an_output_folder_that_cannot_be_made_is_a_sentence() -> None:
    picture("in/a.png")
    touch("file")
    [result] = run("in", output=Path("file/below")).results
    assert result.message == "file/below: cannot be written to: Not a directory."


def test_a_folder_in_the_place_of_an_output_is_a_sentence() -> None:
    picture("in/a.png")
    Path("out/a_out.png").mkdir(parents=True)
    [result] = run("in", overwrite=True).results
    assert "is a folder" in result.message
    assert result.defect is None


def test_a_pipe_or_device_in_the_place_of_an_output_is_not_replaced() -> None:
    picture("in/a.png")
    Path("out").mkdir()
    os.mkfifo("out/a_out.png")
    [result] = run("in", overwrite=True).results
    assert "pipe, a device" in result.message
    assert Path("out/a_out.png").is_fifo()


def test_a_file_in_the_place_of_an_output_folder_is_a_sentence() -> None:
    picture("in/x/a.png")
    touch("out/x")
    [result] = run("in", recursive=True).results
    assert result.message == "out/x: is a file, so outputs cannot go into it."


def test_a_name_that_becomes_too_long_is_a_sentence() -> None:
    shutil.move(picture("in/a.png"), "in/" + "n" * 251 + ".png")
    picture("in/z.png")
    report = run("in")
    assert states(report) == ["failed", "done"]
    assert "too long" in report.results[0].message
    assert report.results[0].defect is None


def test_a_journal_that_cannot_be_written_fails_the_file_before_the_work() -> None:
    picture("in/a.png")
    Path("out", JOURNAL_NAME).mkdir(parents=True)
    [result] = run("in").results
    assert result.state == "failed"
    assert result.message == "out: cannot be written to: Is a directory."


def test_a_journal_that_cannot_be_written_after_the_work_does_not_undo_it(monkeypatch: pytest.MonkeyPatch) -> None:
    picture("in/a.png")

    def full(self: Journal, output: Path, key: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "finish", full)
    [result] = run("in").results
    assert result.state == "done"
    assert "No space left" in result.message


# --------------------------------------------------------------------------------------------------------------- alpha


def translucent(name: str, side: int = 12) -> Path:
    pixels = ramp(side, side, 4)
    pixels[..., 3] = np.linspace(0, 255, side, dtype=np.uint8)
    return save(Path(name), pixels)


def test_alpha_goes_to_png_where_the_format_has_none_and_is_skipped_the_second_time() -> None:
    Path("in").mkdir()
    translucent("in/a.png")
    picture("in/b.png")
    report = run("in", extension="jpg")
    assert [str(entry.output) for entry in report.results] == ["out/a_out.png", "out/b_out.jpg"]
    assert sorted(path.name for path in Path("out").glob("[!.]*")) == ["a_out.png", "b_out.jpg"]
    assert states(run("in", extension="jpg")) == ["skipped", "skipped"]
    assert states(run("in/a.png", output=Path("x.jpg"))) == ["done"]
    assert Path("x.jpg").is_file()


def test_alpha_that_goes_to_png_replaces_neither_an_input_nor_another_output() -> None:
    Path("in").mkdir()
    translucent("in/a.png")
    before = Path("in/a.png").read_bytes()
    [result] = run("in/a.png", extension="jpg", suffix="", output=Path("in"), overwrite=True).results
    assert result.state == "failed"
    assert "another picture's name" in result.message
    assert Path("in/a.png").read_bytes() == before


# ------------------------------------------------------------------------------------------------------------ stopping


class Stopper:
    """A watcher that asks for a stop at one moment, or lets something happen there."""

    def __init__(self, event: str, index: int, act: Callable[[], None] | None = None) -> None:
        self.stop = False
        self._moment, self._act = (event, index), act

    def begin(self, index: int, task: Task) -> None:
        self._at("begin", index)

    def tile(self, index: int, done: int, total: int, pixels: int) -> None:
        self._at("tile", index)

    def end(self, index: int, result: FileResult) -> None:
        self._at("end", index)

    def _at(self, event: str, index: int) -> None:
        if (event, index) == self._moment:
            self.stop = True
            if self._act is not None:
                self._act()


@pytest.mark.parametrize(
    ("event", "expected", "left"),
    [("begin", ["done", "dropped"], 2), ("tile", ["done", "dropped"], 2), ("end", ["done", "done"], 1)],
)
def test_a_stop_drops_the_file_at_hand_and_the_next_run_goes_on(event: str, expected: list[str], left: int) -> None:
    for name in ("a", "b", "c"):
        picture(f"in/{name}.png", side=40)
    stopper = Stopper(event, 1)
    report = run("in", watcher=stopper, stopped=lambda: stopper.stop, settings={"tile": 32})
    assert states(report) == expected
    assert report.left == left
    assert report.as_json()["interrupted"] is True
    assert not parts()
    assert len(list(Path("out").glob("*.png"))) == expected.count("done")
    again = run("in", settings={"tile": 32})
    assert states(again) == ["skipped" if state == "done" else "done" for state in [*expected, "left"][:3]]
    assert again.as_json()["interrupted"] is False


def test_an_interrupt_at_once_leaves_no_part_of_the_file() -> None:
    picture("in/a.png", side=40)
    picture("in/b.png", side=40)

    def interrupt() -> None:
        raise KeyboardInterrupt

    report = run("in", watcher=Stopper("tile", 0, interrupt), settings={"tile": 32})
    assert states(report) == ["dropped"]
    assert report.left == 2
    assert not parts()


def test_a_reader_of_progress_that_goes_away_is_no_failure_of_a_file() -> None:
    picture("in/a.png")

    def gone() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        run("in", watcher=Stopper("tile", 0, gone))
    assert not parts()


def test_unfinished_files_of_killed_runs_are_removed_and_those_of_living_ones_are_not() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    dead, living, other = touch(
        f"out/.a{PART_MARK}{process.pid}.png", f"out/.b{PART_MARK}{os.getppid()}.png", f"out/a{PART_MARK}1.png"
    )
    own, huge = touch(f"out/.c{PART_MARK}{os.getpid()}.png", f"out/.d{PART_MARK}{10**30}.png")
    remove_leftovers(Path("out"))
    assert not dead.exists()
    assert living.exists()
    assert other.exists()
    assert own.exists()
    assert huge.exists()
    remove_leftovers(Path("out"), of_this_process=True)
    assert not own.exists()
    remove_leftovers(Path("nowhere"))


def test_two_batches_on_the_same_output_folder_share_the_work() -> None:
    for name in "abcd":
        picture(f"in/{name}.png")

    def other() -> None:
        assert states(run("in")).count("done") == 4

    report = run("in", watcher=Stopper("tile", 0, other))
    assert states(report) == ["done", "skipped", "skipped", "skipped"]
    assert states(run("in")) == ["skipped"] * 4


# ------------------------------------------------------------------------------------------------- reports, forecasts


def test_the_report_names_every_file_and_is_plain_json() -> None:
    picture("in/a.png")
    touch("in/bad.png", "in/readme.txt")
    report = json.loads(json.dumps(run("in", settings={"color_lock": True}).as_json()))
    assert (report["done"], report["failed"], report["skipped"], report["ignored"]) == (1, 1, 0, 1)
    good, bad = report["files"]
    assert (good["input"], good["output"], good["state"]) == ("in/a.png", "out/a_out.png", "done")
    assert (good["input_size"], good["output_size"]) == ([16, 12], [64, 48])
    assert good["color_difference"]["after"] <= good["color_difference"]["before"] + 0.1
    assert bad["state"] == "failed"
    assert "bad.png" in bad["message"]


def test_a_forecast_says_what_a_run_will_do_and_writes_nothing() -> None:
    picture("in/a.png")
    picture("in/b.png")
    touch("in/bad.png")
    run("in/b.png")
    before = sorted(Path().rglob("*"))
    naming = Naming(output=Path("out"))
    journal = Journal(naming.output)
    tasks, _ = find_tasks(["in", "missing.png"], naming, journal)
    found = {task.source.name: each for task, each in forecasts(tasks, upscaler(), journal)}
    assert isinstance(found["a.png"], Forecast)
    assert found["b.png"] is None
    assert isinstance(found["bad.png"], PictureError)
    assert isinstance(found["missing.png"], TesseraError)
    assert sorted(Path().rglob("*")) == before
    again = {task.source.name: each for task, each in forecasts(tasks, upscaler(), journal, overwrite=True)}
    assert isinstance(again["b.png"], Forecast)


@pytest.mark.slow
def test_22000_files_that_are_done_are_skipped_in_linear_time(capsys: pytest.CaptureFixture[str]) -> None:
    """What a second run over a large folder costs beside loading the network."""
    seconds: dict[int, float] = {}
    data = picture("one.png").read_bytes()
    for count in (5_500, 22_000):
        folder, output = Path(f"in{count}"), Path(f"out{count}")
        folder.mkdir()
        output.mkdir()
        for index in range(count):
            (folder / f"{index:05}.png").write_bytes(data + bytes(f"{index}", "ascii"))
        naming = Naming(output=output)
        tasks, _ = find_tasks([str(folder)], naming, Journal(output))
        lines: list[str] = []
        for task in tasks:
            task.output.write_bytes(b"done")
            run_of = batch._Run([task], upscaler(), Journal(Path("nowhere")), False)  # pyright: ignore[reportPrivateUsage]
            record = {"output": task.output.name, "state": "done", "key": run_of.choose(task)[1], "bytes": 4}
            lines.append(json.dumps(record))
        (output / JOURNAL_NAME).write_text("\n".join(lines) + "\n")
        report = run(str(folder), output=output)
        assert report.count("skipped") == count
        seconds[count] = report.seconds
    with capsys.disabled():
        print(f" skipping: {seconds} seconds")
    assert seconds[22_000] < 6 * seconds[5_500]
    assert seconds[22_000] < 60
