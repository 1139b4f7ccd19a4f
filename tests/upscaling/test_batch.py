"""Many files: what becomes of each when things go wrong, and what is said about it."""

from __future__ import annotations

import cProfile
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pictures import ramp, save
from stand_ins import FunctionEngine, nearest, repeated
from tessera.errors import FileError, LimitError, PictureError, TesseraError
from tessera.images.reader import PictureReader
from tessera.images.writer import PictureWriter
from tessera.storage.atomic import PART_MARK, identify_machine
from tessera.storage.checksum import compute_sha256
from tessera.storage.leftovers import remove_leftovers
from tessera.tiling.settings import OutScale, Settings
from tessera.upscaling.batch import forecasts, run_batch
from tessera.upscaling.batch_report import BatchReport, FileResult
from tessera.upscaling.batch_run import BatchOptions, BatchRun
from tessera.upscaling.filejob import Forecast
from tessera.upscaling.finding import Naming, Task, find_tasks
from tessera.upscaling.journal import JOURNAL_NAME, Job, Journal
from tessera.upscaling.replacing import Existing
from tessera.upscaling.source import Source
from tessera.upscaling.upscaler import Upscaler
from upscaling.files import picture, touch


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# ------------------------------------------------------------------------------------------------------------- running


def upscaler(value: int = 0, **settings: Any) -> Upscaler:
    generator = nearest(4)
    object.__setattr__(generator, "sha256", f"{value}".ljust(64, "0"))
    return Upscaler(generator, engine=FunctionEngine(repeated(4)), settings=Settings(**settings))


def run(
    *inputs: str,
    recursive: bool = False,
    overwrite: bool = False,
    existing: Existing = "keep",
    model: int = 0,
    stopped: Callable[[], bool] = lambda: False,
    watcher: Any = None,
    settings: dict[str, Any] | None = None,
    **naming: Any,
) -> BatchReport:
    chosen = Naming(**{"output": Path("out"), **naming})
    journal = Journal(chosen.journal_folder(inputs))
    tasks, ignored, _ = find_tasks(inputs, chosen, journal, recursive=recursive)
    return run_batch(
        tasks,
        upscaler(model, **(settings or {})),
        journal,
        BatchOptions(existing="overwrite" if overwrite else existing, watcher=watcher, stopped=stopped),
        ignored=ignored,
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


@pytest.mark.parametrize("change", ["input", "deleted", "emptied", "overwrite"])
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
        case "deleted":
            output.unlink()
        case "emptied":
            output.write_bytes(b"")
        case _:
            more = {"overwrite": True}
    assert states(run("in", **more)) == ["done", "done" if more else "skipped"]
    if change != "input":
        assert output.read_bytes() == whole


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"model": 1}, ("(00000000);", "(10000000).")),
        ({"settings": {"flat_lock": False}}, ("(00000000);", "flat_lock off")),
        ({"settings": {"outscale": OutScale.parse(2)}}, ("(00000000);", "outscale 2")),
    ],
)
def test_an_output_of_another_model_or_other_settings_is_kept_and_described(
    more: dict[str, Any], words: tuple[str, str]
) -> None:
    picture("in/a.png")
    run("in")
    output = Path("out/a_out.png")
    before = output.read_bytes()
    [result] = run("in", **more).results
    assert result.state == "failed"
    assert all(each in result.message for each in (*words, str(output), "`overwrite`", "`output`"))
    assert output.read_bytes() == before
    assert states(run("in", existing="refresh", **more)) == ["done"]
    assert states(run("in", overwrite=True)) == ["done"]


@pytest.mark.parametrize("existing", ["keep", "refresh"])
def test_an_output_that_was_edited_or_truncated_is_not_replaced_unless_asked_for(existing: Existing) -> None:
    picture("in/a.png")
    run("in")
    output = Path("out/a_out.png")
    whole = output.read_bytes()
    for other in (whole[:-1], whole[:-20] + bytes(20), whole + b"edited"):
        output.write_bytes(other)
        [result] = run("in", existing=existing).results
        assert (result.state, output.read_bytes()) == ("failed", other)
        assert "was changed since" in result.message
    assert states(run("in", overwrite=True)) == ["done"]
    assert output.read_bytes() == whole


def test_a_planted_journal_neither_owns_files_nor_hides_pictures() -> None:
    """As in a folder out of an archive: lines that claim a user's file, or that a picture is an output."""
    picture("in/a.png")
    picture("in/b.png", seed=1)
    mine = picture("in/a_out.png", seed=2).read_bytes()
    for state in ("begun", "done"):
        for sha256 in ("", "0" * 64):
            lines = [
                {"output": name, "state": state, "key": "k", "input": source, "bytes": size, "sha256": sha256}
                for name, source in (("a_out.png", "a.png"), ("b.png", "a.png"))
                for size in (Path("in", name).stat().st_size,)
            ]
            Path("in", JOURNAL_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
            report = run("in/a.png", "in", output=Path("in"))
            by_name = {result.source.name: result for result in report.results}
            assert by_name["a.png"].state == "failed"
            assert Path("in/a_out.png").read_bytes() == mine
            assert by_name["b.png"].state == "done"
            for name in ("b_out.png", "a_out_out.png"):
                Path("in", name).unlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "FIFO", "folder", "3 GB"])
def test_a_journal_that_is_not_a_file_of_its_own_is_a_sentence(kind: str) -> None:
    picture("in/a$(touch pwned)b.png")
    Path("bashrc").write_text("alias ls=ls\n")
    Path("out").mkdir()
    journal = Path("out", JOURNAL_NAME)
    match kind:
        case "link":
            journal.symlink_to("../bashrc")
        case "dangling link":
            journal.symlink_to("../new")
        case "hard link":
            os.link("bashrc", journal)
        case "FIFO":
            os.mkfifo(journal)
        case "folder":
            journal.mkdir()
        case _:
            with journal.open("wb") as file:
                file.truncate(3 * 10**9)
    try:
        [result] = run("in").results
        message = result.message
        assert result.state == "failed"
    except FileError as error:
        message = str(error)
    assert JOURNAL_NAME in message
    assert "expected" in message
    assert Path("bashrc").read_text() == "alias ls=ls\n"
    assert not Path("new").exists()
    assert not Path("out/a$(touch pwned)b_out.png").exists()


def test_an_output_folder_inside_that_is_a_link_leads_nowhere() -> None:
    picture("in/x/a.png")
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    Path("out/x").symlink_to("../elsewhere")
    [result] = run("in", recursive=True).results
    assert result.state == "failed"
    assert "leads out of out" in result.message
    assert not list(Path("elsewhere").iterdir())


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
    assert "is not an output of Tessera" in result.message
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
    assert states(run("q/in", output=Path("q/out"), model=1, existing="refresh")) == ["done"]


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

    def broken(self: Upscaler, path: Source, output: Path, **more: Any) -> Any:
        if path.path.name == "a.png":
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

    def broken(self: Upscaler, path: Source, output: Path, **more: Any) -> Any:
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
    assert result.message == "in/a.png: file/below: cannot be written to: Not a directory."


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
    assert "pipe or a device" in result.message
    assert Path("out/a_out.png").is_fifo()


def test_a_file_in_the_place_of_an_output_folder_is_a_sentence() -> None:
    picture("in/x/a.png")
    touch("out/x")
    [result] = run("in", recursive=True).results
    assert result.message == "in/x/a.png: out/x: is a file, not a folder for outputs."


def test_a_name_that_becomes_too_long_is_a_sentence() -> None:
    shutil.move(picture("in/a.png"), "in/" + "n" * 251 + ".png")
    picture("in/z.png")
    report = run("in")
    assert states(report) == ["failed", "done"]
    assert "too long" in report.results[0].message
    assert report.results[0].defect is None


def test_a_journal_that_cannot_be_written_after_the_work_does_not_undo_it(monkeypatch: pytest.MonkeyPatch) -> None:
    picture("in/a.png")

    def full(self: Journal, output: Path, job: Job, source: Path, *, written: Path) -> None:
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
    assert "the name of another picture" in result.message
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


@pytest.mark.parametrize(("event", "done"), [("begin", [1]), ("tile", [1]), ("end", [2, 3])])
def test_a_stop_drops_the_file_at_hand_and_the_next_run_goes_on(event: str, done: list[int]) -> None:
    names = "abcde"
    for name in names:
        picture(f"in/{name}.png", side=40)
    stopper = Stopper(event, 1)
    report = run("in", watcher=stopper, stopped=lambda: stopper.stop, settings={"tile": 32})
    finished = report.count("done")
    assert finished in done  # when one ends, the next may have been through with the network
    assert states(report) in (["done"] * finished, ["done"] * finished + ["dropped"])
    assert report.left == len(names) - finished
    assert report.as_json()["interrupted"] is True
    assert not parts()
    assert len(list(Path("out").glob("*.png"))) == finished
    again = run("in", settings={"tile": 32})
    assert states(again) == ["skipped"] * finished + ["done"] * (len(names) - finished)
    assert again.as_json()["interrupted"] is False


def test_while_one_file_has_the_network_the_next_is_read_and_the_last_is_written(monkeypatch) -> None:
    for name in "abc":
        picture(f"in/{name}.png")
    met: dict[str, threading.Event] = {name: threading.Event() for name in ("b is read", "b has the network")}
    at_work = threading.Lock()
    survey, finish = PictureReader.measure_ranges, PictureWriter.finish

    def surveyed(self: PictureReader) -> Any:
        if self.path.stem == "b":
            met["b is read"].set()
        return survey(self)

    def finished(self: PictureWriter, **more: Any) -> None:
        if self.path.stem == "a_out":
            assert met["b has the network"].wait(10)
        finish(self, **more)

    def network(x: torch.Tensor, precision: int) -> torch.Tensor:
        assert at_work.acquire(blocking=False), "two files have the network"
        try:
            if met["b is read"].wait(10) and runs:
                met["b has the network"].set()
            runs.append(x)
            return repeated(4)(x, precision)
        finally:
            at_work.release()

    runs: list[torch.Tensor] = []
    monkeypatch.setattr(PictureReader, "measure_ranges", surveyed)
    monkeypatch.setattr(PictureWriter, "finish", finished)
    tasks, *_ = find_tasks(["in"], Naming(output=Path("out")), journal := Journal(Path("out")), recursive=False)
    report = run_batch(tasks, Upscaler(nearest(4), engine=FunctionEngine(network), settings=Settings()), journal)
    assert states(report) == ["done"] * 3, [entry.message for entry in report.results]
    assert all(event.is_set() for event in met.values())
    assert [entry.source.stem for entry in report.results] == ["a", "b", "c"]


def test_what_is_told_of_files_comes_in_the_order_of_the_files() -> None:
    told: list[tuple[str, int]] = []

    class Listener:
        def begin(self, index: int, task: Task) -> None:
            told.append(("begin", index))

        def tile(self, index: int, done: int, total: int, pixels: int) -> None:
            told.append(("tile", index))

        def end(self, index: int, result: FileResult) -> None:
            told.append(("end", index))

    for name in "abdef":
        picture(f"in/{name}.png")
    Path("in/c.png").write_bytes(b"no picture")
    assert states(run("in", watcher=Listener())).count("done") == 5
    for index in range(6):
        mine = [event for event, each in told if each == index]
        assert mine == (["begin", "end"] if index == 2 else ["begin", "tile", "end"])
    for event in ("begin", "tile", "end"):
        indices = [index for each, index in told if each == event]
        assert indices == sorted(indices)


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
    here = f"{identify_machine()}-5f5f5f.png"
    dead, living, other = touch(
        f"out/.a{PART_MARK}{process.pid}-{here}", f"out/.b{PART_MARK}{os.getppid()}-{here}", f"out/a{PART_MARK}1-{here}"
    )
    own, huge = touch(f"out/.c{PART_MARK}{os.getpid()}-{here}", f"out/.d{PART_MARK}{10**30}-{here}")
    remove_leftovers(Path("out"))
    assert not dead.exists()
    assert living.exists()
    assert other.exists()
    assert own.exists()
    assert huge.exists()
    remove_leftovers(Path("out"), of_this_process=True)
    assert not own.exists()
    remove_leftovers(Path("nowhere"))


def test_unfinished_files_of_another_machine_are_left_for_a_week() -> None:
    """Its process numbers mean nothing here: one of them may be ours, and none of ours may be alive."""
    names = [
        f"out/.{letter}{PART_MARK}{pid}{rest}.png"
        for letter, pid in (("a", os.getpid()), ("b", 10**9))
        for rest in ("-01234567-5f5f5f", "-0", "")
    ]
    young = touch(*names)
    old = touch(*(name.replace("out/.", "out/.old") for name in names))
    for path in old:
        os.utime(path, (time.time() - 8 * 86_400, time.time() - 8 * 86_400))
    for path in young:
        os.utime(path, (time.time() - 6 * 86_400, time.time() - 6 * 86_400))
    remove_leftovers(Path("out"))
    remove_leftovers(Path("out"), of_this_process=True)
    assert all(path.exists() for path in young)
    assert not any(path.exists() for path in old)


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
    tasks, *_ = find_tasks(["in", "missing.png"], naming, journal)
    found = {task.source.name: each for task, each in forecasts(tasks, upscaler(), journal)}
    assert isinstance(found["a.png"], Forecast)
    assert found["b.png"] is None
    assert isinstance(found["bad.png"], PictureError)
    assert isinstance(found["missing.png"], TesseraError)
    assert sorted(Path().rglob("*")) == before
    again = {task.source.name: each for task, each in forecasts(tasks, upscaler(), journal, overwrite=True)}
    assert isinstance(again["b.png"], Forecast)


@pytest.mark.parametrize("factor", ["1e9", "1e300", "1.7e308", "65000"])
def test_an_absurd_factor_is_a_sentence_about_each_picture(factor: str) -> None:
    picture("in/a.png")
    settings = Settings(outscale=OutScale.parse(factor))
    naming = Naming(output=Path("out"))
    tasks, *_ = find_tasks(["in"], naming, Journal(naming.output))
    enlarge = Upscaler(nearest(), engine=FunctionEngine(repeated()), settings=settings)
    [result] = run_batch(tasks, enlarge, Journal(naming.output)).results
    assert (result.state, result.defect) == ("failed", None)
    assert result.message.startswith("in/a.png: ")
    assert "\n" not in result.message
    assert not [path for path in Path("out").glob("*") if path.name != JOURNAL_NAME]
    [(_, forecast)] = list(forecasts(tasks, enlarge, Journal(naming.output)))
    assert isinstance(forecast, LimitError)


@pytest.mark.slow
def test_22000_files_that_are_done_are_skipped_in_linear_time(capsys: pytest.CaptureFixture[str]) -> None:
    """What a second run over a large folder costs beside loading the network."""
    calls: dict[int, int] = {}
    data = picture("one.png").read_bytes()
    for count in (5_500, 22_000):
        folder, output = Path(f"in{count}"), Path(f"out{count}")
        folder.mkdir()
        output.mkdir()
        for index in range(count):
            (folder / f"{index:05}.png").write_bytes(data + bytes(f"{index}", "ascii"))
        naming = Naming(output=output)
        tasks, *_ = find_tasks([str(folder)], naming, Journal(output))
        lines: list[str] = []
        for task in tasks:
            task.output.write_bytes(b"done")
            run_of = BatchRun([task], upscaler(), Journal(Path("nowhere")), BatchOptions())
            [(_, job)] = run_of._candidates(task)  # pyright: ignore[reportPrivateUsage]
            record = {"output": task.output.name, "state": "done", "key": job.key, "bytes": 4}
            # As `finish` writes it, without the flush that takes the disk's time.
            record |= {"mtime_ns": task.output.stat().st_mtime_ns, "sha256": compute_sha256(task.output)}
            lines.append(json.dumps(record))
        (output / JOURNAL_NAME).write_text("\n".join(lines) + "\n")
        profile = cProfile.Profile()
        report = profile.runcall(run, str(folder), output=output)
        assert report.count("skipped") == count
        calls[count] = sum(entry.callcount for entry in profile.getstats())
        with capsys.disabled():
            print(f" skipping {count}: {report.seconds:.1f} s, {calls[count] / count:.0f} calls a file")
    assert calls[22_000] < 4.2 * calls[5_500]
