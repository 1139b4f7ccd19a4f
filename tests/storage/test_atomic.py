"""Temporary names tell whose they are, and a file that is put in its place is there whole."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tessera.storage import atomic as place
from tessera.storage.atomic import (
    PART_MARK,
    choose_temporary_name,
    flush_folder,
    identify_machine,
    parse_owner,
    put_in_place,
)


@pytest.mark.parametrize("name", ["a.png", "写" * 80 + ".png", "🎨" * 60 + ".tiff", "-a.jpg", f"x{PART_MARK}77.png"])
def test_a_temporary_name_is_hidden_short_beside_its_place_and_never_the_same(tmp_path: Path, name: str) -> None:
    made = {choose_temporary_name(tmp_path / name) for _ in range(50)}
    assert len(made) == 50
    for path in made:
        assert path.parent == tmp_path
        assert path.name.startswith(".")
        assert path.suffix == Path(name).suffix
        path.touch()  # so that its length is one the file system takes
    assert {parse_owner(path.name) for path in made if PART_MARK not in name} <= {(os.getpid(), identify_machine())}


def test_the_owner_is_read_from_the_name() -> None:
    assert parse_owner(f".a{PART_MARK}77-0123abcd-5f5f.png") == (77, "0123abcd")
    assert parse_owner(f".a{PART_MARK}77-0.png") == (77, "")
    assert parse_owner(f".a{PART_MARK}77.png") == (77, "")
    for name in ("a.png", f"a{PART_MARK}77.png", f".a{PART_MARK}.png", ".a.png"):
        assert parse_owner(name) is None


def test_every_process_of_a_machine_has_its_token_and_another_machine_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = "from tessera.storage.atomic import identify_machine; print(identify_machine())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert said == identify_machine()
    assert len(said) == 8
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert identify_machine.__wrapped__() != said


def test_a_machine_without_proc_has_a_token_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "stat", refuse)
    assert len(identify_machine.__wrapped__()) == 8


def test_putting_in_place_replaces_and_removes_the_temporary_name(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"new")
    (tmp_path / "a").write_bytes(b"old")
    put_in_place(tmp_path / "part", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize("refusing", ["fsync", "open"])
def test_a_file_system_that_will_not_flush_folders_still_gets_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusing: str
) -> None:
    """Some network file systems answer EINVAL; a folder that may be written but not listed cannot be opened."""
    true = getattr(os, refusing)

    def refuse(what: object, *rest: object) -> object:
        folder = Path(what).is_dir() if isinstance(what, Path) else Path(f"/proc/self/fd/{what}").is_dir()
        if folder:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return true(what, *rest)

    monkeypatch.setattr(place.os, refusing, refuse)
    (tmp_path / "part").write_bytes(b"new")
    put_in_place(tmp_path / "part", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"
    flush_folder(tmp_path)


def test_a_file_that_cannot_be_flushed_does_not_take_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(place.os, "fsync", refuse)
    (tmp_path / "part").write_bytes(b"new")
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        put_in_place(tmp_path / "part", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_the_owner_of_a_temporary_name_of_a_temporary_name_stays_readable(tmp_path):
    """Names are cut at 40 letters, which must not cut the number of the process."""
    for length in (1, 20, 30, 40, 100):
        name = choose_temporary_name(choose_temporary_name(tmp_path / ("a" * length + ".onnx")))
        assert parse_owner(name.name) == (os.getpid(), identify_machine())
