"""Several devices: a process for each, one journal, and the same files as from one."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.networks import made
from pictures import ramp, save
from tessera.errors import EngineError
from tessera.generators import SRVGGNetCompactConfig
from tessera.machine import cores
from tessera.storage.atomic import PART_MARK
from tessera.tiling.settings import Settings
from tessera.upscaling.batch import run_batch
from tessera.upscaling.batch_report import BatchReport, FileResult
from tessera.upscaling.devices import DeviceBatch, run_on_devices
from tessera.upscaling.finding import Naming, Task, find_tasks
from tessera.upscaling.journal import Journal
from tessera.upscaling.upscaler import Upscaler
from tessera.weights.files import load_weights, save_weights

FILES = 6


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.safetensors"
    generator = made(SRVGGNetCompactConfig(features=16, convolutions=2))
    save_weights(path, generator.config, generator.network.state_dict())
    (tmp_path / "in").mkdir()
    for number in range(FILES):
        save(Path(f"in/{number}.png"), ramp(30 + number, 40, seed=number))
    return path


def batch(weights: Path, output: str, *devices: str) -> DeviceBatch:
    journal = Journal(Path(output))
    tasks, ignored, _ = find_tasks(["in"], Naming(output=Path(output)), journal, recursive=False)
    return DeviceBatch(
        tasks=tuple(tasks),
        devices=devices,
        model=str(weights),
        model_sha256=load_weights(weights).sha256,
        settings=Settings(precision="exact", engine="pytorch"),
        journal_folder=journal.folder,
        pixels=1,
        ignored=ignored,
    )


def in_this_process(batch: DeviceBatch) -> BatchReport:
    return run_batch(batch.tasks, Upscaler(batch.model, settings=batch.settings), Journal(batch.journal_folder))


class Watching:
    """Counts what it is told, and does something at one moment."""

    def __init__(self, moment: tuple[str, int] | None = None, act: Callable[[], None] = lambda: None) -> None:
        self.told: list[tuple[str, int]] = []
        self._moment, self._act = moment, act

    def _note(self, what: str, index: int) -> None:
        self.told.append((what, index))
        if (what, index) == self._moment:
            self._act()

    def begin(self, index: int, task: Task) -> None:
        self._note("begin", index)

    def tile(self, index: int, done: int, total: int, pixels: int) -> None:
        self._note("tile", index)

    def end(self, index: int, result: FileResult) -> None:
        self._note("end", index)


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.png")}


def states(report: BatchReport) -> list[str]:
    return [result.state for result in report.results]


def test_two_processes_make_what_one_makes_and_tell_of_every_file_in_its_order(weights: Path):
    assert states(in_this_process(batch(weights, "one", "cpu"))) == ["done"] * FILES

    watching, lines = Watching(), list[str]()
    report = run_on_devices(batch(weights, "two", "cpu", "cpu"), watcher=watching, say=lines.append)
    assert states(report) == ["done"] * FILES
    assert [result.source.stem for result in report.results] == [str(number) for number in range(FILES)]
    assert contents("two") == contents("one")
    assert len(contents("two")) == FILES
    for number in range(FILES):
        assert [what for what, index in watching.told if index == number] == ["begin", "tile", "end"]
    assert sum(line.startswith("cpu: plan: pytorch fp32") for line in lines) == 2
    assert states(in_this_process(batch(weights, "two", "cpu"))) == ["skipped"] * FILES


def test_when_a_process_is_killed_its_files_fail_with_a_sentence_and_a_later_run_does_them(weights: Path):
    def kill_the_second() -> None:
        # The first may have ended already; the second has begun a file.
        second = max(multiprocessing.active_children(), key=lambda child: child.pid or 0)
        assert second.pid is not None
        os.kill(second.pid, signal.SIGKILL)
        second.join()

    report = run_on_devices(batch(weights, "out", "cpu", "cpu"), watcher=Watching(("begin", 1), kill_the_second))
    assert states(report)[::2] == ["done"] * 3
    failed = [result for result in report.results if result.state == "failed"]
    assert failed
    assert {int(result.source.stem) % 2 for result in failed} == {1}
    assert all("the process for cpu ended by signal 9" in result.message for result in failed)
    assert not [path for path in Path("out").iterdir() if PART_MARK in path.name]
    again = in_this_process(batch(weights, "out", "cpu"))
    assert again.count("done") + again.count("skipped") == FILES


def test_a_stop_leaves_the_rest_for_a_later_run(weights: Path):
    asked: list[int] = []
    watching = Watching(("end", 0), lambda: asked.append(1))
    report = run_on_devices(batch(weights, "out", "cpu", "cpu"), watcher=watching, stopped=lambda: bool(asked))
    assert report.left == FILES - report.count("done")
    assert report.count("failed") == 0
    assert not multiprocessing.active_children()
    assert not [path for path in Path("out").iterdir() if PART_MARK in path.name]
    assert in_this_process(batch(weights, "out", "cpu")).left == 0


def test_a_device_that_there_is_not_is_said_at_once_and_nobody_goes_on(weights: Path):
    with pytest.raises(EngineError, match="nowhere"):
        run_on_devices(batch(weights, "out", "nowhere", "cpu"))
    assert not multiprocessing.active_children()


def test_processes_on_the_processor_share_its_cores_unless_told_otherwise(weights: Path):
    two = batch(weights, "out", "cpu", "cuda:0", "cpu")
    assert [two.settings_of(number).device for number in range(3)] == ["cpu", "cuda:0", "cpu"]
    half = max(cores().usable // 2, 1)
    assert [two.settings_of(number).threads for number in range(3)] == [half, None, half]
    told = dataclasses.replace(two, settings=dataclasses.replace(two.settings, threads=3))
    assert told.settings_of(0).threads == 3
    assert [list(two.share(number)) for number in range(3)] == [[0, 3], [1, 4], [2, 5]]
