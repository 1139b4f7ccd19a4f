"""What a run writes: found again as it was written, by one process at a time, on disks that fill."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tessera.errors import FileError, TrainingError, UsageError
from tessera.images.picture import read_picture
from tessera.storage.atomic import PART_MARK, identify_machine
from tessera.storage.leftovers import remove_leftovers
from tessera.train.board import Board
from tessera.train.checkpoints import read_checkpoint_folder, tensor_writer, write_checkpoint
from tessera.train.history import format_config
from tessera.train.picture_set import PictureSet, store_picture_set
from tessera.train.recipe import Recipe, load_recipe
from tessera.train.records import RunFolder, read_metrics
from tessera.train.resuming import check_resumable
from tessera.train.sheets import assemble_sheet, write_sheet


def recipe(**more: Any) -> Recipe:
    return Recipe.model_validate({"name": "tiny", "steps": 9, "generator": {"network": "rrdbnet"}, **more})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "runs" / "tiny")
    start_new(made, recipe())
    return made


def start_new(folder: RunFolder, recipe: Recipe) -> None:
    folder.create()
    with folder.claim(format_config(recipe, []), is_new=True):
        pass


def steps(folder: RunFolder) -> list[int]:
    return [line["step"] for line in folder.metrics()]


# -------------------------------------------------------------------------------------------------------- the folder


def test_a_run_begins_once_and_what_it_has_is_kept(folder: RunFolder) -> None:
    before = (folder.path / "config.toml").read_bytes()
    folder.record(1, "train", {"pixel": 1.0})
    with pytest.raises(TrainingError, match=r"exists\. Resume it \(`resume`\)"):
        start_new(folder, recipe(seed=5))
    assert (folder.path / "config.toml").read_bytes() == before
    assert steps(folder) == [1]


def test_the_configuration_is_written_complete_and_reads_back_the_same(folder: RunFolder) -> None:
    from tessera.config import read_toml, validate

    assert validate(Recipe, read_toml(folder.path / "config.toml"), "it") == recipe()


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"a file")
    with pytest.raises(TrainingError, match="cannot write here"):
        RunFolder(tmp_path / "runs" / "tiny").create()


def test_a_configuration_with_a_name_that_is_no_utf_8_is_a_sentence(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "tiny")
    with pytest.raises(TrainingError, match=r"not UTF-8.*Rename"):
        start_new(run, recipe(data={"train": ["photos\udcff"]}))
    assert not run.exists


def test_lines_are_found_again_as_they_were_written(folder: RunFolder) -> None:
    folder.record(1, "train", {"pixel": 0.1, "rate": 1e-4})
    folder.record(1, "event", {"sentence": "Line\u2028break\x85, \udcff and 😀"})
    assert folder.metrics() == [
        {"step": 1, "kind": "train", "pixel": 0.1, "rate": 1e-4},
        {"step": 1, "kind": "event", "sentence": "Line\u2028break\x85, \udcff and 😀"},
    ]


def test_what_is_no_number_is_written_as_null_so_that_every_reader_can_read_it(folder: RunFolder) -> None:
    folder.record(3, "train", {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.0})
    text = (folder.path / "metrics.jsonl").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "step": 3,
        "kind": "train",
        "a": None,
        "b": None,
        "c": None,
        "d": 1.0,
    }


def test_lines_that_are_torn_or_strange_are_left_out(folder: RunFolder) -> None:
    folder.record(1, "train", {"pixel": 1.0})
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(b'[]\n{}\n\xff\x00\n{"step": null, "kind": "train"}\n' + b"[" * 100_000 + b'\n{"step": 2, "ki')
    assert steps(folder) == [1]
    folder.drop_lines_after(10)
    assert (folder.path / "metrics.jsonl").read_bytes().count(b"\n") == 1


def test_metrics_that_are_not_there_are_none(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_going_on_forgets_what_came_after_and_nothing_else(folder: RunFolder) -> None:
    for step in range(1, 8):
        folder.record(step, "train", {"pixel": 1 / step})
        write_sheet(folder.samples / f"{step:09d}.png", np.zeros((4, 4, 3), np.uint8))
    (folder.samples / "notes.png").write_bytes(b"mine")
    kept = (folder.path / "metrics.jsonl").read_bytes().splitlines(keepends=True)[:4]
    folder.drop_lines_after(4)
    assert (folder.path / "metrics.jsonl").read_bytes() == b"".join(kept)
    assert sorted(path.name for path in folder.samples.iterdir()) == [
        *(f"{step:09d}.png" for step in range(1, 5)),
        "notes.png",
    ]


def test_a_crash_while_forgetting_loses_nothing(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.record(1, "train", {"pixel": 1.0})
    folder.record(2, "train", {"pixel": 1.0})

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tessera.storage.files.put_in_place", fails)
    with pytest.raises(TrainingError, match="No space left on device"):
        folder.drop_lines_after(1)
    assert steps(folder) == [1, 2]
    assert not [path for path in folder.path.iterdir() if PART_MARK in path.name]


# ------------------------------------------------------------------------------------------------------------ the log


def test_the_log_has_a_time_and_one_line_for_each_sentence_whatever_is_in_it(folder: RunFolder) -> None:
    folder.log("photos/\udcff.png\nis damaged: é")
    folder.log("second")
    first, second = (folder.path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert first[19:] == " photos/\\udcff.png is damaged: é"
    assert second[4] == second[7] == "-"
    assert second.endswith(" second")


# ----------------------------------------------------------------------------------------------------- one at a time

HOLD = """\
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("refused", flush=True)
    sys.exit()
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def another_process(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-S", "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")
def test_two_processes_never_train_one_run_and_a_killed_one_leaves_no_lock(folder: RunFolder) -> None:
    lock = folder.path / ".lock"
    with folder.claim(), another_process(lock) as (_, answer):
        assert answer == "refused"
    with another_process(lock) as (process, answer):
        assert answer == "held"
        with pytest.raises(TrainingError, match="another process is training this run"), folder.claim():
            pass
        process.kill()
        process.wait()
        with folder.claim():
            pass


def test_the_lock_is_given_back_when_the_run_ends_in_an_error(folder: RunFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.claim():
        raise ZeroDivisionError
    with folder.claim():
        pass


def test_a_lock_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot write"), RunFolder(tmp_path / "gone").claim():
        pass


# ------------------------------------------------------------------------------------------------------- a full disk


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Limit the size of files, which fails writes in the system as a full disk does."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["metrics.jsonl", "log.txt"])
def test_a_full_disk_is_a_sentence_that_says_how_to_resume(
    folder: RunFolder, name: str, full_disk: Callable[[int], None]
) -> None:
    write = {"log.txt": lambda: folder.log("it"), "metrics.jsonl": lambda: folder.record(1, "train", {"pixel": 1.0})}
    write[name]()
    full_disk((folder.path / name).stat().st_size)
    with pytest.raises(TrainingError, match=rf"{name}: cannot write this file \(File too large.*`resume`"):
        write[name]()


def test_a_full_disk_at_the_beginning_is_a_sentence(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    run = RunFolder(tmp_path / "tiny")
    full_disk(100)
    with pytest.raises(TrainingError, match="File too large"):
        start_new(run, recipe())
    assert not run.exists
    assert [path.name for path in run.path.iterdir() if path.is_file()] == [".lock"]


def test_a_full_disk_fails_a_checkpoint_with_a_sentence_and_keeps_the_last(
    folder: RunFolder, full_disk: Callable[[int], None]
) -> None:
    tensors = {"a": torch.arange(1000.0), "step": torch.tensor(7), "pool": torch.zeros(3, 2, dtype=torch.uint8)}
    write_checkpoint(folder.checkpoints, 1, {"x.safetensors": tensor_writer(tensors)}, {})
    full_disk(1000)
    with pytest.raises(TrainingError, match=r"000000002: cannot write the checkpoint \(File too large\).*`resume`"):
        write_checkpoint(folder.checkpoints, 2, {"x.safetensors": tensor_writer(tensors)}, {})
    assert [path.name for path in folder.checkpoints.iterdir()] == ["000000001"]
    found = read_checkpoint_folder(folder.checkpoints / "000000001").tensors("x.safetensors")
    assert {name: (value.dtype, value.tolist()) for name, value in found.items()} == {
        name: (value.dtype, value.tolist()) for name, value in tensors.items()
    }


# --------------------------------------------------------------------------------------------- folders from an archive


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("name", ["metrics.jsonl", "log.txt", "draws.jsonl", ".lock", "config.toml", "pictures.jsonl"])
@pytest.mark.parametrize("kind", ["link", "hard link", "fifo"])
def test_no_planted_file_leads_a_run_out_of_its_folder(tmp_path: Path, name: str, kind: str) -> None:
    victim = tmp_path / "bashrc"
    victim.write_bytes(b"export A=1\n")
    run = RunFolder(tmp_path / "tiny")
    run.checkpoints.mkdir(parents=True)
    place = run.path / name
    if kind == "link":
        place.symlink_to(victim)
    elif kind == "hard link":
        place.hardlink_to(victim)
    else:
        os.mkfifo(place)

    def write() -> None:
        with run.claim(format_config(recipe(), ["step 0: started"])):
            run.log("$(command)")
            run.record(1, "train", {"pixel": 1.0})
            run.record_draw(1, "{}")
            store_picture_set(run.path, PictureSet((("a.png", 1),), "0"))

    if name in ("config.toml", "pictures.jsonl"):  # written whole: the planted name is replaced
        write()
        assert stat.S_ISREG(place.lstat().st_mode)
    else:
        with pytest.raises(FileError, match="expected a regular file"):
            write()
    assert victim.read_bytes() == b"export A=1\n"


def test_dropping_lines_replaces_a_link_and_leaves_its_target(tmp_path: Path, folder: RunFolder) -> None:
    victim = tmp_path / "other.jsonl"
    victim.write_text('{"step": 5, "kind": "train"}\n')
    (folder.path / "metrics.jsonl").symlink_to(victim)
    with pytest.raises(FileError, match="found a link"):
        folder.drop_lines_after(1)
    assert victim.read_text() == '{"step": 5, "kind": "train"}\n'


def test_temporary_files_of_killed_processes_are_removed_at_the_next_start(folder: RunFolder) -> None:
    here = identify_machine()
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    dead = [
        folder.path / f".best{PART_MARK}{process.pid}-{here}-1.safetensors",
        folder.samples / f".0{PART_MARK}{process.pid}-{here}-1.png",
        folder.checkpoints / f".000000003{PART_MARK}{process.pid}-{here}-1",
    ]
    for path in dead[:2]:
        path.write_bytes(b"torn")
    dead[2].mkdir()
    (dead[2] / "generator.safetensors").write_bytes(b"torn")
    elsewhere = folder.path / f".best{PART_MARK}77-01234567-1.safetensors"
    elsewhere.write_bytes(b"of another machine")
    own = folder.path / ".notes"
    own.mkdir()
    for inner in (folder.path, folder.samples, folder.checkpoints):
        remove_leftovers(inner)
    assert not any(path.exists() for path in dead)
    assert elsewhere.exists()
    with folder.claim():  # nobody else writes here
        assert not elsewhere.exists()
    assert own.exists()


# ------------------------------------------------------------------------------------------------------------- sheets


def flat(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_a_sheet_has_each_picture_in_its_place_with_gray_between_and_beside() -> None:
    pixels = assemble_sheet([[flat(10, 20, 1), flat(10, 20, 2)], [flat(6, 5, 3), flat(8, 5, 4), flat(8, 5, 5)]], gap=3)
    assert pixels.shape == (10 + 3 + 8, 20 + 3 + 20, 3)
    wanted = np.full((21, 43), 230)
    wanted[:10, :20], wanted[:10, 23:] = 1, 2
    wanted[13:19, :5], wanted[13:, 8:13], wanted[13:, 16:21] = 3, 4, 5
    np.testing.assert_array_equal(pixels, np.repeat(wanted[..., None], 3, axis=2))


def test_a_sheet_of_one_picture_is_that_picture(tmp_path: Path) -> None:
    one = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(assemble_sheet([[one]]), one)
    write_sheet(tmp_path / "samples" / "1.png", one)
    np.testing.assert_array_equal(read_picture(tmp_path / "samples" / "1.png").pixels, one)


def test_a_sheet_of_nothing_is_empty_and_not_written(tmp_path: Path) -> None:
    pixels = assemble_sheet([])
    assert pixels.size == 0
    write_sheet(tmp_path / "1.png", pixels)
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------------------------- TensorBoard


class Three(nn.Module):
    """Layers, of which the middle one is not to be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.middle = nn.Conv2d(2, 2, 3)
        self.last = nn.Conv2d(2, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.middle(self.norm(self.first(x))))


def accumulated(folder: Path) -> Any:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = module.EventAccumulator(str(folder), size_guidance={"histograms": 0, "scalars": 0, "images": 0})
    found.Reload()
    return found


def test_weights_and_gradients_of_the_first_and_last_layer_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    network = Three()
    network(torch.rand(1, 3, 9, 9)).square().mean().backward()
    board = Board(tmp_path)
    board.add_end_layers(7, "generator", network)
    board.close()
    found = accumulated(tmp_path)
    assert sorted(found.Tags()["histograms"]) == sorted(
        f"generator/{layer}.{what}" for layer in ("first", "last") for what in _kinds()
    )
    (event,) = found.Histograms("generator/last.weight.gradient")
    gradient = network.last.weight.grad
    assert gradient is not None
    assert (event.step, event.histogram_value.num) == (7, gradient.numel())
    assert event.histogram_value.min == pytest.approx(float(gradient.min()))
    assert event.histogram_value.sum == pytest.approx(float(gradient.sum()), rel=1e-4, abs=1e-6)


def _kinds() -> list[str]:
    return ["weight", "weight.gradient", "bias", "bias.gradient"]


def test_a_network_of_one_layer_is_written_once_and_one_of_none_not_at_all(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = Board(tmp_path)
    board.add_end_layers(1, "one", nn.Conv2d(3, 3, 1))
    board.add_end_layers(1, "none", nn.ReLU())
    board.close()
    assert sorted(accumulated(tmp_path).Tags()["histograms"]) == ["one/.bias", "one/.weight"]


def test_numbers_are_written_under_their_group_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = Board(tmp_path)
    board.add_scalars(5, "train", {"pixel": 0.25, "broken": math.nan, "endless": math.inf})
    board.add_histogram(5, "sr", torch.tensor([math.nan]))
    board.add_histogram(5, "sr", torch.zeros(0))
    board.add_histogram(5, "sr", None)
    board.add_picture(5, "samples", flat(4, 6, 9))
    board.add_picture(5, "nothing", np.zeros((0, 0, 3), np.uint8))
    board.close()
    found = accumulated(tmp_path)
    tags = found.Tags()
    assert (tags["scalars"], tags["histograms"], tags["images"]) == (["train/pixel"], [], ["samples"])
    assert [(event.step, event.value) for event in found.Scalars("train/pixel")] == [(5, 0.25)]


def test_what_was_written_after_the_checkpoint_is_hidden_when_a_run_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = Board(tmp_path)
    for step in (1, 2, 3):
        board.add_scalars(step, "train", {"pixel": float(step)})
    board.close()
    again = Board(tmp_path, purge_after=1)
    again.add_scalars(2, "train", {"pixel": 20.0})
    again.close()
    assert [event.value for event in accumulated(tmp_path).Scalars("train/pixel")] == [1, 20]


def test_without_tensorboard_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install .*train.*report\.tensorboard=false"):
        Board(tmp_path)
    assert not list(tmp_path.iterdir())


def test_where_none_is_wanted_none_is_needed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    board = Board(None)
    assert not board.is_on
    board.add_scalars(1, "train", {"pixel": 1.0})
    board.add_end_layers(1, "generator", Three())
    board.add_picture(1, "samples", flat(2, 2, 0))
    board.close()
    assert not list(tmp_path.iterdir())


def test_a_board_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrainingError, match="cannot write"):
        Board(tmp_path / "file" / "events")


def test_a_run_with_the_older_spelling_of_a_key_can_be_resumed(tmp_path: Path) -> None:
    recipe = load_recipe("esrgan", [f"runs={tmp_path}", "perceptual.normalize=false"])
    folder = RunFolder(recipe.folder)
    start_new(folder, recipe)
    config = recipe.folder / "config.toml"
    text = config.read_text(encoding="utf-8")
    assert "normalize = false" in text
    config.write_text(text.replace("normalize = false", "normalise = false"), encoding="utf-8")
    check_resumable(folder, recipe)
    with pytest.raises(UsageError, match=r"cannot change perceptual.*another name"):
        check_resumable(folder, load_recipe("esrgan", [f"runs={tmp_path}"]))
