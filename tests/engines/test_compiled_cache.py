"""What is kept for the next process: whole or not at all, bounded, and never a reason to fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tessera.engines.compiled_cache import build_compiled_key, get_compiled_folder, read_compiled, write_compiled

KEY, OTHER = build_compiled_key({"weights": "a"}), build_compiled_key({"weights": "b"})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path))
    return get_compiled_folder()


def kept_files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_what_was_kept_is_read_back_under_its_own_key_only(folder: Path):
    assert read_compiled(KEY) is None
    assert write_compiled(KEY, b"compiled")
    assert read_compiled(KEY) == b"compiled"
    assert read_compiled(OTHER) is None
    assert len(kept_files(folder)) == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "one bit", "something else"])
def test_a_damaged_file_is_not_read_and_is_made_again(damage: str, folder: Path):
    write_compiled(KEY, b"compiled" * 100)
    (path,) = kept_files(folder)
    data = path.read_bytes()
    changed = {
        "cut": data[:-1],
        "empty": b"",
        "one bit": data[:-1] + bytes([data[-1] ^ 1]),
        "something else": b"x" * 99,
    }
    path.write_bytes(changed[damage])
    assert read_compiled(KEY) is None
    assert kept_files(folder) == []
    assert write_compiled(KEY, b"again")
    assert read_compiled(KEY) == b"again"


def test_the_longest_unused_makes_room():
    keys = [build_compiled_key({"number": str(number)}) for number in range(4)]
    for number, key in enumerate(keys[:3]):
        write_compiled(key, bytes(1000))
        os.utime(get_compiled_folder() / f"{key}.compiled", (number, number))
    assert read_compiled(keys[0]) is not None  # used just now
    write_compiled(keys[3], bytes(1000), most_bytes=3500)
    assert [read_compiled(key) is not None for key in keys] == [True, False, True, True]


def test_what_is_larger_than_all_the_room_is_not_kept(folder: Path):
    write_compiled(KEY, b"small")
    assert not write_compiled(OTHER, bytes(1000), most_bytes=999)
    assert read_compiled(KEY) == b"small"


def test_what_a_killed_process_left_is_swept_up_after_a_week(folder: Path):
    write_compiled(KEY, b"compiled")
    old, young = (folder / f".x.tessera-part1-00000000-{name}.compiled" for name in ("a", "b"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    write_compiled(OTHER, b"compiled")
    assert not old.exists()
    assert young.exists()


def test_a_folder_that_cannot_be_made_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("a file where the folder should be")
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "file"))
    assert not write_compiled(KEY, b"compiled")
    assert read_compiled(KEY) is None


def test_a_full_disk_leaves_nothing_half(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tessera.storage.files.put_in_place", full)
    assert not write_compiled(KEY, b"compiled")
    assert kept_files(folder) == []


def test_every_fact_counts_in_the_key():
    facts = {"weights": "a", "precision": "fp32"}
    keys = {
        build_compiled_key(facts),
        build_compiled_key({**facts, "precision": "bf16"}),
        build_compiled_key({**facts, "more": ""}),
    }
    assert len(keys) == 3
