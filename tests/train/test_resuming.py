"""What a resumed run keeps, what it may change with a note, and what it never overwrites."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tessera.config import validate
from tessera.errors import TrainingError, UsageError
from tessera.train.history import format_config
from tessera.train.loop import RunResult, train
from tessera.train.recipe import Recipe, load_recipe
from tessera.train.records import RunFolder
from tessera.train.resuming import find_fixed_changes, locate_run
from train.runs import SMALL, SMALL_RRDB, RecordingDisplay, make_pictures, trained_lines

CHANGES = (*SMALL, *SMALL_RRDB, "pool=0", "name=run", "checkpoint.every=2")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_pictures(tmp_path / "photos", count=6)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*more: str, resume: bool = False, restart: bool = False, base: str = "rrdb-psnr") -> tuple[RunResult, str]:
    changes = [*(CHANGES if base == "rrdb-psnr" else ()), *more]
    display = RecordingDisplay()
    words = locate_run(base, changes) if resume else changes
    result = train(load_recipe(base, words), resume=resume, restart=restart, display=display)
    return result, "\n".join(display.sentences)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "log.txt")
    }


def tear_all(folder: Path) -> None:
    for path in (folder / "checkpoints").glob("*/generator.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])


def unmount(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")


def unmount_with_mount_point(folder: Path) -> None:
    unmount(folder)
    (folder / "checkpoints").mkdir()


def break_link(folder: Path) -> None:
    unmount(folder)
    (folder / "checkpoints").symlink_to(folder / "gone")


@pytest.mark.parametrize("harm", [tear_all, unmount, unmount_with_mount_point, break_link])
def test_without_an_intact_checkpoint_a_run_is_never_overwritten(desk: Path, harm: Callable[[Path], None]) -> None:
    run("steps=4")
    folder = desk / "runs" / "run"
    harm(folder)
    before = contents(folder)
    with pytest.raises(TrainingError) as caught:
        run("steps=4", resume=True)
    said = str(caught.value)
    assert "expected an intact checkpoint to resume from, found" in said
    assert "latest.safetensors, metrics up to step 4" in said
    assert "`restart` starts again at step 0" in said
    if harm is tear_all:
        assert "3 damaged checkpoints" in said
        assert "generator.safetensors does not match its checksum" in said
    assert contents(folder) == before

    result, _ = run("steps=4", resume=True, restart=True)
    assert result.step == 4
    kept = {name: data for name, data in before.items() if name != "config.toml"}
    assert contents(folder / "earlier-1") == kept
    assert [line["step"] for line in trained_lines(folder)] == [1, 2, 3, 4]
    assert "restarted; earlier results moved to earlier-1" in (folder / "config.toml").read_text()


def test_a_run_that_was_stopped_before_its_first_checkpoint_starts(desk: Path) -> None:
    recipe = load_recipe("rrdb-psnr", [*CHANGES, "steps=2"])
    folder = RunFolder(recipe.folder)
    folder.create()
    with folder.claim(format_config(recipe, [])):
        pass
    result, said = run("steps=2", resume=True)
    assert result.step == 2
    assert "Starting at step 0 of 2" in said


def test_restart_keeps_an_intact_run_aside_and_with_resume_resumes_it(desk: Path) -> None:
    run("steps=2")
    _, said = run("steps=3", resume=True, restart=True)
    assert "Resuming at step 2 of 3" in said
    run("steps=2", restart=True)
    assert (desk / "runs" / "run" / "earlier-1" / "checkpoints" / "000000003").is_dir()
    assert [line["step"] for line in trained_lines(desk / "runs" / "run")] == [1, 2]


def test_the_configuration_that_ran_lies_in_the_folder_with_its_history(desk: Path) -> None:
    run("steps=3")
    config = desk / "runs" / "run" / "config.toml"
    run("steps=6", "checkpoint.every=5", resume=True)
    run("steps=6", "checkpoint.every=5", resume=True)  # nothing changed: no entry
    run("steps=7", "checkpoint.every=5", resume=True)
    text = config.read_text(encoding="utf-8")
    assert tomllib.loads(text)["steps"] == 7
    assert [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")] == [
        "step 0: started",
        "step 3: steps = 6 (was 3); checkpoint.every = 5 (was 2)",
        "step 6: steps = 7 (was 6)",
    ]
    assert validate(Recipe, tomllib.loads(text), "") == load_recipe(
        "rrdb-psnr", [*CHANGES, "steps=7", "checkpoint.every=5"]
    )
    _, said = run(resume=True, base=str(config))  # the line that the tool recommends
    assert "Resuming at step 7 of 7" in said


@pytest.mark.parametrize("place", ["runs/other", "archive/2026/renamed run", "runs/007"])
def test_a_moved_run_resumes_from_the_configuration_in_it(desk: Path, place: str) -> None:
    run("steps=2")
    (desk / place).parent.mkdir(parents=True, exist_ok=True)
    (desk / "runs" / "run").rename(desk / place)
    result, said = run("steps=3", resume=True, base=f"{place}/config.toml")
    assert (result.step, "Resuming at step 2 of 3" in said) == (3, True)
    assert [line["step"] for line in trained_lines(desk / place)] == [1, 2, 3]
    assert not (desk / "runs" / "run").exists()


def test_a_run_resumes_from_inside_its_folder(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("steps=2", f"data.train={desk / 'photos'}")
    (desk / "runs" / "run").rename(desk / "runs" / "moved")
    monkeypatch.chdir(desk / "runs" / "moved")
    result, _ = run("steps=3", resume=True, base="config.toml")
    assert result.step == 3
    assert not (desk / "runs" / "moved" / "runs").exists()


def test_a_changed_set_is_named_and_the_run_resumes_with_a_note(desk: Path) -> None:
    run("steps=2")
    (desk / "photos" / "p1.png").unlink()
    (desk / "photos" / "p4.png").unlink()
    shutil.copy(desk / "photos" / "p0.png", desk / "photos" / "q.png")
    (desk / "photos" / "p2.png").write_bytes((desk / "photos" / "p2.png").read_bytes() + b"\0")
    _, said = run("steps=3", resume=True)
    (note,) = [line for line in said.splitlines() if "set has changed" in line]
    assert "6 files then, 5 now (missing: p1.png, p4.png; new: q.png; of another size: p2.png)" in note
    assert "not be bit-identical" in note
    _, said = run("steps=4", resume=True)
    assert "set has changed" not in said


def test_a_set_that_only_moved_is_the_same_set(desk: Path) -> None:
    run("steps=2")
    (desk / "photos").rename(desk / "pictures")
    _, said = run("steps=3", "data.train=pictures", resume=True)
    assert "set has changed" not in said
    assert "Changed: data.train = ['pictures'] (was ['photos'])." in said


def test_what_only_ends_bit_equality_may_change_with_a_note(desk: Path) -> None:
    run("steps=2")
    result, said = run("steps=4", "data.batch=3", "data.workers=1", resume=True)
    assert result.step == 4
    assert "Changed: data.batch = 3 (was 2). Results will not be bit-identical" in said
    _, said = run("steps=5", "data.batch=3", resume=True)
    assert "Changed" not in said


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ("data.patch=64", ["data.patch"]),
        ("seed=4", ["seed"]),
        ("optimizer.rate=1e-3", ["optimizer.rate"]),
        ("data.lq=inputs", ["data.lq"]),
        ("data.val=elsewhere", []),
        ("name=elsewhere", []),
    ],
)
def test_what_a_resumed_run_cannot_change_is_named_by_its_key(change: str, keys: list[str]) -> None:
    before = load_recipe("rrdb-psnr", ["data.train=photos"])
    assert find_fixed_changes(before, load_recipe("rrdb-psnr", ["data.train=photos", change])) == keys


def test_the_loop_refuses_another_network_itself(desk: Path) -> None:
    run("steps=2")
    with pytest.raises(UsageError, match=r"cannot change generator\.blocks"):
        run("steps=3", "generator.blocks=2", resume=True)
