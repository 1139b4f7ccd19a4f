"""Records in the cache folder: given back as they were kept, or not at all."""

import json
from pathlib import Path

import pytest

from tessera.storage.cache import LARGEST_BYTES, read_cached, remove_cached, write_cached

KEY = {"what": "a thing", "scale": None, "size": 3}
VALUE = {"numbers": [1, 2.5], "text": "ü", "none": None}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path))
    return tmp_path / "things"


def test_what_was_kept_is_given_back_for_the_same_key_only(folder: Path):
    write_cached("things", KEY, VALUE)
    assert read_cached("things", dict(reversed(KEY.items()))) == VALUE
    assert read_cached("things", {**KEY, "size": 4}) is None
    assert read_cached("others", KEY) is None
    assert len(list(folder.iterdir())) == 1
    remove_cached("things", KEY)
    assert read_cached("things", KEY) is None
    remove_cached("things", KEY)


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"key": {}}', "\0" * 50, "[" * 100_000, "other", "long"])
def test_a_damaged_record_and_one_of_another_key_are_none(folder: Path, damage: str):
    write_cached("things", KEY, VALUE)
    (path,) = folder.iterdir()
    whole = path.read_text(encoding="utf-8")
    words = {
        "other": json.dumps({"key": {**KEY, "size": 4}, "value": VALUE}),
        "long": whole + " " * LARGEST_BYTES,
    }
    path.write_text(words.get(damage, damage), encoding="utf-8")
    assert read_cached("things", KEY) is None
    write_cached("things", KEY, VALUE)
    assert read_cached("things", KEY) == VALUE


def test_what_is_too_large_to_be_read_again_is_not_kept(folder: Path):
    write_cached("things", KEY, "x" * LARGEST_BYTES)
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "file"))
    write_cached("things", KEY, VALUE)
    assert read_cached("things", KEY) is None
